/**
 * The recomputer: what happens to a kept pair.
 *
 *   1 receive   frames of a gateway become work, or the verdict that exists is repeated
 *   2 queue     one line per gateway, in turn; a full line pauses its wire
 *   3 check     digests, entry, policy, seed law, prompt ids, text, finish
 *   4 replay    teacher-forced, one pair at a time
 *   5 score     a margin per token
 *   6 judge     findings and verdict
 *   7 store     durable, with its evidence
 *   8 act       a FAIL raises an alarm and orders a shutdown, durable as well
 *   9 answer    only now does the gateway hear of it, and forgets the pair
 *
 * Unable (no engine, no epoch key) is no verdict: the pair waits, is tried again, and is alarmed on
 * past a deadline.
 */
import { assert, InvalidError, UnavailableError } from "../base/assert.ts";
import type { Clock, Timer } from "../base/clock.ts";
import type { Logger } from "../base/report.ts";
import { frameType, type Frame } from "../format/link.ts";
import {
  encodeHeartbeat,
  encodeVerdictNotice,
  type VerdictNotice,
} from "../format/proof-request.ts";
import type { Alarm, RecomputerStatus } from "../format/status.ts";
import { formatTag, tagEpoch, type Tag } from "../format/tag.ts";
import type { Verdict } from "../format/verdict.ts";
import type { WhitelistEntry } from "../format/whitelist.ts";
import type { Wire } from "../format/wire.ts";
import type { TokenScore } from "../verification/margin.ts";
import {
  checkAgainstModel,
  checkSeed,
  openPair,
  unsupported,
  type OpenedPair,
  type Opening,
} from "./checks.ts";
import type { OpenEngine } from "./engine.port.ts";
import { Engines } from "./engines.ts";
import { Gateways } from "./gateways.ts";
import { failReason, judgeReplayed, judgeUnreplayed } from "./judge.ts";
import { Queue, type QueueLimits, type Waiting } from "./queue.ts";
import { receiveEpoch, receiveProofRequest } from "./receive.ts";
import { replayPair, type ReplayDeadline } from "./replay.ts";
import { scorePair } from "./score.ts";
import type { UnactedFail, VerdictStore } from "./store.port.ts";

/** Where alarms go (alarm/raise fits). The same kind and subject is one alarm until cleared. */
export interface AlarmPort {
  raise(severity: Alarm["severity"], kind: string, subject: string, text: string): void;
  clear(kind: string, subject: string): void;
}

/** A FAIL, as whoever stops the gateway needs it. */
export interface FailedPair {
  readonly gateway: string;
  /** When the gateway completed the pair, by its clock. */
  readonly completedMs: number;
  readonly reason: string;
}

/** Who stops gateways (alarm/shutdown fits). */
export interface ShutdownPort {
  /** Alarm and order are durable when it returns. */
  failed(fail: FailedPair): void;
  /** Sends what is outstanding for a gateway that has just connected. */
  connected(gateway: string, wire: Wire): void;
  disconnected(gateway: string, wire: Wire): void;
  /** ORDER_RESULT. Throws InvalidError `order.result`. */
  answered(gateway: string, frame: Frame): void;
}

export interface RecomputerTiming {
  readonly heartbeatMs: number;
  /** First wait after an unable attempt; it doubles up to `retryMaxMs`. */
  readonly retryMs: number;
  readonly retryMaxMs: number;
  /** A pair that could not be judged for this long is alarmed on. */
  readonly unableDeadlineMs: number;
  /** A known gateway that stays away for this long is warned about. */
  readonly gatewayAwayMs: number;
  readonly replay: ReplayDeadline;
}

export const defaultTiming: RecomputerTiming = {
  heartbeatMs: 1000,
  retryMs: 1000,
  retryMaxMs: 30_000,
  unableDeadlineMs: 60_000,
  gatewayAwayMs: 60_000,
  replay: { baseMs: 60_000, perTokenMs: 100 },
};

