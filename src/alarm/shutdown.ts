/**
 * From a FAIL to a gateway that has cut its server's power: one alarm and one signed order for all
 * the pairs of one bad spell. An order is durable before it is sent, and is sent again at every
 * reconnect, and every `resendMs`, until the gateway has answered it.
 *
 * Trust: the order key can stop any server of the site and do nothing else. A thief of it can deny
 * service, visibly: each halt names the key that signed it. spec/order.md.
 */
import type { KeyObject } from "node:crypto";
import { sha256 } from "../base/hash.ts";
import { toHex } from "../base/bytes.ts";
import type { Clock, Timer } from "../base/clock.ts";
import { randomBytes, type RandomSource } from "../base/random.ts";
import type { Logger } from "../base/report.ts";
import { parseEnvelope } from "../format/dsse.ts";
import { frameType, type Frame } from "../format/link.ts";
import { decodeOrderResult, sealOrder, type ShutdownOrder } from "../format/order.ts";
import type { Wire } from "../format/wire.ts";
import type { AlarmStore, KeptOrder } from "./alarm.port.ts";
import type { Alarms } from "./raise.ts";

/** A FAIL: which gateway, when the pair was complete by the gateway's clock, why. */
export interface Fail {
  readonly gateway: string;
  readonly completedMs: number;
  /** At most 400 characters; goes into the order and the alarm. */
  readonly reason: string;
}

export interface ShutdownParts {
  readonly store: AlarmStore;
  readonly alarms: Alarms;
  readonly key: KeyObject;
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly log: Logger;
  readonly resendMs?: number;
}

export class Shutdowns {
  readonly #parts: ShutdownParts;
  readonly #wires = new Map<string, Wire>();
  readonly #resend: Timer;

  constructor(parts: ShutdownParts) {
    this.#parts = parts;
    this.#resend = parts.clock.every(parts.resendMs ?? 30_000, () => {
      for (const gateway of this.#wires.keys()) this.#sendOutstanding(gateway);
    });
  }

  /** Raises the alarm and orders the shutdown, unless an order covers this pair already. */
  failed(fail: Fail): void {
    const { store, alarms, clock, random, key } = this.#parts;
    const { gateway, reason } = fail;
    if (covers(store.lastOrder(gateway), fail)) {
      alarms.raise("critical", "verdict.fail", gateway, reason);
      return;
    }
    const issuedMs = clock.wallMs();
    const nonce = toHex(randomBytes(random, 16));
    const order: ShutdownOrder = { action: "shutdown", gateway, reason, issuedMs, nonce };
    const sealed = sealOrder(order, key);
    const digest = sha256(parseEnvelope(sealed).payload);
    const id = digest.readBigUInt64BE(0);
    store.putOrder({ id, digest: toHex(digest), gateway, issuedMs, sealed, settledMs: null });
    alarms.clear("verdict.fail", gateway);
    alarms.raise("critical", "verdict.fail", gateway, reason);
    this.#sendOutstanding(gateway);
  }

  /** Sends what is outstanding to a gateway that has just connected. */
  connected(gateway: string, wire: Wire): void {
    this.#wires.set(gateway, wire);
    this.#sendOutstanding(gateway);
  }

  disconnected(gateway: string, wire: Wire): void {
    if (this.#wires.get(gateway) === wire) this.#wires.delete(gateway);
  }

  /** ORDER_RESULT. Throws InvalidError `order.result`; an answer to no open order changes nothing. */
  answered(gateway: string, frame: Frame): void {
    const { store, alarms, clock, log } = this.#parts;
    const result = decodeOrderResult(frame.payload);
    const order = store.outstanding(gateway).find((candidate) => candidate.id === frame.id);
    const { kind, detail } = result;
    log.log(kind === "refused" ? "error" : "warn", "order.answered", { gateway, kind, detail });
    if (order === undefined) return;
    if (kind === "refused") {
      const text = `shutdown order ${order.digest.slice(0, 16)} was refused: ${detail}`;
      alarms.raise("critical", "order.refused", gateway, text);
      return;
    }
    store.settleOrder(order.digest, clock.wallMs());
    alarms.clear("order.refused", gateway);
  }

  #sendOutstanding(gateway: string): void {
    const wire = this.#wires.get(gateway);
    if (wire === undefined) return;
    for (const order of this.#parts.store.outstanding(gateway)) {
      this.#parts.log.log("error", "order.sent", { gateway, digest: order.digest });
      wire.send(frameType.order, order.id, order.sealed);
    }
  }

  stop(): void {
    this.#resend.cancel();
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
