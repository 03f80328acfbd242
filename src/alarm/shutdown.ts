/**
 * From a FAIL to a gateway that has cut its server's power: one alarm and one signed order for all
 * the pairs of one bad spell; and from a step of the ladder to its order and its alarm. The orders
 * themselves, and how they reach their gateways: orders.ts.
 */
import { toHex } from "../base/bytes.ts";
import { randomBytes } from "../base/random.ts";
import type { Frame } from "../format/link.ts";
import type { LadderStep } from "../format/policy.ts";
import type { Wire } from "../format/wire.ts";
import type { KeptOrder } from "./alarm.port.ts";
import { Orders, type OrderParts, type OrderWish, type ReleaseNews } from "./orders.ts";

/** A FAIL: which gateway, when the pair was complete by the gateway's clock, why. */
export interface Fail {
  readonly gateway: string;
  readonly completedMs: number;
  /** At most 400 characters; goes into the order and the alarm. */
  readonly reason: string;
}

/** A step of the ladder that is due; `cause` is the same each time this very step is asked for. */
export interface Climb {
  readonly gateway: string;
  readonly cause: string;
  readonly step: Exclude<LadderStep, "shutdown">;
  /** raise-epsilon: the new share of pairs to keep; else null. */
  readonly epsilon: number | null;
  readonly reason: string;
}

const climbWords: Readonly<Record<Climb["step"], string>> = {
  "raise-epsilon": "more of its pairs are recomputed",
  "recheck-ring": "every pair that its ring still holds is recomputed",
  quarantine: "its replies are held until they have passed",
};

export class Shutdowns {
  readonly #parts: OrderParts;
  readonly #orders: Orders;

  constructor(parts: OrderParts) {
    this.#parts = parts;
    this.#orders = new Orders(parts);
  }

  /** Raises the alarm and orders the shutdown, unless an order covers this pair already. */
  failed(fail: Fail): void {
    const { store, alarms, random } = this.#parts;
    const { gateway, reason } = fail;
    if (covers(store.lastShutdown(gateway), fail)) {
      alarms.raise("critical", "verdict.fail", gateway, reason);
      return;
    }
    const cause = `fail:${toHex(randomBytes(random, 8))}`;
    this.#orders.give(gateway, cause, { action: "shutdown", reason });
    alarms.clear("verdict.fail", gateway);
    alarms.raise("critical", "verdict.fail", gateway, reason);
  }

  /** Raises the alarm of a ladder step and orders it. Asked again, nothing more happens. */
  climb(climb: Climb): void {
    const { store, alarms } = this.#parts;
    const { gateway, cause, step, reason } = climb;
    if (store.orderOf(cause) !== null) return;
    // The alarm first: a crash in between repeats the alarm, and never leaves an order unexplained.
    const severity = step === "quarantine" ? "critical" : "warning";
    alarms.clear(`evidence.${step}`, gateway);
    alarms.raise(severity, `evidence.${step}`, gateway, `${climbWords[step]}: ${reason}`);
    this.#orders.give(gateway, cause, wishOf(climb));
  }

  connected(gateway: string, wire: Wire): void {
    this.#orders.connected(gateway, wire);
  }

  disconnected(gateway: string, wire: Wire): void {
    this.#orders.disconnected(gateway, wire);
  }

  /** ORDER_RESULT. Throws InvalidError `order.result`; an answer to no open order changes nothing. */
  answered(gateway: string, frame: Frame): void {
    this.#orders.answered(gateway, frame);
  }

  /** ORDER from a gateway: a release that it says it obeyed. Only looked at here. */
  released(gateway: string, frame: Frame): ReleaseNews {
    return this.#orders.released(gateway, frame);
  }

  /** A release was noted: nothing that it ended is resent, and people are told. */
  noteRelease(news: Extract<ReleaseNews, { kind: "new" }>, text: string): void {
    const { store, alarms, clock } = this.#parts;
    const { gateway, digest, settledMs } = news.ended;
    if (settledMs === null) store.settleOrder(digest, clock.wallMs());
    alarms.clear("evidence.released", gateway);
    alarms.raise("warning", "evidence.released", gateway, text);
  }

  stop(): void {
    this.#orders.stop();
  }
}

function wishOf({ step, epsilon, reason }: Climb): OrderWish {
  switch (step) {
    case "raise-epsilon":
      return { action: "sample", epsilon: epsilon ?? 1, reason };
    case "recheck-ring":
      return { action: "recheck", reason };
    case "quarantine":
      return { action: "quarantine", reason };
  }
}

/**
 * Whether an order stops what this FAIL is about. An outstanding one does: the gateway has not been
 * released yet. A settled one does for pairs completed before the gateway obeyed it: what is
 * completed later comes from a server that was powered again after a release. The two times are of
 * two clocks; their difference bounds how long after a release a FAIL may still count as old.
 */
function covers(order: KeptOrder | null, fail: Fail): boolean {
  if (order === null) return false;
  return order.settledMs === null || fail.completedMs <= order.settledMs;
}
