/**
 * Signed orders and what they lay on a gateway, across restarts, until a signed release names them:
 * halts, a quarantine, a raised epsilon. A recheck ends by itself. spec/order.md.
 * Whoever may halt need not agree with the others: each halt stands by itself, until its own release.
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
  type ShutdownOrder,
  type VerifiedOrder,
} from "../format/order.ts";
import type { Tag } from "../format/tag.ts";
import type {
  StandingHalt,
  StandingOrders,
  StateChange,
  StateFile,
  StoredHalt,
} from "./store.port.ts";

/** Halts of one key that may stand at once: bounds the state, and a key that leaked cannot keep another's halt out. */
export const haltsPerSigner = 16;

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
  /** `halts`: how many still stand. Above 0, power stays off. */
  | { readonly kind: "released"; readonly ended: readonly Restriction[]; readonly halts: number }
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
  const { outcome, change } = decideOrder(verified, bytes, context.state, context);
  if (change !== null) await context.state.change(change);
  return outcome;
}

/** What an order comes to, and what of it has to be durable before anything else happens. */
export interface OrderDecision {
  readonly outcome: OrderOutcome;
  readonly change: StateChange | null;
}

/** What has been laid on a gateway, and what was lifted. */
export type OrdersOnDisk = StandingOrders & { readonly released: ReadonlySet<string> };

function refused(why: string): OrderDecision {
  return { outcome: { kind: "refused", why }, change: null };
}

/** What a verified order makes of what stands. Pure. `sealed` is the order as it was signed. */
export function decideOrder(
  { order, digest, signer }: VerifiedOrder,
  sealed: Uint8Array,
  standing: OrdersOnDisk,
  { gateway, nowMs, lastTag }: Pick<OrderContext, "gateway" | "nowMs" | "lastTag">,
): OrderDecision {
  if (order.gateway !== gateway) return refused(`the order is for gateway ${order.gateway}`);
  if (order.action === "release") {
    return decideRelease(order, { digest, sealed: Buffer.from(sealed) }, standing);
  }
  // A resent or replayed order never lays on again what an operator has released.
  if (standing.released.has(digest)) return unchanged("already-released");
  const stored = { digest, reason: order.reason, sinceMs: nowMs };
  if (order.action === "shutdown") return decideHalt({ ...stored, signer }, standing);
  return decideObeying(order, stored, standing, lastTag);
}

function unchanged(kind: "already-obeyed" | "already-halted" | "already-released"): OrderDecision {
  return { outcome: { kind }, change: null };
}

/** A halt is stored also while others stand: the release of one of them must not restart the server. */
function decideHalt(halt: StandingHalt, { halts }: StandingOrders): OrderDecision {
  const { digest, reason, signer } = halt;
  if (halts.some((other) => other.digest === digest)) return unchanged("already-halted");
  if (halts.filter((other) => other.signer === signer).length >= haltsPerSigner) {
    return refused(`${haltsPerSigner} halts of this key stand already`);
  }
  return { outcome: { kind: "halted", reason }, change: { halts: [...halts, halt] } };
}

function decideObeying(
  order: Exclude<RecomputerOrder, ShutdownOrder>,
  stored: StoredHalt,
  standing: StandingOrders,
  lastTag: Tag,
): OrderDecision {
  const { reason } = stored;
  switch (order.action) {
    case "quarantine":
      if (standing.quarantine !== null) return unchanged("already-obeyed");
      return { outcome: { kind: "quarantined", reason }, change: { quarantine: stored } };
    case "sample": {
      // One below the gateway's own epsilon is stored all the same: that may be lowered at a restart.
      const { epsilon } = order;
      if (epsilon <= (standing.sample?.epsilon ?? 0)) return unchanged("already-obeyed");
      return { outcome: { kind: "sampled", reason }, change: { sample: { ...stored, epsilon } } };
    }
    case "recheck": {
      if (standing.recheck?.digest === stored.digest) return unchanged("already-obeyed");
      const recheck = { ...stored, through: lastTag, sent: 0, lost: 0, of: null, done: false };
      return { outcome: { kind: "rechecking", reason }, change: { recheck } };
    }
  }
}

/**
 * Ends what the release names. Of several halts that one alone; otherwise everything milder that stands as well: the
 * operator has looked at it all.
 */
function decideRelease(
  order: ReleaseOrder,
  untold: { readonly digest: string; readonly sealed: Buffer },
  { halts, quarantine, sample }: StandingOrders,
): OrderDecision {
  const left = halts.filter(({ digest }) => digest !== order.halt);
  // Of a halted gateway, the halts are what has to be released.
  if (left.length > 0 && left.length === halts.length) {
    return refused("the release names another halt");
  }
  if (left.length > 0) {
    const outcome = { kind: "released", ended: ["halt"], halts: left.length } as const;
    return { outcome, change: { halts: left, released: [order.halt], untold } };
  }
  const standing: [Restriction, StoredHalt | null][] = [
    ["halt", halts[0] ?? null],
    ["quarantine", quarantine],
    ["sample", sample],
  ];
  const at = standing.findIndex(([, stored]) => stored?.digest === order.halt);
  if (at < 0) {
    const none = standing.every(([, stored]) => stored === null);
    return refused(
      none ? "the gateway is not halted, nor held otherwise" : "it names another order",
    );
  }
  const over = standing.slice(at).filter(([, stored]) => stored !== null);
  const ended = over.map(([what]) => what);
  const change: StateChange = {
    ...(ended.includes("halt") && { halts: [] }),
    ...(ended.includes("quarantine") && { quarantine: null }),
    ...(ended.includes("sample") && { sample: null }),
    released: over.map(([, stored]) => stored?.digest ?? ""),
    untold,
  };
  return { outcome: { kind: "released", ended, halts: 0 }, change };
}
