/**
 * Halts: a signed shutdown order stops a gateway across restarts until a signed release names it.
 * Trust: a thief of a shutdown key can stop servers, and nothing else; of a release key, start
 * them again after a FAIL.
 */
import { InvalidError } from "../base/assert.ts";
import { openOrder, type OrderResult, type VerifiedOrder } from "../format/order.ts";
import type { StateFile } from "./store.port.ts";

export interface OrderKeys {
  /** Public keys, 64 hex digits: recomputers. */
  readonly shutdown: readonly string[];
  /** Public keys, 64 hex digits: operators. */
  readonly release: readonly string[];
}

/** `halted` and `released` are the two ways to obey; the caller acts on them. */
export type OrderOutcome =
  | { readonly kind: "halted"; readonly reason: string }
  | { readonly kind: "released" }
  | { readonly kind: "already-halted" | "already-released" }
  | { readonly kind: "refused"; readonly why: string };

/** What the giver of the order is told. */
export function orderResult(outcome: OrderOutcome): OrderResult {
  if (outcome.kind === "refused") return { kind: "refused", detail: outcome.why };
  if (outcome.kind === "halted" || outcome.kind === "released")
    return { kind: "obeyed", detail: "" };
  return { kind: outcome.kind, detail: "" };
}

/**
 * Checks an order and makes its effect durable; cutting power is the caller's. An order that halts
 * is stored before anything else happens, so that a crash right after it still finds it.
 */
export async function applyOrder(
  bytes: Uint8Array,
  gateway: string,
  keys: OrderKeys,
  state: StateFile,
  nowMs: number,
): Promise<OrderOutcome> {
  let verified: VerifiedOrder;
  try {
    verified = openOrder(bytes, keys);
  } catch (error) {
    if (!(error instanceof InvalidError)) throw error;
    return { kind: "refused", why: error.message };
  }
  const { order, digest } = verified;
  if (order.gateway !== gateway) {
    return { kind: "refused", why: `the order is for gateway ${order.gateway}` };
  }
  if (order.action === "shutdown") {
    // A resent or replayed order never halts again what an operator has released.
    if (state.released.has(digest)) return { kind: "already-released" };
    if (state.halt !== null) return { kind: "already-halted" };
    await state.setHalt({ digest, reason: order.reason, sinceMs: nowMs });
    return { kind: "halted", reason: order.reason };
  }
  if (state.halt === null) return { kind: "refused", why: "the gateway is not halted" };
  if (state.halt.digest !== order.halt) {
    return { kind: "refused", why: "the release names another halt" };
  }
  // Released first, halt second: a crash in between leaves the gateway halted, the safe side.
  await state.addReleased(order.halt);
  await state.setHalt(null);
  return { kind: "released" };
}
