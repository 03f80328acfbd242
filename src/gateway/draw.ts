/**
 * The rounds of the joint draw, spec/draw.md, as a reducer: an event in, the new state and effects out. No clock, no
 * disk, no link; draw-run.ts carries the effects out, one after the other, and tells what came of them.
 *
 *   idle ─begin─> storing-new ─stored─> asking ─both commits─> storing-commits ─stored─> logging ─logged─> showing
 *   showing ─both secrets─> storing-secrets ─stored─> revealing ─revealed─> storing-switch ─stored─> idle
 *   (the first round has none before it to reveal: storing-secrets goes straight to storing-switch)
 *
 * A round covers the pairs between the reveal of the round before it and its own, so there is never a pair without a
 * round. The file holds what a crash may not take: our secret before its commitment is shown to anybody, commits
 * before their entry is logged, the parties' secrets before the round before is revealed. `resume` finds the place
 * again from that file and the marks of the log.
 */
import { InvalidError } from "../base/assert.ts";
import { equalBytes } from "../base/bytes.ts";
import { commitmentOf, drawParties, type DrawParty, type DrawSecrets } from "../format/draw.ts";
import type { RoundOpen } from "../format/leaf.ts";
import type { Mark } from "./store.port.ts";

/** What came of one party. Each is null until it came. */
export interface PartyShare {
  /** Its DRAW_COMMIT, as signed, and the commitment in it. */
  readonly commit: Buffer | null;
  readonly commitment: Buffer | null;
  readonly secret: Buffer | null;
}

/** A round that is being agreed. */
export interface ComingRound {
  readonly round: bigint;
  /** s_G, and the private X25519 key to which the parties seal. */
  readonly secret: Buffer;
  readonly sealKey: Buffer;
  readonly a: PartyShare;
  readonly b: PartyShare;
  /** Its entry in the log; null until that is durable. */
  readonly logged: LoggedRound | null;
}

export interface LoggedRound {
  readonly index: bigint;
  readonly atMs: number;
  readonly threshold: bigint;
}

/** A round whose secrets are all here. */
export interface AgreedRound extends LoggedRound {
  readonly round: bigint;
  readonly secrets: DrawSecrets;
}

export type DrawStep =
  | "idle"
  | "storing-new"
  | "asking"
  | "storing-commits"
  | "logging"
  | "showing"
  | "storing-secrets"
  | "revealing"
  | "storing-switch";

/** What the file holds. */
export interface StoredDraw {
  /** The highest round ever begun. */
  readonly last: bigint;
  readonly current: AgreedRound | null;
  readonly coming: ComingRound | null;
}

export interface DrawState extends StoredDraw {
  readonly step: DrawStep;
}

export type DrawEvent =
  /** A round is due; both are fresh random 32 bytes. */
  | { readonly kind: "begin"; readonly secret: Buffer; readonly sealKey: Buffer }
  /** The file holds the state that the last `store` was given. */
  | { readonly kind: "stored" }
  /** A DRAW_COMMIT whose signature is the party's. */
  | {
      readonly kind: "commit";
      readonly party: DrawParty;
      readonly round: bigint;
      readonly answers: Buffer;
      readonly commitment: Buffer;
      readonly commit: Buffer;
    }
  /** The round's entry is durable. */
  | { readonly kind: "logged"; readonly logged: LoggedRound }
  /** What a DRAW_SECRET had sealed. */
  | {
      readonly kind: "secret";
      readonly party: DrawParty;
      readonly round: bigint;
      readonly secret: Buffer;
    }
  /** The reveal of the current round is durable. */
  | { readonly kind: "revealed" }
  /** Messages may have been lost: say again what is waited for. */
  | { readonly kind: "tick" };

export type DrawEffect =
  /** Make the new state durable; answer `stored`. */
  | { readonly kind: "store" }
  /** Send DRAW_OPEN to the parties. */
  | { readonly kind: "ask" }
  /** Append the round's entry and make it durable; answer `logged`. */
  | { readonly kind: "log-open" }
  /** Send DRAW_LOGGED to the parties. */
  | { readonly kind: "show" }
  /** Append the reveal of the current round; pairs from there on are the coming one's. Answer `revealed`. */
  | { readonly kind: "log-reveal" }
  /** A party did what no honest one does. */
  | { readonly kind: "accuse"; readonly party: DrawParty; readonly why: string };

export interface DrawOutcome {
  readonly state: DrawState;
  readonly effects: readonly DrawEffect[];
}

