/**
 * Signed orders and what they lay on a gateway, across restarts, until a signed release names them:
 * a halt, a quarantine, a raised epsilon. A recheck ends by itself. spec/order.md.
 *
 * Trust: a thief of a recomputer's key can stop and slow servers, and nothing else; of a release key,
 * start them again after a FAIL.
 */
import { InvalidError } from "../base/assert.ts";
import {
  openOrder,
  type OrderResult,
  type RecomputerOrder,
  type ReleaseOrder,
  type VerifiedOrder,
} from "../format/order.ts";
import type { Tag } from "../format/tag.ts";
import type { StateFile, StoredHalt } from "./store.port.ts";

export interface OrderKeys {
  /** Public keys, 64 hex digits: recomputers. */
  readonly shutdown: readonly string[];
  /** Public keys, 64 hex digits: operators. */
  readonly release: readonly string[];
}

/** What a release ended, hardest first. */
export type Restriction = "halt" | "quarantine" | "sample";

/** `halted` to `released` are the ways to obey; the caller acts on them. */
export type OrderOutcome =
  | { readonly kind: "halted" | "quarantined" | "sampled" | "rechecking"; readonly reason: string }
  | { readonly kind: "released"; readonly ended: readonly Restriction[] }
  | { readonly kind: "already-obeyed" | "already-halted" | "already-released" }
  | { readonly kind: "refused"; readonly why: string };

/** What the giver of the order is told. */
export function orderResult(outcome: OrderOutcome): OrderResult {
  switch (outcome.kind) {
    case "refused":
      return { kind: "refused", detail: outcome.why };
    case "already-obeyed":
    case "already-halted":
    case "already-released":
      return { kind: outcome.kind, detail: "" };
    case "halted":
    case "quarantined":
    case "sampled":
    case "rechecking":
    case "released":
      return { kind: "obeyed", detail: "" };
  }
}

export interface OrderContext {
  readonly gateway: string;
  readonly keys: OrderKeys;
  readonly state: StateFile;
  readonly nowMs: number;
  /** No pair that exists has a higher tag. */
  readonly lastTag: Tag;
}

/**
 * Checks an order and makes its effect durable; acting on it is the caller's. An order is stored
 * before anything else happens, so that a crash right after it still finds it.
 */
export async function applyOrder(bytes: Uint8Array, context: OrderContext): Promise<OrderOutcome> {
  let verified: VerifiedOrder;
  try {
    verified = openOrder(bytes, context.keys);
  } catch (error) {
    if (!(error instanceof InvalidError)) throw error;
    return { kind: "refused", why: error.message };
  }
  const { order, digest } = verified;
  if (order.gateway !== context.gateway) {
    return { kind: "refused", why: `the order is for gateway ${order.gateway}` };
  }
  if (order.action === "release") {
    return release(order, { digest, sealed: Buffer.from(bytes) }, context.state);
  }
  // A resent or replayed order never lays on again what an operator has released.
  if (context.state.released.has(digest)) return { kind: "already-released" };
  return obey(order, { digest, reason: order.reason, sinceMs: context.nowMs }, context);
}

async function obey(
  order: RecomputerOrder,
  stored: StoredHalt,
  { state, lastTag }: OrderContext,
): Promise<OrderOutcome> {
  const { reason } = stored;
  switch (order.action) {
    case "shutdown":
      if (state.halt !== null) return { kind: "already-halted" };
      await state.change({ halt: stored });
      return { kind: "halted", reason };
    case "quarantine":
      if (state.quarantine !== null) return { kind: "already-obeyed" };
      await state.change({ quarantine: stored });
      return { kind: "quarantined", reason };
    case "sample":
      // One below the gateway's own epsilon is stored all the same: that may be lowered at a restart.
      if (order.epsilon <= (state.sample?.epsilon ?? 0)) return { kind: "already-obeyed" };
      await state.change({ sample: { ...stored, epsilon: order.epsilon } });
      return { kind: "sampled", reason };
    case "recheck":
      if (state.recheck?.digest === stored.digest) return { kind: "already-obeyed" };
      await state.change({
        recheck: { ...stored, through: lastTag, sent: 0, lost: 0, done: false },
      });
      return { kind: "rechecking", reason };
  }
}

/** Ends what the release names, and everything milder that stands: the operator has looked at it all. */
async function release(
  order: ReleaseOrder,
  untold: { readonly digest: string; readonly sealed: Buffer },
  state: StateFile,
): Promise<OrderOutcome> {
  const { halt, quarantine, sample } = state;
  const standing: [Restriction, StoredHalt | null][] = [
    ["halt", halt],
    ["quarantine", quarantine],
    ["sample", sample],
  ];
  const at = standing.findIndex(([, stored]) => stored?.digest === order.halt);
  // Of a halted gateway, the halt is what has to be released.
  if (halt !== null && at !== 0) {
    return { kind: "refused", why: "the release names another halt" };
  }
  if (at < 0) {
    const none = standing.every(([, stored]) => stored === null);
    const why = none ? "the gateway is not halted, nor held otherwise" : "it names another order";
    return { kind: "refused", why };
  }
  const ended = standing.slice(at).filter(([, stored]) => stored !== null);
  await state.change({
    ...Object.fromEntries(ended.map(([restriction]) => [restriction, null])),
    released: ended.map(([, stored]) => stored?.digest ?? ""),
    untold,
  });
  return { kind: "released", ended: ended.map(([restriction]) => restriction) };
}