/** Unread answers after which a gateway is taken to be stuck. */
const backlogMax = 1_048_576;

export const defaultQueue: QueueLimits = { items: 64, bytes: 16_777_216 };

export interface RecomputerParts {
  readonly name: string;
  readonly clock: Clock;
  readonly log: Logger;
  readonly store: VerdictStore;
  readonly entries: readonly WhitelistEntry[];
  readonly openEngine: OpenEngine;
  readonly alarms: AlarmPort;
  readonly shutdown: ShutdownPort;
  /** Alarms to show, newest last. */
  readonly shownAlarms: () => readonly Alarm[];
  readonly simulated: readonly string[];
  readonly timing?: Partial<RecomputerTiming>;
  readonly queue?: QueueLimits;
  /** Told after each verdict, for observers. */
  readonly onVerdict?: () => void;
}

interface Judged {
  readonly verdict: Verdict;
  readonly tokens: readonly TokenScore[];
  readonly msPerToken: number;
}

export class Recomputer {
  readonly #parts: RecomputerParts;
  readonly #timing: RecomputerTiming;
  readonly #engines: Engines;
  readonly #queue: Queue;
  readonly #gateways: Gateways;
  readonly #beat: Timer;
  #retry: Timer | null = null;
  #working: Promise<void> | null = null;
  #stopped = false;
  #replayedTokens = 0;
  #replayedMs = 0;