const noShare: PartyShare = { commit: null, commitment: null, secret: null };
export const noDraw: StoredDraw = { last: 0n, current: null, coming: null };

/** One event. What does not fit the step is passed over: messages may come late, twice, or from a liar. Pure. */
export function drawStep(state: DrawState, event: DrawEvent): DrawOutcome {
  switch (event.kind) {
    case "begin":
      return begin(state, event.secret, event.sealKey);
    case "stored":
      return stored(state);
    case "commit":
      return commit(state, event);
    case "logged":
      if (state.step !== "logging" || state.coming === null) return same(state);
      return showing({ ...state, coming: { ...state.coming, logged: event.logged } });
    case "secret":
      return secret(state, event.party, event.round, event.secret);
    case "revealed":
      return state.step === "revealing" ? promote(state) : same(state);
    case "tick":
      if (state.step === "asking") return { state, effects: [{ kind: "ask" }] };
      if (state.step === "showing") return { state, effects: [{ kind: "show" }] };
      return same(state);
  }
}

function same(state: DrawState): DrawOutcome {
  return { state, effects: [] };
}

function begin(state: DrawState, ownSecret: Buffer, sealKey: Buffer): DrawOutcome {
  if (state.step !== "idle") return same(state);
  const round = state.last + 1n;
  const coming = { round, secret: ownSecret, sealKey, a: noShare, b: noShare, logged: null };
  const next: DrawState = { ...state, last: round, coming, step: "storing-new" };
  return { state: next, effects: [{ kind: "store" }] };
}

function stored(state: DrawState): DrawOutcome {
  switch (state.step) {
    case "storing-new":
      return { state: { ...state, step: "asking" }, effects: [{ kind: "ask" }] };
    case "storing-commits":
      return { state: { ...state, step: "logging" }, effects: [{ kind: "log-open" }] };
    case "storing-secrets":
      return afterSecrets(state);
    case "storing-switch":
      return same({ ...state, step: "idle" });
    case "idle":
    case "asking":
    case "logging":
    case "showing":
    case "revealing":
      return same(state);
  }
}

function afterSecrets(state: DrawState): DrawOutcome {
  if (state.current === null) return promote(state);
  return { state: { ...state, step: "revealing" }, effects: [{ kind: "log-reveal" }] };
}

/** Asked for at the next tick, not at once: the witnesses have yet to cosign the entry. */
function showing(state: DrawState): DrawOutcome {
  return same({ ...state, step: "showing" });
}

function commit(
  state: DrawState,
  event: Extract<DrawEvent, { readonly kind: "commit" }>,
): DrawOutcome {
  const { coming } = state;
  const { party } = event;
  if (coming?.round !== event.round) return same(state);
  if (!equalBytes(event.answers, commitmentOf("g", coming.round, coming.secret))) {
    return accuse(state, party, `answered another commitment than ours in round ${coming.round}`);
  }
  const share = coming[party];
  if (share.commitment !== null) {
    if (equalBytes(share.commitment, event.commitment)) return same(state);
    return accuse(state, party, `signed two commitments for round ${coming.round}`);
  }
  if (state.step !== "asking") return same(state);
  const { commit: signed, commitment } = event;
  const next: ComingRound = { ...coming, [party]: { commit: signed, commitment, secret: null } };
  const both = drawParties.every((one) => next[one].commitment !== null);
  if (!both) return same({ ...state, coming: next });
  return {
    state: { ...state, coming: next, step: "storing-commits" },
    effects: [{ kind: "store" }],
  };
}

function secret(state: DrawState, party: DrawParty, round: bigint, value: Buffer): DrawOutcome {
  const { coming } = state;
  if (coming?.round !== round || state.step !== "showing") return same(state);
  const share = coming[party];
  if (share.commitment === null || share.secret !== null) return same(state);
  if (!equalBytes(share.commitment, commitmentOf(party, round, value))) {
    return accuse(state, party, `gave another secret than it had committed to in round ${round}`);
  }
  const next: ComingRound = { ...coming, [party]: { ...share, secret: value } };
  const both = drawParties.every((one) => next[one].secret !== null);
  if (!both) return same({ ...state, coming: next });
  return {
    state: { ...state, coming: next, step: "storing-secrets" },
    effects: [{ kind: "store" }],
  };
}

function accuse(state: DrawState, party: DrawParty, why: string): DrawOutcome {
  return { state, effects: [{ kind: "accuse", party, why }] };
}

