/**
 * What signed orders make of this gateway: halted, quarantined, keeping more pairs, rechecking its
 * ring. Orders are applied one after the other, and what stands is taken up again at each start.
 */
import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/report.ts";
import { frameType, type Frame } from "../format/link.ts";
import { encodeOrderResult } from "../format/order.ts";
import type { GatewayStatus } from "../format/status.ts";
import { makeTag, tagCounterMax } from "../format/tag.ts";
import type { Wire } from "../format/wire.ts";
import type { AlarmBoard } from "./alarms.ts";
import { applyOrder, orderResult, type OrderKeys, type OrderOutcome } from "./halt.ts";
import type { Quarantine } from "./quarantine.ts";
import { Recheck } from "./recheck.ts";
import type { Sampler } from "./sample.ts";
import type { GatewayStore } from "./store.port.ts";
import type { SaltOf } from "./tag.ts";

export interface StandingOptions {
  readonly gateway: string;
  /** Of this boot. */
  readonly epoch: number;
  readonly store: GatewayStore;
  readonly saltOf: SaltOf;
  readonly orderKeys: OrderKeys;
  readonly sampler: Sampler;
  readonly quarantine: Quarantine;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly alarms: AlarmBoard;
  /** A halt was made durable: power is to be cut. The last one was released: power may come on. */
  readonly onHalt: (reason: string) => void;
  readonly onHaltEnded: () => void;
  /** The outbox has new items. */
  readonly onSent: () => void;
  /** A release was obeyed: the recomputer is to hear of it before anything else. */
  readonly onReleased: () => void;
  /** What routers are told may have changed. */
  readonly onChange: () => void;
  readonly onFatal: (error: Error) => void;
}

export class Standing {
  readonly #o: StandingOptions;
  readonly #recheck: Recheck;
  #queue: Promise<void> = Promise.resolve();

  constructor(options: StandingOptions) {
    this.#o = options;
    const { store, saltOf, clock, logger, onSent, onFatal } = options;
    this.#recheck = new Recheck({ store, saltOf, clock, logger, onSent, onFatal });
    // Before the first coin: recovery draws some.
    this.#takeUp();
  }

  /** After recovery: goes on with a recheck, and says what stands. True when the gateway is halted. */
  begin(): boolean {
    const { halts, sample } = this.#o.store.state;
    this.#sayHalts();
    if (sample !== null) this.#o.logger.log("warn", "gateway.sampling", { ...sample });
    this.#recheck.start();
    return halts.length > 0;
  }

  /** Brings coins, quarantine and alarm in line with the state. */
  #takeUp(): void {
    const { store, sampler, quarantine, alarms } = this.#o;
    const { sample, quarantine: stored } = store.state;
    sampler.floor = stored === null ? (sample?.epsilon ?? 0) : 1;
    quarantine.active = stored !== null;
    const kind = "gateway.quarantined";
    if (stored === null) alarms.clear(kind);
    else
      alarms.raise("critical", kind, `replies are held until they have passed: ${stored.reason}`);
  }

  /** The alarm in line with the halts that stand. */
  #sayHalts(): void {
    const { store, alarms } = this.#o;
    const [first, ...more] = store.state.halts;
    const kind = "gateway.halted";
    if (first === undefined) {
      alarms.clear(kind);
      return;
    }
    const others = more.length === 0 ? "" : ` (and ${more.length} more)`;
    alarms.raise("critical", kind, `halted by order: ${first.reason}${others}`);
  }

  /** An ORDER from a recomputer or an operator. */
  onOrder(wire: Wire, frame: Frame): void {
    const bytes = Buffer.from(frame.payload);
    const id = frame.id;
    this.#queue = this.#queue.then(async () => {
      const outcome = await this.#apply(bytes);
      wire.send(frameType.orderResult, id, encodeOrderResult(orderResult(outcome)));
    });
    this.#queue.catch((error: unknown) => {
      this.#o.onFatal(error instanceof Error ? error : new Error(String(error)));
    });
  }

  async #apply(bytes: Buffer): Promise<OrderOutcome> {
    const { gateway, orderKeys: keys, store, clock, logger } = this.#o;
    const lastTag = makeTag(this.#o.epoch, tagCounterMax);
    const context = { gateway, keys, state: store.state, nowMs: clock.wallMs(), lastTag };
    const outcome = await applyOrder(bytes, context);
    switch (outcome.kind) {
      case "halted":
        logger.log("error", "gateway.halted", { reason: outcome.reason });
        this.#sayHalts();
        this.#o.onHalt(`halted by order: ${outcome.reason}`);
        break;
      case "quarantined":
      case "sampled":
        logger.log("error", `gateway.${outcome.kind}`, { reason: outcome.reason });
        this.#takeUp();
        this.#o.onChange();
        break;
      case "rechecking":
        logger.log("error", "gateway.rechecking", { reason: outcome.reason });
        this.#recheck.start();
        break;
      case "released":
        this.#onReleased(outcome);
        break;
      case "refused":
        logger.log("warn", "gateway.order-refused", { why: outcome.why });
        break;
      case "already-obeyed":
      case "already-halted":
      case "already-released":
        break;
    }
    return outcome;
  }

  #onReleased({ ended, halts }: Extract<OrderOutcome, { readonly kind: "released" }>): void {
    this.#o.logger.log("info", "gateway.released", { ended: ended.join(", "), halts });
    this.#takeUp();
    this.#o.onReleased();
    this.#sayHalts();
    if (ended.includes("halt") && halts === 0) this.#o.onHaltEnded();
    this.#o.onChange();
  }

  /** Resolves when no order is being applied and the recheck has stopped where it is. */
  async stop(): Promise<void> {
    await this.#queue;
    await this.#recheck.stop();
  }

  status(): Pick<GatewayStatus, "halted" | "sampling" | "quarantine" | "recheck"> {
    const { store, sampler, quarantine } = this.#o;
    const { state } = store;
    const { recheck } = state;
    const held = state.quarantine;
    const [halt] = state.halts;
    const { digest = "", reason = "", sinceMs = 0 } = halt ?? {};
    return {
      halted: halt === undefined ? null : { digest, reason, sinceMs, standing: state.halts.length },
      sampling: {
        epsilon: sampler.epsilon,
        own: sampler.own,
        order: state.sample?.digest ?? "",
      },
      quarantine: held === null ? null : { ...held, ...quarantine.counts },
      recheck:
        recheck === null
          ? null
          : {
              digest: recheck.digest,
              sinceMs: recheck.sinceMs,
              done: recheck.done,
              sent: recheck.sent,
              lost: recheck.lost,
              of: recheck.of,
            },
    };
  }
}