  /** Starts: FAILs of an earlier run that were not acted on come first. */
  constructor(parts: RecomputerParts) {
    this.#parts = parts;
    this.#timing = { ...defaultTiming, ...parts.timing };
    this.#engines = new Engines(parts.openEngine);
    this.#gateways = new Gateways(parts, this.#timing.gatewayAwayMs);
    this.#queue = new Queue(parts.queue ?? defaultQueue, (gateway, full) => {
      this.#gateways.setPaused(gateway, full);
    });
    for (const fail of parts.store.unacted()) this.#act(fail);
    this.#beat = parts.clock.every(this.#timing.heartbeatMs, () => {
      const { pass, fail } = parts.store.counts();
      const beat = encodeHeartbeat({ queued: this.#queue.size, judged: BigInt(pass + fail) });
      this.#gateways.sendAll(frameType.heartbeat, beat);
      this.#gateways.checkAway();
    });
  }

  /** Opens the engines before the first request needs them; failures only delay that request. */
  async warmUp(): Promise<void> {
    for (const entry of this.#parts.entries) {
      try {
        await this.#engines.get(entry);
      } catch (error) {
        if (!(error instanceof UnavailableError)) throw error;
        const fields = { model: entry.modelId, reason: error.message };
        this.#parts.log.log("warn", "recomputer.engine-down", fields);
      }
    }
  }

  /** Serves one gateway. Who it is comes from its certificate. */
  serveGateway(wire: Wire): void {
    const gateway = wire.peer.name;
    this.#gateways.connected(gateway, wire);
    wire.onClose((reason) => {
      this.#parts.log.log("info", "recomputer.gateway-left", { gateway, reason });
      this.#gateways.disconnected(gateway, wire);
      this.#parts.shutdown.disconnected(gateway, wire);
    });
    wire.onFrame((frame) => {
      this.#receive(gateway, wire, frame);
    });
    if (this.#queue.isFull(gateway)) wire.pause();
    this.#parts.shutdown.connected(gateway, wire);
  }

  #receive(gateway: string, wire: Wire, frame: Frame): void {
    const { alarms, store } = this.#parts;
    if (frame.type === frameType.proofRequest) {
      const answer = receiveProofRequest(gateway, frame, store);
      if (answer.kind === "work") {
        if (this.#queue.add(answer.received)) this.#work();
        return;
      }
      if (answer.changed) {
        const text = `${formatTag(gateway, answer.tag)} was sent again with other contents`;
        alarms.raise("critical", "proof-request.changed", gateway, text);
      }
      wire.send(frameType.verdict, answer.tag, encodeVerdictNotice(answer.verdict));
      if (wire.backlog > backlogMax) wire.close("the gateway does not read its verdicts");
    } else if (frame.type === frameType.epoch) {
      const { epoch, outcome } = receiveEpoch(gateway, frame, store);
      if (outcome === "conflict") {
        const text = `a second key for epoch ${epoch}; the first one stays`;
        alarms.raise("critical", "epoch.conflict", gateway, text);
      }
      this.#queue.wake(gateway);
      this.#work();
    } else if (frame.type === frameType.orderResult) {
      this.#parts.shutdown.answered(gateway, frame);
    } else {
      throw new InvalidError("recomputer.frame", `a gateway sent a frame of type ${frame.type}`);
    }
  }

  /** Works until nothing is ready. A bug in here is an unhandled rejection: it ends the process. */
  #work(): void {
    if (this.#working !== null || this.#stopped) return;
    this.#retry?.cancel();
    this.#retry = null;
    const { clock } = this.#parts;
    this.#working = (async (): Promise<void> => {
      // Without work the body would end before the assignment, and stand for work for ever.
      await Promise.resolve();
      for (;;) {
        const item = this.#stopped ? null : this.#queue.next(clock.monotonicMs());
        if (item === null) break;
        await this.#attempt(item);
      }
      this.#working = null;
      const readyAtMs = this.#queue.readyAtMs();
      if (readyAtMs === null || this.#stopped) return;
      this.#retry = clock.after(Math.max(1, readyAtMs - clock.monotonicMs()), () => {
        this.#work();
      });
    })();
  }

  async #attempt(item: Waiting): Promise<void> {
    const { gateway, tag, request } = item.received;
    let opening: Opening;
    let model = "";
    let judged: Judged;
    try {
      opening = openPair(request, tag, this.#parts.entries);
      model = opening.pair?.entry.modelId ?? "";
      judged =
        opening.pair === null
          ? { verdict: judgeUnreplayed(opening.findings), tokens: [], msPerToken: 0 }
          : await this.#judge(gateway, opening.pair);
    } catch (error) {
      if (!(error instanceof UnavailableError)) throw error;
      this.#unable(item, model, error.message);
      return;
    }
    const { pair } = opening;
    const leaf = pair?.leaf ?? (opening.pair === null ? opening.leaf : null);
    const { verdict } = judged;
    this.#parts.store.put({
      gateway,
      tag,
      requestDigest: item.received.digest,
      modelId: model,
      leafIndex: pair?.leafIndex ?? 0n,
      completedMs: leaf?.completedMs ?? this.#parts.clock.wallMs(),
      judgedMs: this.#parts.clock.wallMs(),
      verdict,
      margins: Float64Array.from(judged.tokens, (token) => token.margin),
      msPerToken: judged.msPerToken,
      request: verdict.kind === "fail" ? request : null,
    });
    this.#queue.remove(item);
    if (item.unableSinceMs !== null) this.#parts.alarms.clear("recomputer.unable", model);
    this.#settle(gateway, tag, verdict);
  }

  /** Steps 3 to 6 of a pair that parsed. Throws UnavailableError when it cannot be judged now. */
  async #judge(gateway: string, pair: OpenedPair): Promise<Judged> {
    const unreplayed = (verdict: Verdict): Judged => ({ verdict, tokens: [], msPerToken: 0 });
    const lacking = unsupported(pair.entry);
    if (lacking !== null) throw new UnavailableError("recomputer.noise-law", lacking, "none");
    const epoch = tagEpoch(pair.tag);
    const epochKey = this.#parts.store.epochKey(gateway, epoch);
    if (epochKey === null) {
      const text = `gateway ${gateway} has not told the key of epoch ${epoch}`;
      throw new UnavailableError("recomputer.no-epoch", text, "none");
    }
    const seed = checkSeed(pair.leaf, epochKey);
    if (seed.length > 0) return unreplayed(judgeUnreplayed(seed));
    const engine = await this.#engines.get(pair.entry);
    try {
      const findings = checkAgainstModel(pair, engine);
      if (findings.length > 0) return unreplayed(judgeUnreplayed(findings));
      const replayed = await replayPair(pair, engine, this.#parts.clock, this.#timing.replay);
      const tokens = scorePair(pair, replayed.positions);
      this.#replayedTokens += tokens.length;
      this.#replayedMs += replayed.msPerToken * tokens.length;
      const verdict = judgeReplayed(pair, tokens);
      return { verdict, tokens, msPerToken: replayed.msPerToken };
    } catch (error) {
      if (error instanceof UnavailableError) this.#engines.drop(pair.entry);
      throw error;
    }
  }

  #unable(item: Waiting, model: string, reason: string): void {
    const nowMs = this.#parts.clock.monotonicMs();
    const { gateway, tag } = item.received;
    const { retryMs, retryMaxMs, unableDeadlineMs } = this.#timing;
    item.unableSinceMs ??= nowMs;
    item.readyAtMs = nowMs + Math.min(retryMaxMs, retryMs * 2 ** Math.min(item.attempts, 20));
    item.attempts++;
    const fields = { tag: formatTag(gateway, tag), attempts: item.attempts, reason };
    this.#parts.log.log("warn", "recomputer.unable", fields);
    if (nowMs - item.unableSinceMs < unableDeadlineMs) return;
    const text = `${formatTag(gateway, tag)} could not be judged: ${reason}; it is still tried`;
    this.#parts.alarms.raise("critical", "recomputer.unable", model, text);
  }

  /** Steps 8 and 9, once the verdict is durable. */
  #settle(gateway: string, tag: Tag, verdict: Verdict): void {
    assert(verdict.kind !== "unable", "only pass and fail are stored");
    const kind: VerdictNotice = verdict.kind;
    const fields = { tag: formatTag(gateway, tag), verdict: kind, ...verdict.scores };
    this.#parts.log.log(kind === "fail" ? "error" : "info", "recomputer.verdict", fields);
    if (kind === "fail") {
      for (const fail of this.#parts.store.unacted()) this.#act(fail);
    }
    this.#gateways.send(gateway, frameType.verdict, tag, encodeVerdictNotice(kind));
    this.#parts.onVerdict?.();
  }

  #act(fail: UnactedFail): void {
    const reason = failReason(formatTag(fail.gateway, fail.tag), fail.findings);
    this.#parts.shutdown.failed({ gateway: fail.gateway, completedMs: fail.completedMs, reason });
    this.#parts.store.acted(fail.gateway, fail.tag);
  }

  status(): RecomputerStatus {
    const counts = this.#parts.store.counts();
    // One limit can be drawn only where there is one model.
    const calibration =
      this.#parts.entries.length === 1 ? this.#parts.entries[0]?.calibration : undefined;
    return {
      role: "recomputer",
      name: this.#parts.name,
      engine: this.#engines.state,
      queued: this.#queue.size,
      judged: { pass: counts.pass, fail: counts.fail, unable: this.#queue.unable() },
      tokens: counts.tokens,
      msPerToken: this.#replayedTokens === 0 ? 0 : this.#replayedMs / this.#replayedTokens,
      judgedByGateway: this.#parts.store.countsByGateway().map(({ gateway, pass, fail }) => ({
        gateway,
        pass,
        fail,
        unable: this.#queue.unable(gateway),
      })),
      ...(calibration === undefined
        ? {}
        : { marginLimit: { meanMax: calibration.meanMax, meanSpread: calibration.meanSpread } }),
      recent: this.#parts.store.recent(200),
      alarms: this.#parts.shownAlarms(),
      simulated: this.#parts.simulated,
    };
  }

  /** Lets the pair in hand finish, then closes the engines. Wires and store are the caller's. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#beat.cancel();
    this.#retry?.cancel();
    await this.#working;
    await this.#engines.close();
  }
}