/** The coming round is the current one. */
function promote(state: DrawState): DrawOutcome {
  const current = agreed(state.coming);
  if (current === null) return same(state);
  const next: DrawState = { ...state, current, coming: null, step: "storing-switch" };
  return { state: next, effects: [{ kind: "store" }] };
}

/** A coming round with everything in it; null when something is missing. */
export function agreed(coming: ComingRound | null): AgreedRound | null {
  if (coming?.logged === null || coming === null) return null;
  const { round, secret: gateway, logged } = coming;
  const [a, b] = [coming.a.secret, coming.b.secret];
  return a === null || b === null ? null : { round, ...logged, secrets: { gateway, a, b } };
}

function lost(why: string): never {
  throw new InvalidError("draw.lost", `${why}: its secrets are gone or put back; never repaired`);
}

/** Rounds that a log's marks open and reveal. */
function roundsOf(marks: readonly Mark[]): {
  readonly opens: ReadonlyMap<bigint, { readonly index: bigint; readonly entry: RoundOpen }>;
  readonly revealed: ReadonlySet<bigint>;
} {
  const opens = new Map<bigint, { readonly index: bigint; readonly entry: RoundOpen }>();
  const revealed = new Set<bigint>();
  for (const { index, entry } of marks) {
    if (entry.kind === "round-open") opens.set(entry.round, { index, entry });
    if (entry.kind === "round-reveal") revealed.add(entry.round);
  }
  return { opens, revealed };
}

/**
 * Where a gateway stands after a start: the file and the marks of the log, together. Throws InvalidError `draw.lost`
 * when the log knows of an unrevealed round that the file does not, or of a later one.
 */
export function resume(file: StoredDraw | null, marks: readonly Mark[]): DrawOutcome {
  const { last, current, coming } = file ?? noDraw;
  const { opens, revealed } = roundsOf(marks);
  for (const round of opens.keys()) {
    if (round > last) lost(`round ${round} stands in the log, and the file ends at ${last}`);
    const known = round === current?.round || round === coming?.round;
    if (!known && !revealed.has(round)) lost(`round ${round} is open in the log`);
  }
  const state = { last, current, coming };
  if (coming === null) return same({ ...state, step: "idle" });
  const open = opens.get(coming.round);
  if (open === undefined) return beforeEntry(state, coming);
  const { index, entry } = open;
  if (!matches(coming, entry)) lost(`round ${coming.round} was opened with other commitments`);
  const logged = { index, atMs: entry.atMs, threshold: entry.threshold };
  const known: DrawState = { ...state, coming: { ...coming, logged }, step: "showing" };
  if (agreed(known.coming) === null) return showing(known);
  if (current === null || revealed.has(current.round)) return promote(known);
  return afterSecrets(known);
}

function beforeEntry(state: StoredDraw, coming: ComingRound): DrawOutcome {
  const both = drawParties.every((party) => coming[party].commitment !== null);
  return both
    ? { state: { ...state, step: "logging" }, effects: [{ kind: "log-open" }] }
    : { state: { ...state, step: "asking" }, effects: [{ kind: "ask" }] };
}

function matches({ round, secret: own, a, b }: ComingRound, entry: RoundOpen): boolean {
  const same32 = (x: Buffer | null, y: Buffer): boolean => x !== null && equalBytes(x, y);
  const ours = same32(commitmentOf("g", round, own), entry.gateway);
  return ours && same32(a.commitment, entry.a) && same32(b.commitment, entry.b);
}

export interface RoundLimits {
  /** A new round is due after so long, or so many log entries. */
  readonly roundMs: number;
  readonly roundLeaves: number;
  /** Beyond this the old one may not go on: nothing is admitted. */
  readonly lateMs: number;
  readonly lateLeaves: number;
}

/** Whether a new round is to begin. `threshold`: what is asked for now; `size`: of the log. Pure. */
export function isDue(
  { step, current }: DrawState,
  now: { readonly ms: number; readonly size: bigint; readonly threshold: bigint },
  { roundMs, roundLeaves }: RoundLimits,
): boolean {
  if (step !== "idle") return false;
  if (current?.threshold !== now.threshold) return true;
  return now.ms - current.atMs >= roundMs || now.size - current.index >= BigInt(roundLeaves);
}

/** Whether pairs may be admitted: a round is in force, and not far older than it should be. Pure. */
export function mayDraw(
  { current }: DrawState,
  now: { readonly ms: number; readonly size: bigint },
  { lateMs, lateLeaves }: RoundLimits,
): boolean {
  if (current === null) return false;
  return now.ms - current.atMs < lateMs && now.size - current.index < BigInt(lateLeaves);
}
