/**
 * Signed orders to a gateway, spec/order.md: `sample`, `recheck`, `quarantine` and `shutdown` from a
 * recomputer, `release` from an operator. (Two-party orders replace these; the forms and the checks
 * stay.)
 */
import type { KeyObject } from "node:crypto";
import { InvalidError } from "../base/assert.ts";
import { decodeUtf8, fromHex } from "../base/bytes.ts";
import { sha256 } from "../base/hash.ts";
import { limits } from "../base/limits.ts";
import { encodeEnvelope, parseEnvelope, sealEnvelope, signersOf } from "./dsse.ts";
import { Fields, parseJson } from "./json.ts";

export const orderType = "application/vnd.weir.order+json;v=1";

interface OrderBase {
  readonly gateway: string;
  readonly reason: string;
  readonly issuedMs: number;
  /** 16 bytes of hex: makes each order unique. */
  readonly nonce: string;
}

/** Halts one gateway. */
export interface ShutdownOrder extends OrderBase {
  readonly action: "shutdown";
}

/** Keeps at least this share of pairs, above 0 and up to 1, until a release. */
export interface SampleOrder extends OrderBase {
  readonly action: "sample";
  readonly epsilon: number;
}

/** Sends every complete pair that the ring still holds and that was not sent. */
export interface RecheckOrder extends OrderBase {
  readonly action: "recheck";
}

/** Holds each reply until its pair has passed, until a release. */
export interface QuarantineOrder extends OrderBase {
  readonly action: "quarantine";
}

/**
 * Ends exactly one halt, quarantine or raised epsilon: `halt` is the digest of the order that made
 * it, so a release cannot be replayed.
 */
export interface ReleaseOrder extends OrderBase {
  readonly action: "release";
  readonly halt: string;
}

/** What a recomputer may order. */
export type RecomputerOrder = ShutdownOrder | SampleOrder | RecheckOrder | QuarantineOrder;
export type Order = RecomputerOrder | ReleaseOrder;

export interface VerifiedOrder {
  readonly order: Order;
  /** SHA-256 of the signed payload, hex: the order's name. */
  readonly digest: string;
  readonly signer: string;
}

/** Signs an order; the result is the ORDER frame's payload. */
export function sealOrder(order: Order, key: KeyObject): Buffer {
  const envelope = sealEnvelope(orderType, Buffer.from(JSON.stringify(order)), [key]);
  return Buffer.from(encodeEnvelope(envelope));
}

function parseOrder(payload: Buffer): Order {
  const from = new Fields(parseJson(decodeUtf8(payload)), "order");
  const action = from.text("action");
  const common = {
    gateway: from.text("gateway"),
    reason: from.text("reason"),
    issuedMs: from.integer("issuedMs", 0, Number.MAX_SAFE_INTEGER),
    nonce: from.text("nonce"),
  };
  fromHex(common.nonce, 16);
  if (common.reason.length > 2000) throw new InvalidError("order.reason", "the reason is too long");
  const order = withFields(action, common, from);
  from.end();
  return order;
}

function withFields(action: string, common: OrderBase, from: Fields): Order {
  switch (action) {
    case "shutdown":
    case "recheck":
    case "quarantine":
      return { action, ...common };
    case "sample": {
      const epsilon = from.number("epsilon", 0, 1);
      if (epsilon > 0) return { action, epsilon, ...common };
      throw new InvalidError("order.epsilon", "order.epsilon must be above 0");
    }
    case "release": {
      const halt = from.text("halt");
      fromHex(halt, 32);
      return { action, halt, ...common };
    }
    default:
      throw new InvalidError("order.action", `unknown action "${action}"`);
  }
}

/**
 * Verifies an order against the keys allowed to give it (64 hex digits each): `release` those of
 * operators, `shutdown` those of recomputers, who give every other action. Throws InvalidError
 * `order.*` when nobody entitled signed it. Whether it applies is gateway/halt's.
 */
export function openOrder(
  bytes: Uint8Array,
  allowed: { readonly shutdown: readonly string[]; readonly release: readonly string[] },
): VerifiedOrder {
  if (bytes.length > limits.orderBytes) throw new InvalidError("order.too-long", "order too long");
  const envelope = parseEnvelope(bytes);
  const order = parseOrder(envelope.payload);
  const keys = order.action === "release" ? allowed.release : allowed.shutdown;
  const [signer] = signersOf(envelope, orderType, keys);
  if (signer === undefined) {
    throw new InvalidError("order.signature", `nobody entitled to "${order.action}" signed this`);
  }
  return { order, digest: sha256(envelope.payload).toString("hex"), signer };
}

/**
 * ORDER_RESULT, from whoever got an ORDER; frame id = the id of the ORDER it answers. UTF-8 text:
 * `obeyed`, `already-obeyed` (a resent order that is in force or done), `already-halted`,
 * `already-released` (a resent order that an operator has ended), or `refused: <why>`.
 */
export interface OrderResult {
  readonly kind: (typeof orderOutcomes)[number] | "refused";
  /** Why it was refused; "" otherwise. */
  readonly detail: string;
}

const orderOutcomes = ["obeyed", "already-obeyed", "already-halted", "already-released"] as const;
const refusedPrefix = "refused: ";

export function encodeOrderResult(result: OrderResult): Buffer {
  const text = result.kind === "refused" ? `${refusedPrefix}${result.detail}` : result.kind;
  return Buffer.from(text.slice(0, 1000), "utf8");
}

/** Throws InvalidError `order.result`. */
export function decodeOrderResult(bytes: Uint8Array): OrderResult {
  if (bytes.length > 4096) throw new InvalidError("order.result", "the order result is too long");
  const text = decodeUtf8(bytes);
  const kind = orderOutcomes.find((known) => known === text);
  if (kind !== undefined) return { kind, detail: "" };
  if (text.startsWith(refusedPrefix)) {
    return { kind: "refused", detail: text.slice(refusedPrefix.length) };
  }
  throw new InvalidError("order.result", "not a known order result");
}
