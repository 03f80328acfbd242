/**
 * Signed orders to a gateway, spec/order.md: `shutdown` from a recomputer, `release` from an
 * operator. (Two-party orders replace these; the forms and the checks stay.)
 */
import type { KeyObject } from "node:crypto";
import { InvalidError } from "../base/assert.ts";
import { decodeUtf8, fromHex } from "../base/bytes.ts";
import { sha256 } from "../base/hash.ts";
import { limits } from "../base/limits.ts";
import { encodeEnvelope, parseEnvelope, sealEnvelope, signersOf } from "./dsse.ts";
import { Fields, parseJson } from "./json.ts";

export const orderType = "application/vnd.weir.order+json;v=1";

/** Halts one gateway. `nonce` (16 bytes of hex) makes each order unique. */
export interface ShutdownOrder {
  readonly action: "shutdown";
  readonly gateway: string;
  readonly reason: string;
  readonly issuedMs: number;
  readonly nonce: string;
}

/** Ends exactly one halt: `halt` is the digest of the shutdown order, so it cannot be replayed. */
export interface ReleaseOrder {
  readonly action: "release";
  readonly gateway: string;
  readonly halt: string;
  readonly reason: string;
  readonly issuedMs: number;
  readonly nonce: string;
}

export type Order = ShutdownOrder | ReleaseOrder;

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
  if (action === "shutdown") {
    from.end();
    return { action, ...common };
  }
  if (action !== "release") throw new InvalidError("order.action", `unknown action "${action}"`);
  const halt = from.text("halt");
  fromHex(halt, 32);
  from.end();
  return { action, halt, ...common };
}

/**
 * Verifies an order against the keys allowed to give each action (64 hex digits each). Throws
 * InvalidError `order.*` when nobody entitled signed it. Whether it applies is gateway/halt's.
 */
export function openOrder(
  bytes: Uint8Array,
  allowed: { readonly shutdown: readonly string[]; readonly release: readonly string[] },
): VerifiedOrder {
  if (bytes.length > limits.orderBytes) throw new InvalidError("order.too-long", "order too long");
  const envelope = parseEnvelope(bytes);
  const order = parseOrder(envelope.payload);
  const [signer] = signersOf(envelope, orderType, allowed[order.action]);
  if (signer === undefined) {
    throw new InvalidError("order.signature", `nobody entitled to "${order.action}" signed this`);
  }
  return { order, digest: sha256(envelope.payload).toString("hex"), signer };
}

/**
 * ORDER_RESULT, gateway -> recomputer; frame id = the id of the ORDER it answers. UTF-8 text:
 * `obeyed`, `already-halted`,
 * `already-released` (a resent order whose halt an operator has ended), or `refused: <why>`.
 */
export interface OrderResult {
  readonly kind: (typeof orderOutcomes)[number] | "refused";
  /** Why it was refused; "" otherwise. */
  readonly detail: string;
}

const orderOutcomes = ["obeyed", "already-halted", "already-released"] as const;
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
