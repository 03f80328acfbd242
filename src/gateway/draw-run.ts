/**
 * Runs the rounds of the joint draw (draw.ts): its effects one after the other, on the log, the file of secrets and the
 * link to the publisher, which carries messages between this gateway and the parties' witnesses.
 *
 * Trust: who holds the file and the root key knows the coins of the round in force, and can tell a server which pairs
 * go unexamined. A lying publisher can delay a round and nothing else: what it carries is signed or sealed.
 */
import type { KeyObject } from "node:crypto";
import { assert, InvalidError } from "../base/assert.ts";
import type { Clock } from "../base/clock.ts";
import { hpkeOpen, keyPairOf } from "../base/hpke.ts";
import { randomBytes, type RandomSource } from "../base/random.ts";
import type { Logger } from "../base/report.ts";
import {
  commitmentOf,
  decodeDrawCommit,
  decodeDrawSecret,
  encodeDrawLogged,
  encodeDrawOpen,
  epsilonOf,
  partyOfDraw,
  secretContext,
  thresholdOf,
  type DrawParty,
} from "../format/draw.ts";
import { encodeRoundOpen, encodeRoundReveal } from "../format/leaf.ts";
import { frameType, type Frame } from "../format/link.ts";
import type { DrawStatus } from "../format/status.ts";
import type { Wire } from "../format/wire.ts";
import { decodeDraw, encodeDraw } from "./draw-file.ts";
import {
  agreed,
  drawStep,
  isDue,
  mayDraw,
  resume,
  type DrawEffect,
  type DrawEvent,
  type DrawOutcome,
  type DrawState,
  type RoundLimits,
} from "./draw.ts";
import { bookOf, type RoundBook, type RoundCoin, type Rounds } from "./rounds.ts";
import type { LeafLog } from "./store.port.ts";

/** Where the secrets of the open rounds survive a crash: adapter/disk/secret-file.ts. */
export interface DrawFile {
  read(): Promise<Buffer | null>;
  write(content: Uint8Array): Promise<void>;
}

export interface JointDrawOptions {
  readonly file: DrawFile;
  /** The parties' draw keys: Ed25519, public. */
  readonly keys: Readonly<Record<DrawParty, KeyObject>>;
  readonly limits: RoundLimits;
}

export interface JointDrawParts extends JointDrawOptions {
  readonly gateway: string;
  readonly epoch: number;
  readonly deviceKey: KeyObject;
  readonly log: LeafLog;
  readonly random: RandomSource;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly alarms: {
    raise(severity: "warning" | "critical", kind: string, text: string): void;
    clear(kind: string): void;
  };
  /** The epsilon that is asked for now. */
  readonly epsilon: () => number;
  /** Resolves when all that was appended to the log so far is durable, at a moment when that is safe. */
  readonly durable: () => Promise<void>;
  /** Whether pairs may be admitted may have changed. */
  readonly onChange: () => void;
  readonly onFatal: (error: Error) => void;
}

export class JointDraw implements Rounds {
  readonly #p: JointDrawParts;
  #state: DrawState;
  #book: RoundBook;
  /** Effects wait until `start`: recovery comes first. */
  #waiting: readonly DrawEffect[];
  #queue: Promise<void> = Promise.resolve();
  #started = false;
  #publisher: Wire | null = null;

  private constructor(parts: JointDrawParts, { state, effects }: DrawOutcome) {
    this.#p = parts;
    this.#state = state;
    this.#waiting = effects;
    this.#book = bookOf(parts.log.marks, state.current);
  }

  /** Reads file and log. Throws InvalidError `draw.lost`, `draw-file.*`, `secret-file.damaged`. */
  static async open(parts: JointDrawParts): Promise<JointDraw> {
    const bytes = await parts.file.read();
    const file = bytes === null ? null : decodeDraw(bytes);
    return new JointDraw(parts, resume(file, parts.log.marks));
  }

