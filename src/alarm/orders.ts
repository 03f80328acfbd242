/**
 * Orders on their way to gateways: signed once, durable before they are sent, and sent again at
 * every reconnect and every `resendMs` until the gateway has answered. One order per cause.
 *
 * Trust: the order key can stop or slow any server of the site and do nothing else. A thief of it
 * can deny service, visibly: each order names its reason and its signer. spec/order.md.
 */
import type { KeyObject } from "node:crypto";
import { InvalidError } from "../base/assert.ts";
import { toHex } from "../base/bytes.ts";
import type { Clock, Timer } from "../base/clock.ts";
import { sha256 } from "../base/hash.ts";
import { randomBytes, type RandomSource } from "../base/random.ts";
import type { Logger } from "../base/report.ts";
import { parseEnvelope } from "../format/dsse.ts";
import { frameType, type Frame } from "../format/link.ts";
import {
  decodeOrderResult,
  openOrder,
  sealOrder,
  type RecomputerOrder,
  type VerifiedOrder,
} from "../format/order.ts";
import type { Wire } from "../format/wire.ts";
import type { AlarmStore, KeptOrder } from "./alarm.port.ts";
import type { Alarms } from "./raise.ts";

export interface OrderParts {
  readonly store: AlarmStore;
  readonly alarms: Alarms;
  readonly key: KeyObject;
  /** Public keys, 64 hex digits, of operators: who may release. Without one no release is believed. */
  readonly releaseKeys?: readonly string[];
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly log: Logger;
  readonly resendMs?: number;
}

/** What an order says beside gateway, time and nonce. */
export type OrderWish =
  | { readonly action: "shutdown" | "recheck" | "quarantine"; readonly reason: string }
  | { readonly action: "sample"; readonly epsilon: number; readonly reason: string };

/** What a gateway's word of a release is worth. */
export type ReleaseNews =
  | { readonly kind: "refused"; readonly why: string }
  | { readonly kind: "known" }
  | {
      readonly kind: "new";
      /** SHA-256 of the release, hex, and the envelope as signed. */
      readonly digest: string;
      readonly sealed: Buffer;
      readonly reason: string;
      readonly signer: string;
      /** By the operator's clock. */
      readonly issuedMs: number;
      /** The order that it ended. */
      readonly ended: KeptOrder;
    };

export class Orders {
  readonly #parts: OrderParts;
  readonly #wires = new Map<string, Wire>();
  readonly #resend: Timer;

  constructor(parts: OrderParts) {
    this.#parts = parts;
    this.#resend = parts.clock.every(parts.resendMs ?? 30_000, () => {
      for (const gateway of this.#wires.keys()) this.#sendOutstanding(gateway);
    });
  }

  /** Signs, stores and sends an order, unless one with this cause was given before. */
  give(gateway: string, cause: string, wish: OrderWish): void {
    const { store, clock, random, key } = this.#parts;
    if (store.orderOf(cause) !== null) return;
    const issuedMs = clock.wallMs();
    const nonce = toHex(randomBytes(random, 16));
    const order = orderFor(gateway, wish, issuedMs, nonce);
    const sealed = sealOrder(order, key);
    const digest = sha256(parseEnvelope(sealed).payload);
    const id = digest.readBigUInt64BE(0);
    const { action } = wish;
    const kept = { id, digest: toHex(digest), gateway, action, cause, issuedMs, sealed };
    store.putOrder({ ...kept, settledMs: null });
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
    const action = order?.action ?? "unknown";
    log.log(kind === "refused" ? "error" : "warn", "order.answered", {
      gateway,
      action,
      kind,
      detail,
    });
    if (order === undefined) return;
    if (kind === "refused") {
      const text = `${order.action} order ${order.digest.slice(0, 16)} was refused: ${detail}`;
      alarms.raise("critical", "order.refused", gateway, text);
      return;
    }
    store.settleOrder(order.digest, clock.wallMs());
    alarms.clear("order.refused", gateway);
  }

  /**
   * ORDER from a gateway: a release that it obeyed. Checked here, noted by the caller, who has the
   * evidence that it may end. Throws nothing for bad bytes.
   */
  released(gateway: string, frame: Frame): ReleaseNews {
    const { store, releaseKeys = [] } = this.#parts;
    const sealed = Buffer.from(frame.payload);
    let verified: VerifiedOrder;
    try {
      verified = openOrder(sealed, { shutdown: [], release: releaseKeys });
    } catch (error) {
      if (!(error instanceof InvalidError)) throw error;
      return { kind: "refused", why: error.message };
    }
    const { order, digest, signer } = verified;
    if (order.action !== "release" || order.gateway !== gateway) {
      return { kind: "refused", why: "it is no release of this gateway" };
    }
    if (store.knowsRelease(digest)) return { kind: "known" };
    const ended = store.orderNamed(order.halt);
    if (ended?.gateway !== gateway) {
      return { kind: "refused", why: "this recomputer gave no such order to this gateway" };
    }
    const { reason, issuedMs } = order;
    return { kind: "new", digest, sealed, reason, signer, issuedMs, ended };
  }

  #sendOutstanding(gateway: string): void {
    const wire = this.#wires.get(gateway);
    if (wire === undefined) return;
    for (const { action, id, digest, sealed } of this.#parts.store.outstanding(gateway)) {
      this.#parts.log.log("error", "order.sent", { gateway, action, digest });
      wire.send(frameType.order, id, sealed);
    }
  }

  stop(): void {
    this.#resend.cancel();
  }
}

function orderFor(
  gateway: string,
  wish: OrderWish,
  issuedMs: number,
  nonce: string,
): RecomputerOrder {
  const { reason } = wish;
  if (wish.action === "sample") {
    return { action: "sample", gateway, reason, issuedMs, nonce, epsilon: wish.epsilon };
  }
  return { action: wish.action, gateway, reason, issuedMs, nonce };
}
