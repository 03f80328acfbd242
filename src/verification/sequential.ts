/**
 * Sequential verdicts: what has come together against one server, as money. A bettor with capital 1
 * bets on every audited pair that the server deviates; against an honest server money does not grow
 * on average, so P(it ever reaches c) <= 1/c (Ville, 1939). Assumptions, theorems and what they do
 * not cover: docs/STATISTICS.md.
 *
 * The capital is divided once, before anything is seen: among detectors (and a reserve, from which
 * detectors that come later are paid), and within a detector among its bettors (bets.ts). Two
 * accounts are kept of it, and each alone is an e-process with initial value 1:
 *
 * - `start`: each bettor bets from its first pair on.
 * - `change`: of each bettor's money the share w(j) stays cash until its j-th bet and is at work
 *   from then on. So a server that turns bad at pair j costs ln(1/w(j)) nats, about ln j + 2 ln ln j,
 *   however much an honest past has cost. Needs no horizon, other than the Shiryaev-Roberts sum
 *   (w(j) = 1), which is no e-process.
 */
import { assert } from "../base/assert.ts";
import { bettorsOf, logAdd, logFactors, logMean, logSum } from "./bets.ts";
import type { PairEvidence } from "./detector.ts";

/** The account of one detector. All logs are natural. */
export interface DetectorAccount {
  readonly id: string;
  readonly kind: PairEvidence["kind"];
  /** Share of the server's capital that this detector began with; in (0, 1]. */
  readonly share: number;
  /** Pairs on which it bet. */
  readonly bets: number;
  /** Log wealth of each bettor who bets since the first pair; 0 at first. */
  readonly start: readonly number[];
  /** Log wealth at work of each bettor whose money comes in by and by; 0, and unused, while bets is 0. */
  readonly change: readonly number[];
}

/** Everything that is known about one server. Plain data, never modified; evidence-state.ts stores it. */
export interface EvidenceState {
  readonly pairs: number;
  readonly tokens: number;
  /** Capital that no detector has: cash. */
  readonly reserve: number;
  /** By rising id. */
  readonly detectors: readonly DetectorAccount[];
}

/** A detector, as far as its account is concerned. */
export interface DetectorShape {
  readonly id: string;
  readonly kind: PairEvidence["kind"];
  /** `ratios`: how many logs it states. */
  readonly alternatives: number;
}

export interface DetectorEvidence {
  readonly id: string;
  readonly evidence: PairEvidence;
}

export interface DetectorNullMean {
  readonly id: string;
  readonly nullMean: number;
}

/** Kept for detectors that are not there yet. Each takes half of what is left. */
const reserveShare = 1 / 8;

const byId = (a: { readonly id: string }, b: { readonly id: string }): number =>
  a.id < b.id ? -1 : a.id > b.id ? 1 : 0;

/** No evidence, and equal shares for these detectors. Ids must differ. */
export function emptyEvidence(detectors: readonly DetectorShape[]): EvidenceState {
  assertDistinct(detectors);
  const reserve = detectors.length === 0 ? 1 : reserveShare;
  const share = (1 - reserve) / detectors.length;
  const accounts = detectors.map((detector) => openAccount(detector, share)).sort(byId);
  return { pairs: 0, tokens: 0, reserve, detectors: accounts };
}

function openAccount({ id, kind, alternatives }: DetectorShape, share: number): DetectorAccount {
  const zeros = Array.from({ length: bettorsOf(kind, alternatives) }, () => 0);
  assert(zeros.length > 0, `the detector ${id} states at least one alternative`);
  return { id, kind, share, bets: 0, start: zeros, change: zeros };
}

function assertDistinct(list: readonly { readonly id: string }[]): void {
  const ids = new Set(list.map(({ id }) => id));
  assert(ids.size === list.length, `detectors differ: ${list.map(({ id }) => id).join(", ")}`);
}

/**
 * Adds one audited pair of `tokens` tokens. `nulls` are those of the profile in force when the pair
 * was served; they may differ from pair to pair. A detector without evidence or without a null mean
 * does not bet. One that the state does not know yet is paid from the reserve and starts at log 0.
 * BugError when a detector states another kind or number of alternatives than its account has: a
 * detector that changed needs a new id.
 */
