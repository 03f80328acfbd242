/**
 * Whether a gateway sent what its coins chose (spec/draw.md): reads the log of each gateway by its link, up to a
 * checkpoint that the log's key signed and every configured witness cosigned, recomputes the coins of each round that
 * was revealed, and waits for the pairs that they kept. What then never came is `sampler.omitted`; a log that breaks the
 * rules of the draw, `sampler.bias`. Each is an alarm and a shutdown order, as for a FAIL.
 *
 * A gateway may lose a pair that it cannot prove any more, in a crash only: of the last `crashEntries` before a start,
 * `crashPairs` at most. A gateway that crashes at will can so hide that many pairs each time, in sight of everybody.
 *
 * After a restart of the recomputer logs are read again from their beginning: nothing is remembered that could be forged.
 */
import { InvalidError } from "../base/assert.ts";
import type { Clock } from "../base/clock.ts";
import { limits } from "../base/limits.ts";
import type { Logger } from "../base/report.ts";
import { openCheckpoint, type SignedCheckpoint } from "../format/checkpoint.ts";
import { cosignatureOf } from "../format/cosignature.ts";
import { frameType, type Frame, type FrameType } from "../format/link.ts";
import { decodeLogLeaves, encodeLogAsk } from "../format/log-link.ts";
import type { NoteKey } from "../format/note.ts";
import type { DrawAudit } from "../format/status.ts";
import { formatTag, type Tag } from "../format/tag.ts";
import { RoundWalk, type WalkedPair, type WalkNews, type WalkRules } from "./round-walk.ts";
import type { AlarmPort, FailedPair } from "./shutdown.port.ts";

/** A gateway that draws with the parties, as the recomputer's operator configured it. */
export interface WatchedDraw {
  /** Its log's key, and the witnesses whose cosignatures a checkpoint must all have. */
  readonly log: NoteKey;
  readonly witnesses: readonly NoteKey[];
}

export interface OmissionRules extends WalkRules {
  /** A pair counts as never sent when its gateway was connected and had nothing to send for so long. */
  readonly graceMs: number;
  /** A round that goes on for longer than this while its gateway is connected, by our own clock, is a lie. */
  readonly lateMs: number;
  /** A connected gateway that shows nothing new of its log for so long is alarmed on. */
  readonly silentMs: number;
  readonly crashPairs: number;
  readonly crashEntries: number;
}

export const defaultOmissionRules: OmissionRules = {
  epsilonMin: 0,
  lateEntries: 2_000_000,
  lateMs: 86_400_000,
  graceMs: 30_000,
  silentMs: 3_600_000,
  crashPairs: 4,
  crashEntries: 1024,
};

export interface OmissionParts {
  readonly clock: Clock;
  readonly log: Logger;
  readonly gateways: ReadonlyMap<string, WatchedDraw>;
  readonly rules: OmissionRules;
  /** Whether a pair came: judged, or waiting to be. */
  readonly received: (gateway: string, tag: Tag) => boolean;
  /** Whether the gateway is connected and everything that it sent is judged. */
  readonly settled: (gateway: string) => boolean;
  readonly connected: (gateway: string) => boolean;
  readonly send: (gateway: string, type: FrameType, payload: Uint8Array) => void;
  readonly alarms: AlarmPort;
  readonly failed: (fail: FailedPair) => void;
}

/** A round whose kept pairs have not all come. */
interface Awaited {
  readonly round: bigint;
  readonly kept: readonly WalkedPair[];
}

/** What is known of one gateway's draw. */
class Watch {
  readonly gateway: string;
  readonly #p: OmissionParts;
  readonly #watched: WatchedDraw;
  #walk: RoundWalk;
  #target: SignedCheckpoint | null = null;
  /** News of entries that no checkpoint has vouched for yet. */
  #unproved: WalkNews[] = [];
  #awaited: Awaited[] = [];
  /** Monotonic time since which the gateway has been connected with nothing to send; null: it is not. */
  #quietSinceMs: number | null = null;
  /** Monotonic time since which it has been connected and its log has not grown. */
  #stillSinceMs: number | null = null;
  /** How long the round that the log ends in has gone on while it was connected; when that was last added to. */
  #roundMs = 0;
  #round = 0n;
  #countedMs: number | null = null;
  /** Pairs excused per start, by the index of its entry. */
  readonly #excused = new Map<number, number>();
  #counts = { rounds: 0, pairs: 0, kept: 0, omitted: 0, excused: 0 };
  #lies: string[] = [];