  at(index: bigint): RoundCoin | null {
    return this.#book.at(index);
  }

  /** A round is in force and not overdue. */
  get ready(): boolean {
    const now = { ms: this.#p.clock.wallMs(), size: this.#p.log.size };
    return mayDraw(this.#state, now, this.#p.limits);
  }

  /** After recovery: goes on where the last run stopped. */
  start(): void {
    this.#started = true;
    this.#run(this.#waiting);
    this.#waiting = [];
    this.tick();
  }

  /** Once a second, and whenever epsilon may have changed: begins what is due, repeats what went unanswered. */
  tick(): void {
    if (!this.#started) return;
    const { clock, log, epsilon, limits, random } = this.#p;
    const now = { ms: clock.wallMs(), size: log.size, threshold: thresholdOf(epsilon()) };
    if (isDue(this.#state, now, limits)) {
      this.#event({
        kind: "begin",
        secret: randomBytes(random, 32),
        sealKey: randomBytes(random, 32),
      });
    } else this.#event({ kind: "tick" });
    this.#watch();
  }

  #watch(): void {
    const { alarms } = this.#p;
    const { current, coming } = this.#state;
    if (this.ready || current === null) {
      alarms.clear("draw.overdue");
      return;
    }
    const missing = coming === null ? "" : `; waiting for ${this.#missing().join(" and ")}`;
    const text = `round ${current.round} is overdue: nothing is admitted${missing}`;
    alarms.raise("critical", "draw.overdue", text);
  }

  /** Parties whose next message is due. */
  #missing(): string[] {
    const { coming, step } = this.#state;
    if (coming === null) return [];
    const due = (party: DrawParty): boolean =>
      step === "asking" ? coming[party].commitment === null : coming[party].secret === null;
    return (["a", "b"] as const).filter(due).map((party) => `party ${party.toUpperCase()}`);
  }

  /** A publisher connected: what is waited for is said to it. */
  attach(wire: Wire): void {
    this.#publisher = wire;
    wire.onClose(() => {
      if (this.#publisher === wire) this.#publisher = null;
    });
    if (this.#started) this.#event({ kind: "tick" });
  }

  /** DRAW_COMMIT or DRAW_SECRET by way of a publisher. What is malformed is noted and passed over. */
  onFrame(frame: Frame): void {
    try {
      const event = this.#read(frame);
      if (event !== null) this.#event(event);
    } catch (error) {
      if (!(error instanceof InvalidError)) throw error;
      this.#p.logger.log("warn", "gateway.draw-refused", { why: error.message });
    }
  }

  #read(frame: Frame): DrawEvent | null {
    const { gateway, keys } = this.#p;
    if (frame.type === frameType.drawCommit) {
      const key = keys[partyOfDraw(frame.payload)];
      const commit = decodeDrawCommit(frame.payload, key);
      if (commit.gateway !== gateway) return null;
      return { kind: "commit", ...commit, commit: Buffer.from(frame.payload) };
    }
    if (frame.type === frameType.drawSecret) {
      const { party, round, sealed, ...from } = decodeDrawSecret(
        frame.payload,
        keys[partyOfDraw(frame.payload)],
      );
      const { coming } = this.#state;
      if (from.gateway !== gateway || coming?.round !== round) return null;
      const { info, aad } = secretContext(gateway, round, party);
      const value = hpkeOpen(keyPairOf(coming.sealKey), info, aad, sealed);
      return { kind: "secret", party, round, secret: value };
    }
    throw new InvalidError("draw.frame", `frame type ${frame.type} is no answer of a party`);
  }

  #event(event: DrawEvent): void {
    const before = this.#state;
    const { state, effects } = drawStep(before, event);
    this.#state = state;
    // The first round covers what follows its opening; later ones take over in `log-reveal`.
    if (before.current === null && state.current !== null) {
      this.#book.take(state.current, state.current.index);
      this.#p.onChange();
    }
    this.#run(effects);
  }

