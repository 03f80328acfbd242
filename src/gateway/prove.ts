/**
 * The way of kept pairs to the recomputer, out of the durable outbox. Each pair is sent until a
 * verdict for it came; at most `windowMax` are unanswered at once. Silence of the recomputer is
 * alarmed on, and a full outbox stops the gateway from serving (serve.ts): nothing is dropped.
 */
import type { KeyObject } from "node:crypto";
import { InvalidError, UnavailableError } from "../base/assert.ts";
import type { Clock, Timer } from "../base/clock.ts";
import type { Logger } from "../base/report.ts";
import { encodeCarriers, type CarrierCounts } from "../format/carriers.ts";
import { frameType, type Frame } from "../format/link.ts";
import { decodeOrderResult } from "../format/order.ts";
import { decodeHeartbeat, decodeVerdictNotice, encodeEpoch } from "../format/proof-request.ts";
import { asTag, tagEpoch, type Tag } from "../format/tag.ts";
import type { Wire } from "../format/wire.ts";
import type { Outbox, OutboxItem, SettledItem, UntoldRelease } from "./store.port.ts";
import { epochKeyOf } from "./tag.ts";

const windowMax = 32;
const settleMs = 200;
/** A recomputer speaks once a second; a link is not given up before this. */
const deadLinkMs = 10_000;

/** Unread bytes beyond which a recomputer is told no counts: later ones hold the earlier. */
const backlogMax = 65_536;

/** Frame id of an order: the first 8 bytes of its digest. */
const orderId = (digest: string): bigint => BigInt(`0x${digest.slice(0, 16)}`);

export interface ProverOptions {
  readonly gateway: string;
  readonly outbox: Outbox;
  readonly rootKey: KeyObject;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Silence of the recomputer that raises the alarm; milliseconds. */
  readonly silentMs: number;
  readonly onSilent: (silentMs: number) => void;
  readonly onHeardAgain: () => void;
  /** A frame about the log came over this link; whether it was one. */
  readonly onLog?: (wire: Wire, frame: Frame) => boolean;
  /** An ORDER came over this link. */
  readonly onOrder: (wire: Wire, frame: Frame) => void;
  /** What left beside the tokens: the recomputer holds it against the policy. */
  readonly carriers?: () => CarrierCounts;
  /** Pairs on whose verdict a reply waits: they go first. */
  readonly urgent: () => Iterable<Tag>;
  /** Releases of which the recomputer has yet to hear; it has answered one, or refused it, for this reason. */
  readonly untold: () => readonly UntoldRelease[];
  readonly onTold: (digest: string, refused: string | null) => void;
  /** A verdict came; it is durable soon after. */
  readonly onVerdict: (tag: Tag, verdict: string) => void;
  /** A verdict freed room in the outbox. */
  readonly onSettled: () => void;
  /** The outbox cannot be read or written: nothing may go on. */
  readonly onFatal: (error: Error) => void;
}

export class Prover {
  readonly #o: ProverOptions;
  #wire: Wire | null = null;
  #unanswered = new Set<Tag>();
  #epochsTold = new Set<number>();
  #heardMs: number;
  #attachedMs = 0;
  #silent = false;
  #verdicts = new Map<Tag, string>();
  #settling: Timer | null = null;

  constructor(options: ProverOptions) {
    this.#o = options;
    this.#heardMs = options.clock.monotonicMs();
  }

  get connected(): boolean {
    return this.#wire !== null;
  }