  constructor(gateway: string, watched: WatchedDraw, parts: OmissionParts) {
    this.gateway = gateway;
    this.#p = parts;
    this.#watched = watched;
    this.#walk = new RoundWalk(parts.rules);
  }

  /** About once a second. */
  tick(): void {
    const { clock, rules, settled, send } = this.#p;
    const nowMs = clock.monotonicMs();
    if (!settled(this.gateway)) this.#quietSinceMs = null;
    else this.#quietSinceMs ??= nowMs;
    this.#settle(this.#quietSinceMs !== null && nowMs - this.#quietSinceMs >= rules.graceMs);
    this.#checkStill(nowMs);
    this.#checkLate(nowMs);
    send(this.gateway, frameType.logWatch, Buffer.alloc(0));
  }

  #checkStill(nowMs: number): void {
    const { connected, rules, alarms } = this.#p;
    if (!connected(this.gateway)) this.#stillSinceMs = null;
    else this.#stillSinceMs ??= nowMs;
    if (this.#stillSinceMs === null || nowMs - this.#stillSinceMs < rules.silentMs) return;
    const minutes = Math.round((nowMs - this.#stillSinceMs) / 60_000);
    const text = `it is connected and shows nothing new of its log for ${minutes} min`;
    alarms.raise("critical", "draw.silent", this.gateway, text);
  }

  /** In time that it was connected: a gateway that was off keeps its round, and so does one that hides. */
  #checkLate(nowMs: number): void {
    const { connected, rules, clock } = this.#p;
    if (this.#round !== this.#walk.round) this.#roundMs = 0;
    this.#round = this.#walk.round;
    if (connected(this.gateway)) this.#roundMs += nowMs - (this.#countedMs ?? nowMs);
    this.#countedMs = connected(this.gateway) ? nowMs : null;
    if (this.#round === 0n || this.#roundMs <= rules.lateMs) return;
    this.#tell({
      kind: "lie",
      round: this.#round,
      atMs: clock.wallMs(),
      why: "it goes on and is not revealed",
    });
  }

  /** The link is gone: what was asked for does not come any more. */
  disconnected(): void {
    this.#target = null;
    this.#quietSinceMs = null;
  }

  /** LOG_COSIGNED: the newest checkpoint that the gateway can show. Throws InvalidError `checkpoint.*`, `draw.*`. */
  onNote(bytes: Buffer): void {
    const { log, witnesses } = this.#watched;
    const checkpoint = openCheckpoint(bytes, log);
    for (const witness of witnesses) {
      if (cosignatureOf(checkpoint.note, witness) === null) {
        throw new InvalidError(
          "draw.cosigned",
          `a checkpoint lacks the cosignature of ${witness.name}`,
        );
      }
    }
    if (this.#target !== null || checkpoint.size <= this.#walk.size) return;
    this.#target = checkpoint;
    this.#ask();
  }

  #ask(): void {
    const from = this.#walk.size;
    const count = Math.min(limits.logEntries, (this.#target?.size ?? 0) - from);
    this.#p.send(this.gateway, frameType.logAsk, encodeLogAsk({ from: BigInt(from), count }));
  }

  /** LOG_LEAVES. Throws InvalidError `log-leaves.*`, `leaf.*`. */
  onLeaves(payload: Uint8Array): void {
    const { from, entries } = decodeLogLeaves(payload);
    const target = this.#target;
    if (target === null || Number(from) !== this.#walk.size || entries.length === 0) return;
    this.#unproved.push(...this.#walk.add(entries));
    if (this.#walk.size < target.size) {
      this.#ask();
      return;
    }
    this.#target = null;
    if (this.#walk.size !== target.size || !this.#walk.root().equals(target.root)) {
      // The next checkpoint begins it all again: these entries are not those that were cosigned.
      this.#tell({
        kind: "lie",
        round: 0n,
        atMs: this.#p.clock.wallMs(),
        why: "the entries that it sent are not those of its checkpoint",
      });
      this.#walk = new RoundWalk(this.#p.rules);
      this.#unproved = [];
      return;
    }
    this.#stillSinceMs = null;
    this.#p.alarms.clear("draw.silent", this.gateway);
    const news = this.#unproved;
    this.#unproved = [];
    for (const one of news) this.#tell(one);
    this.#settle(false);
  }

  #tell(news: WalkNews): void {
    const { gateway } = this;
    if (news.kind === "lie") {
      const reason = `sampler.bias: round ${news.round}: ${news.why}`;
      if (this.#lies.includes(reason)) return;
      this.#lies = [...this.#lies, reason].slice(-20);
      this.#p.log.log("error", "recomputer.sampler-bias", { gateway, reason });
      this.#p.alarms.raise("critical", "sampler.bias", gateway, reason);
      this.#p.failed({ gateway, completedMs: news.atMs, reason });
      return;
    }
    const { round, pairs, kept } = news;
    this.#counts.rounds++;
    this.#counts.pairs += pairs;
    this.#counts.kept += kept.length;
    this.#p.log.log("info", "recomputer.round", {
      gateway,
      round: Number(round),
      pairs,
      kept: kept.length,
    });
    this.#awaited.push({ round, kept });
  }