  #run(effects: readonly DrawEffect[]): void {
    for (const effect of effects) {
      this.#queue = this.#queue.then(() => this.#do(effect));
      this.#queue.catch((error: unknown) => {
        this.#p.onFatal(error instanceof Error ? error : new Error(String(error)));
      });
    }
  }

  async #do(effect: DrawEffect): Promise<void> {
    switch (effect.kind) {
      case "store":
        await this.#p.file.write(encodeDraw(this.#state));
        this.#event({ kind: "stored" });
        return;
      case "ask":
        this.#ask();
        return;
      case "log-open":
        return this.#logOpen();
      case "show":
        this.#show();
        return;
      case "log-reveal":
        return this.#logReveal();
      case "accuse": {
        const text = `party ${effect.party.toUpperCase()} ${effect.why}`;
        this.#p.alarms.raise("critical", `draw.party-${effect.party}`, text);
        return;
      }
    }
  }

  #ask(): void {
    const { gateway, epoch, deviceKey } = this.#p;
    const { coming } = this.#state;
    if (coming === null || this.#publisher === null) return;
    const { round, secret, sealKey } = coming;
    const commitment = commitmentOf("g", round, secret);
    const sealTo = keyPairOf(sealKey).publicKey;
    const open = { gateway, epoch, round, commitment, sealTo };
    this.#publisher.send(frameType.drawOpen, round, encodeDrawOpen(open, deviceKey));
  }

  #show(): void {
    const { coming } = this.#state;
    const [a, b] = [coming?.a.commit ?? null, coming?.b.commit ?? null];
    if (coming?.logged === null || coming === null || a === null || b === null) return;
    const { round, logged } = coming;
    const payload = encodeDrawLogged({
      gateway: this.#p.gateway,
      round,
      index: logged.index,
      a,
      b,
    });
    this.#publisher?.send(frameType.drawLogged, round, payload);
  }

  async #logOpen(): Promise<void> {
    const { log, clock, epsilon, durable, logger } = this.#p;
    const { coming } = this.#state;
    const [a, b] = [coming?.a.commitment ?? null, coming?.b.commitment ?? null];
    assert(coming !== null && a !== null && b !== null, "both parties have committed");
    const { round } = coming;
    const [atMs, threshold] = [clock.wallMs(), thresholdOf(epsilon())];
    const gateway = commitmentOf("g", round, coming.secret);
    const index = log.append(encodeRoundOpen({ round, atMs, gateway, a, b, threshold }));
    await durable();
    logger.log("info", "gateway.round-opened", { round: Number(round), index: Number(index) });
    this.#event({ kind: "logged", logged: { index, atMs, threshold } });
  }

  async #logReveal(): Promise<void> {
    const { log, clock, durable, logger } = this.#p;
    const { current, coming } = this.#state;
    const next = agreed(coming);
    assert(current !== null && next !== null, "there is a round to reveal, and one to follow it");
    const { round, secrets } = current;
    const index = log.append(encodeRoundReveal({ round, atMs: clock.wallMs(), ...secrets }));
    // Without a pause: the first leaf behind the reveal is the next round's.
    this.#book.take(next, index);
    await durable();
    logger.log("info", "gateway.round-revealed", { round: Number(round), index: Number(index) });
    this.#event({ kind: "revealed" });
    this.#p.onChange();
  }

  status(): DrawStatus {
    const { current, coming, step } = this.#state;
    const { log } = this.#p;
    return {
      kind: "joint",
      round: Number(current?.round ?? 0n),
      sinceMs: current?.atMs ?? 0,
      entries: current === null ? 0 : Number(log.size - current.index),
      epsilon: current === null ? 0 : epsilonOf(current.threshold),
      coming: Number(coming?.round ?? 0n),
      step,
      waitingFor: step === "asking" || step === "showing" ? this.#missing() : [],
      accepting: this.ready,
    };
  }
}