  get silentMs(): number {
    return Math.round(this.#o.clock.monotonicMs() - this.#heardMs);
  }

  /** A fresh link to the recomputer: everything unsettled is offered again, from the start. */
  attach(wire: Wire): void {
    this.flush();
    this.#wire = wire;
    this.#attachedMs = this.#o.clock.monotonicMs();
    this.#unanswered = new Set();
    this.#epochsTold = new Set();
    wire.onClose((reason) => {
      if (this.#wire !== wire) return;
      this.#wire = null;
      this.#o.logger.log("warn", "gateway.recomputer-lost", { reason });
    });
    wire.onFrame((frame) => {
      this.#onFrame(wire, frame);
    });
    this.tellReleases();
    this.pump();
  }

  /**
   * Hands on releases that the recomputer has not answered: before any proof request of pairs that came
   * after them, or it would hold those against a server that has begun anew.
   */
  tellReleases(): void {
    for (const { digest, sealed } of this.#o.untold()) {
      this.#wire?.send(frameType.order, orderId(digest), sealed);
    }
  }

  /** Drops the link: the gateway stops. */
  detach(): void {
    this.flush();
    const wire = this.#wire;
    this.#wire = null;
    wire?.close("the gateway stops");
  }

  /** Sends what the window allows. Call when pairs were kept, and once a second. */
  pump(): void {
    const wire = this.#wire;
    if (wire === null || wire.closed) return;
    const { outbox } = this.#o;
    let urgent = 0;
    for (const tag of this.#o.urgent()) {
      urgent++;
      if (this.#unanswered.has(tag)) continue;
      if (this.#unanswered.size >= windowMax) return;
      const item = this.#guarded(() => outbox.find(tag));
      if (item !== null) this.#prove(wire, item);
    }
    // Those that nobody waits for leave half of the window to those that somebody does.
    const most = urgent > 0 ? windowMax / 2 : windowMax;
    // From the lowest tag each time: pairs are kept in the order in which they end, not of their tags.
    for (const item of this.#guarded(() => outbox.list(null, windowMax)) ?? []) {
      if (this.#unanswered.has(item.tag)) continue;
      if (this.#unanswered.size >= most) return;
      this.#prove(wire, item);
    }
  }

  #prove(wire: Wire, { tag, request }: OutboxItem): void {
    this.#tellEpoch(wire, tagEpoch(tag));
    wire.send(frameType.proofRequest, tag, request);
    this.#unanswered.add(tag);
  }

  /** Runs an action on the outbox; what is wrong with the disk goes to `onFatal`, not to a timer. */
  #guarded<T>(action: () => T): T | null {
    try {
      return action();
    } catch (error) {
      if (!(error instanceof UnavailableError || error instanceof InvalidError)) throw error;
      this.#o.onFatal(error);
      return null;
    }
  }

  /** Raises the silence alarm, and drops a link that is silent: it may be half open. Once a second. */
  watch(): void {
    const silentMs = this.silentMs;
    const linkMs = Math.min(silentMs, this.#o.clock.monotonicMs() - this.#attachedMs);
    if (linkMs > Math.max(deadLinkMs, this.#o.silentMs))
      this.#wire?.close("the recomputer is silent");
    if (!this.#silent && silentMs > this.#o.silentMs) {
      this.#silent = true;
      this.#o.onSilent(silentMs);
    }
  }

  /** Tells the recomputer what was counted. Once a second. */
  tellCarriers(): void {
    const counts = this.#o.carriers?.();
    if (counts === undefined || this.#wire === null || this.#wire.backlog > backlogMax) return;
    this.#wire.send(frameType.carriers, 0n, encodeCarriers(counts));
  }

  #heard(): void {
    this.#heardMs = this.#o.clock.monotonicMs();
    if (!this.#silent) return;
    this.#silent = false;
    this.#o.onHeardAgain();
  }

  #tellEpoch(wire: Wire, epoch: number): void {
    if (this.#epochsTold.has(epoch)) return;
    this.#epochsTold.add(epoch);
    const epochKey = epochKeyOf(this.#o.rootKey, epoch).export();
    wire.send(frameType.epoch, 0n, encodeEpoch({ gateway: this.#o.gateway, epoch, epochKey }));
  }

  #onFrame(wire: Wire, frame: Frame): void {
    this.#heard();
    switch (frame.type) {
      case frameType.heartbeat:
        decodeHeartbeat(frame.payload);
        return;
      case frameType.verdict:
        this.#settle(frame);
        return;
      case frameType.order:
        this.#o.onOrder(wire, frame);
        return;
      case frameType.orderResult:
        this.#onTold(frame);
        return;
      default:
        if (this.#o.onLog?.(wire, frame) === true) return;
        throw new InvalidError("prove.frame", `unexpected frame type ${frame.type}`);
    }
  }

  /** The recomputer answered a release. */
  #onTold(frame: Frame): void {
    const { kind, detail } = decodeOrderResult(frame.payload);
    const release = this.#o.untold().find(({ digest }) => orderId(digest) === frame.id);
    if (release !== undefined) this.#o.onTold(release.digest, kind === "refused" ? detail : null);
  }

  #settle(frame: Frame): void {
    const tag = asTag(frame.id);
    const { outbox } = this.#o;
    if (!outbox.knows(tag)) throw new InvalidError("prove.unasked", "a verdict on no kept pair");
    if (outbox.verdictOf(tag) !== null) return;
    const verdict = decodeVerdictNotice(frame.payload);
    this.#verdicts.set(tag, verdict);
    this.#o.onVerdict(tag, verdict);
    // Collected for a moment: a transaction per verdict costs more than all else on this path.
    this.#settling ??= this.#o.clock.after(settleMs, () => {
      this.flush();
    });
  }

  /** Makes the verdicts that came in durable. One that is lost before it is asked for again. */
  flush(): void {
    this.#settling?.cancel();
    this.#settling = null;
    if (this.#verdicts.size === 0) return;
    const verdicts = [...this.#verdicts].map(([tag, verdict]): SettledItem => ({ tag, verdict }));
    this.#verdicts = new Map();
    const { outbox } = this.#o;
    const settled = this.#guarded(() => {
      outbox.settle(verdicts);
      return true;
    });
    if (settled === null) return;
    for (const { tag } of verdicts) this.#unanswered.delete(tag);
    this.#o.onSettled();
    this.pump();
  }
}