  /** Crosses off what came; `over`: what has not come by now never will. */
  #settle(over: boolean): void {
    const { received } = this.#p;
    const left: Awaited[] = [];
    for (const { round, kept } of this.#awaited) {
      const missing = kept.filter(({ tag }) => !received(this.gateway, tag));
      if (missing.length === 0) continue;
      if (over) this.#omitted(round, missing);
      else left.push({ round, kept: missing });
    }
    this.#awaited = left;
  }

  #omitted(round: bigint, missing: readonly WalkedPair[]): void {
    const { gateway } = this;
    const guilty = missing.filter((pair) => !this.#excuse(pair));
    this.#counts.excused += missing.length - guilty.length;
    if (guilty.length === 0) return;
    this.#counts.omitted += guilty.length;
    const names = guilty.slice(0, 3).map(({ tag }) => formatTag(gateway, tag));
    const more = guilty.length > names.length ? ", ..." : "";
    const count = guilty.length === 1 ? "a pair" : `${guilty.length} pairs`;
    const reason = `sampler.omitted: round ${round}: ${count} that its coins kept never came: ${names.join(", ")}${more}`;
    const completedMs = Math.max(...guilty.map((pair) => pair.completedMs));
    this.#p.log.log("error", "recomputer.sampler-omitted", { gateway, reason });
    this.#p.alarms.raise("critical", "sampler.omitted", gateway, reason);
    this.#p.failed({ gateway, completedMs, reason });
  }

  /** Whether a crash may explain that a pair is missing; counts it against that crash. */
  #excuse({ index }: WalkedPair): boolean {
    const { crashEntries, crashPairs } = this.#p.rules;
    const start = this.#walk.boots.find((boot) => boot > index);
    if (start === undefined || start - index > crashEntries) return false;
    const excused = this.#excused.get(start) ?? 0;
    if (excused >= crashPairs) return false;
    this.#excused.set(start, excused + 1);
    return true;
  }

  status(): DrawAudit {
    const waiting = this.#awaited.reduce((sum, { kept }) => sum + kept.length, 0);
    const { gateway } = this;
    const round = Number(this.#walk.round);
    return { gateway, walked: this.#walk.size, round, ...this.#counts, waiting, lies: this.#lies };
  }
}

export class Omissions {
  readonly #watches: ReadonlyMap<string, Watch>;
  readonly #p: OmissionParts;

  constructor(parts: OmissionParts) {
    this.#p = parts;
    const watches = [...parts.gateways].map(([gateway, watched]) => {
      return [gateway, new Watch(gateway, watched, parts)] as const;
    });
    this.#watches = new Map(watches);
  }

  tick(): void {
    for (const watch of this.#watches.values()) watch.tick();
  }

  disconnected(gateway: string): void {
    this.#watches.get(gateway)?.disconnected();
  }

  /** A frame of a gateway; whether it was about its log. What is malformed is told, and nothing of it counts. */
  onFrame(gateway: string, frame: Frame): boolean {
    const { type, payload } = frame;
    if (type !== frameType.logCosigned && type !== frameType.logLeaves) return false;
    const watch = this.#watches.get(gateway);
    try {
      if (type === frameType.logCosigned) watch?.onNote(Buffer.from(payload));
      else watch?.onLeaves(payload);
    } catch (error) {
      if (!(error instanceof InvalidError)) throw error;
      this.#p.log.log("warn", "recomputer.log-refused", { gateway, why: error.message });
      this.#p.alarms.raise(
        "warning",
        "draw.log",
        gateway,
        `its log cannot be read: ${error.message}`,
      );
    }
    return true;
  }

  status(): readonly DrawAudit[] {
    return [...this.#watches.values()].map((watch) => watch.status());
  }
}