export function addPair(
  state: EvidenceState,
  evidence: readonly DetectorEvidence[],
  tokens: number,
  nulls: readonly DetectorNullMean[],
): EvidenceState {
  assertDistinct(evidence);
  assertDistinct(nulls);
  const nullMeans = new Map(nulls.map(({ id, nullMean }) => [id, nullMean]));
  const bets = evidence.filter(({ id }) => nullMeans.has(id)).sort(byId);
  const { reserve, detectors } = admit(state, bets);
  const stated = new Map(bets.map((bet) => [bet.id, bet.evidence]));
  return {
    pairs: state.pairs + 1,
    tokens: state.tokens + tokens,
    reserve,
    detectors: detectors.map((account) => {
      const found = stated.get(account.id);
      const nullMean = nullMeans.get(account.id);
      if (found === undefined || nullMean === undefined) return account;
      return bet(account, found, nullMean, tokens);
    }),
  };
}

/** Opens accounts for detectors that are seen for the first time. */
function admit(
  state: EvidenceState,
  bets: readonly DetectorEvidence[],
): Pick<EvidenceState, "reserve" | "detectors"> {
  const known = new Set(state.detectors.map(({ id }) => id));
  const newcomers = bets.filter(({ id }) => !known.has(id));
  if (newcomers.length === 0) return state;
  let reserve = state.reserve;
  const opened = newcomers.map(({ id, evidence }) => {
    reserve /= 2;
    const alternatives = evidence.kind === "ratios" ? evidence.logs.length : 1;
    return openAccount({ id, kind: evidence.kind, alternatives }, reserve);
  });
  return { reserve, detectors: [...state.detectors, ...opened].sort(byId) };
}

function bet(
  account: DetectorAccount,
  evidence: PairEvidence,
  nullMean: number,
  tokens: number,
): DetectorAccount {
  assert(
    evidence.kind === account.kind,
    `the account of ${account.id} is of kind ${account.kind}, its evidence ${evidence.kind}`,
  );
  const factors = logFactors(evidence, nullMean, tokens);
  assert(
    factors.length === account.start.length,
    `${account.id} has ${account.start.length} bettors, its evidence feeds ${factors.length}`,
  );
  const bets = account.bets + 1;
  const fresh = logEntryWeight(bets);
  return {
    ...account,
    bets,
    start: account.start.map((log, i) => log + (factors[i] ?? 0)),
    change: account.change.map(
      (log, i) => (bets === 1 ? fresh : logAdd(log, fresh)) + (factors[i] ?? 0),
    ),
  };
}

/**
 * ln w(j), the log of the share of its money with which a bettor enters at bet j = 1, 2, ...:
 * w(j) = 1/(1 + ln j) - 1/(1 + ln(j+1)). The sum over all j is 1; w(1) = 0.41.
 */
export function logEntryWeight(j: number): number {
  const width = Math.log(Math.log1p(1 / j));
  return width - Math.log1p(Math.log(j)) - Math.log1p(Math.log1p(j));
}

/** The share that has not entered after `bets` bets: 1/(1 + ln(bets + 1)). */
export function cashAfter(bets: number): number {
  return 1 / (1 + Math.log1p(bets));
}

/** Log e-value of one detector alone, of the account since the beginning. */
function startOf(account: DetectorAccount): number {
  return logMean(account.start);
}

/** Log e-value of one detector alone, of the account for a change at some time. */
function changeOf(account: DetectorAccount): number {
  if (account.bets === 0) return 0;
  return logAdd(logMean(account.change), Math.log(cashAfter(account.bets)));
}

function together(state: EvidenceState, log: (account: DetectorAccount) => number): number {
  const parts = state.detectors.map((account) => Math.log(account.share) + log(account));
  return logSum([Math.log(state.reserve), ...parts]);
}

/** Log e-value against the server, if it deviates since its evidence began. At least ln(reserve). */
export function logE(state: EvidenceState): number {
  return together(state, startOf);
}

/** Log e-value against the server, if it deviates since some later pair. An e-process just as well. */
export function logChange(state: EvidenceState): number {
  return together(state, changeOf);
}

/** Both log e-values of each detector alone, its own capital being 1; by rising id. */
export function detectorLogs(
  state: EvidenceState,
): { readonly id: string; readonly logE: number; readonly logChange: number }[] {
  return state.detectors.map((account) => ({
    id: account.id,
    logE: startOf(account),
    logChange: changeOf(account),
  }));
}
