/**
 * How much recomputation gives how much confidence: from epsilon, the share of pairs that a server
 * forges and what an audit of a forged pair shows, to the time until the server is caught.
 *
 * Each pair is forged with probability beta and audited with probability epsilon, independently: the
 * gateway's coin is drawn after the pair is committed, so the server cannot steer it. Of n pairs about
 * n epsilon beta are forged and audited. Detection says how many such pairs it takes:
 *
 * - `power`: each one is caught by itself with probability w. Then P(caught within n pairs) =
 *   1 - (1 - epsilon beta w)^n; RFD 018 writes exp(-N F) for its complement, with N = n epsilon, F = beta.
 * - `drift`: each adds evidence of known mean and variance to the server's log e-value, until it
 *   reaches the fleet's threshold.
 * - `mismatch`: two ways at once. A forged token is a hard finding with probability `hard`: then its pair
 *   is caught by itself. Else a pair states min(1, share of tokens far off / 0.1), as the detector `gls`
 *   does where a token off is off by more than rounding, and the bettors of bets.ts bet on it against
 *   `nullMean`, the best of them for this beta. Honest pairs cost a bettor something: a cheat whose
 *   pairs look, on average, no worse than nullMean makes no evidence, ever.
 *
 * The evidence walk is cut at each audited forged pair, the honest ones between folded into its step.
 * Its first passage over the threshold is inverse Gaussian, with Siegmund's correction of 0.583
 * standard deviations for the overshoot (Sequential Analysis, 1985, section 10.4); where steps are
 * larger than their spread the exact lower bound P(S_j >= a) takes over. Against `simulateCoverage`
 * (docs/COVERAGE.md has the commands): mean, median and 90% within 6%, 99% within 12%, mostly on the
 * late side. The early tail is later still, for the real mixture of stakes now and then has
 * luck: chances below `believed` are not to be believed where evidence decides.
 */
import { assert } from "../base/assert.ts";
import { betaCdf, logGamma } from "./beta.ts";
import { boundedWeight, logFactors, stakes } from "./bets.ts";
import { full } from "./detectors/gls.ts";
import { firstPassage, gammaBelow, normalBelow } from "./special.ts";

export interface Traffic {
  /** Share of pairs audited, (0, 1]. */
  readonly epsilon: number;
  /** Share of a cheating server's pairs that are forged, (0, 1]. */
  readonly beta: number;
  /** Pairs that one server serves a day. */
  readonly pairsPerDay: number;
  /** Tokens of one reply. */
  readonly tokensPerPair: number;
}

export type Detection =
  | { readonly kind: "power"; readonly power: number }
  | {
      readonly kind: "drift";
      /** Nats per audited forged pair: mean and variance of the log e-value's step. */
      readonly drift: number;
      readonly variance: number;
      /** Nats that an audited honest pair costs, at least 0. */
      readonly honestCost: number;
      /** The log e-value that is an alarm. */
      readonly threshold: number;
    }
  | {
      readonly kind: "mismatch";
      /** Share of tokens that are off by more than rounding, forged and honest; forged > honest. */
      readonly forged: number;
      readonly honest: number;
      /** The profile's null mean for that evidence. */
      readonly nullMean: number;
      /** Probability that a forged token is a hard finding; [0, 1). */
      readonly hard: number;
      readonly threshold: number;
    };

/** The log e-value at which the fleet's false-alarm budget is used: ln(2 k / alpha), section 6 of the notes. */
export function fleetThreshold(servers: number, alpha: number): number {
  return Math.log((2 * servers) / alpha);
}

/** Chances below this come too late where evidence decides (docs/COVERAGE.md). */
export const believed = 0.01;

interface Step {
  readonly mean: number;
  readonly variance: number;
}

/** P(count of `tokens` differ), for each count, when each does with probability `share`. */
export function binomial(tokens: number, share: number): number[] {
  return Array.from({ length: tokens + 1 }, (_, i) =>
    Math.exp(
      logGamma(tokens + 1) -
        logGamma(i + 1) -
        logGamma(tokens - i + 1) +
        i * Math.log(share) +
        (tokens - i) * Math.log1p(-share),
    ),
  );
}

/** For each count of tokens far off, the log factors of all bettors (bets.ts). */
export function pairLogs(tokens: number, nullMean: number): number[][] {
  return Array.from({ length: tokens + 1 }, (_, count) => {
    const value = Math.min(1, count / (full * tokens));
    return logFactors({ kind: "bounded", value }, nullMean, tokens);
  });
}

/** Probability that a forged pair has a hard finding. */
export function hardPerPair(tokens: number, hard: number): number {
  return -Math.expm1(tokens * Math.log1p(-hard));
}

function stepOf(chances: readonly number[], values: readonly number[]): Step {
  let mean = 0;
  let square = 0;
  chances.forEach((chance, i) => {
    const value = values[i] ?? 0;
    mean += chance * value;
    square += chance * value * value;
  });
  return { mean, variance: Math.max(0, square - mean * mean) };
}

export interface Evidence {
  /** Steps of the log e-value at an audited forged pair and at an audited honest one. */
  readonly forged: Step;
  readonly honest: Step;
  readonly threshold: number;
  /** The share of the wealth that is best against this beta; null where the drift was given. */
  readonly stake: number | null;
}

/** What audits add to the log e-value. Null for detection by single pairs. */
export function evidenceOf(traffic: Traffic, detection: Detection): Evidence | null {
  if (detection.kind === "power") return null;
  const { threshold } = detection;
  if (detection.kind === "drift") {
    const forged = { mean: detection.drift, variance: detection.variance };
    return { forged, honest: { mean: -detection.honestCost, variance: 0 }, threshold, stake: null };
  }
  const { tokensPerPair, beta } = traffic;
  const underForged = binomial(tokensPerPair, detection.forged);
  const underHonest = binomial(tokensPerPair, detection.honest);
  const logs = pairLogs(tokensPerPair, detection.nullMean);
  const grown = stakes.map((_, bettor) => {
    const values = logs.map((each) => each[bettor] ?? 0);
    const forged = stepOf(underForged, values);
    const honest = stepOf(underHonest, values);
    const growth = beta * forged.mean + (1 - beta) * honest.mean;
    const stake = (stakes[0] ?? 0) * boundedWeight(bettor, tokensPerPair);
    return { stake, forged, honest, growth };
  });
  const best = grown.reduce((max, row) => (row.growth > max.growth ? row : max));
  // The wealth is averaged over the bettors: the best one owns one part of it.
  return { ...best, threshold: threshold + Math.log(stakes.length) };
}

/** How many audited forged pairs an alarm takes; `mean` is Infinity when evidence does not grow. */
interface Needed {
  readonly mean: number;
  /** A distribution by its quantiles: counts, rising, with their chances. */
  readonly atoms: readonly { readonly count: number; readonly chance: number }[];
}

/** Quantile levels and their weights: even in normal deviations, so that both tails are there. */
const levels = Array.from({ length: 100 }, (_, i) => {
  const edge = (at: number): number => normalBelow(-5 + at / 10);
  const [low, high] = [i === 0 ? 0 : edge(i), i === 99 ? 1 : edge(i + 1)];
  return { level: (low + high) / 2, chance: high - low };
});

/** The walk's first passage, counted in audited forged pairs. */
function passage(evidence: Evidence, beta: number): Needed {
  const { forged, honest, threshold } = evidence;
  const between = (1 - beta) / beta;
  const drift = forged.mean + between * honest.mean;
  if (!(drift > 0)) return { mean: Infinity, atoms: [] };
  const gaps = (honest.mean ** 2 * (1 - beta)) / beta ** 2;
  const variance = forged.variance + between * honest.variance + gaps;
  const deviation = Math.sqrt(variance);
  // Overshoot is made by single steps, not by the sum of those between two forged pairs.
  const overshoot = 0.583 * Math.sqrt(Math.max(forged.variance, honest.variance));
  const within = (j: number): number => {
    if (deviation === 0) return j * drift >= threshold ? 1 : 0;
    const direct = normalBelow((j * drift - threshold) / (deviation * Math.sqrt(j)));
    return Math.max(direct, firstPassage(j, threshold + overshoot, drift, deviation));
  };
  const chances = new Map<number, number>();
  for (const { level, chance } of levels) {
    const count = wholeQuantile(within, level);
    chances.set(count, (chances.get(count) ?? 0) + chance);
  }
  const atoms = [...chances].map(([count, chance]) => ({ count, chance }));
  return { mean: atoms.reduce((sum, { count, chance }) => sum + count * chance, 0), atoms };
}

/** The least whole number >= 1 at which a rising function reaches `level`. */
function wholeQuantile(rising: (j: number) => number, level: number): number {
  let high = 1;
  while (rising(high) < level && high < 1e15) high *= 2;
  let low = Math.floor(high / 2);
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (rising(middle) < level) low = middle;
    else high = middle;
  }
  return high;
}

/** P(`needed` or more of `pairs` pairs are hit), each hit with probability `rate`. `pairs` may be fractional. */
function hitsAtLeast(needed: number, pairs: number, rate: number): number {
  if (pairs < needed || !(rate > 0)) return 0;
  if (rate >= 1) return 1;
  // Exact where it matters; for rare hits, or many, the waiting time is a gamma distribution's.
  if (rate > 1e-3 && needed < 2000) return betaCdf(rate, needed, pairs - needed + 1);
  return gammaBelow(needed / (1 - rate), (pairs * rate) / (1 - rate));
}

/** The chance and time of catching one server, in pairs that it served since it began to cheat. */
export interface Catch {
  /** Pairs served until caught; Infinity when never. */
  readonly meanPairs: number;
  /** Audited forged pairs that it takes, on average. */
  readonly meanAudited: number;
  /** P(caught within this many pairs). */
  within(pairs: number): number;
  /** Pairs until caught with this probability. */
  quantile(chance: number): number;
}

/** Chance and time until one server that forges a share beta of its pairs is caught. */
export function catchOf(traffic: Traffic, detection: Detection): Catch {
  return catcher(traffic, detection)(traffic.epsilon);
}

/** `catchOf` for many values of epsilon: the evidence that an alarm takes does not depend on it. */
function catcher(traffic: Traffic, detection: Detection): (epsilon: number) => Catch {
  const { beta } = traffic;
  if (detection.kind === "power") return (epsilon) => catchByPower(epsilon * beta, detection.power);
  const alone =
    detection.kind === "mismatch" ? hardPerPair(traffic.tokensPerPair, detection.hard) : 0;
  const evidence = evidenceOf(traffic, detection);
  assert(evidence !== null, "detection by evidence has evidence");
  const needed = passage(evidence, beta);
  const mean = meanAudited(needed, alone);
  return (epsilon) => {
    const rate = epsilon * beta;
    const within = (pairs: number): number => 1 - escapes(needed, alone, pairs, rate);
    return {
      ...{ meanPairs: mean / rate, meanAudited: mean, within },
      quantile: (chance) =>
        mean === Infinity ? Infinity : Math.max(1, realQuantile(within, chance, mean / rate)),
    };
  };
}

/**
 * Whether P(caught within `pairs`) = `chance` is to be doubted: it is below `believed`, and evidence has
 * more than a twentieth of it. What single pairs decide is exact.
 */
export function isDoubtful(
  traffic: Traffic,
  detection: Detection,
  pairs: number,
  chance: number,
): boolean {
  if (detection.kind === "power" || !(chance > 0 && chance < believed)) return false;
  if (!Number.isFinite(pairs)) return false;
  const alone =
    detection.kind === "mismatch" ? hardPerPair(traffic.tokensPerPair, detection.hard) : 0;
  const rate = traffic.epsilon * traffic.beta * alone;
  return -Math.expm1(pairs * Math.log1p(-rate)) < 0.95 * chance;
}

/** Audited forged pairs until evidence alarms or one is caught alone, each with probability `alone`. */
function meanAudited({ mean, atoms }: Needed, alone: number): number {
  if (alone === 0) return mean;
  const log = Math.log1p(-alone);
  // E min(G, K) = (1 - E (1 - alone)^K) / alone, G geometric.
  return atoms.reduce((sum, { count, chance }) => sum - chance * Math.exp(count * log), 1) / alone;
}

/**
 * P(not caught within `pairs` pairs): no hit was caught alone, and there were too few for the evidence.
 * Given the first, hits are rarer: rate (1 - alone) / (1 - rate alone).
 */
function escapes({ atoms }: Needed, alone: number, pairs: number, rate: number): number {
  if (pairs <= 0) return 1;
  const unseen = Math.exp(pairs * Math.log1p(-rate * alone));
  const rest = (rate * (1 - alone)) / (1 - rate * alone);
  const enough = atoms.reduce(
    (sum, { count, chance }) => sum + chance * hitsAtLeast(count, pairs, rest),
    0,
  );
  return unseen * Math.max(0, 1 - Math.min(1, enough));
}

function catchByPower(rate: number, power: number): Catch {
  const caught = rate * power;
  const log = Math.log1p(-caught);
  return {
    meanPairs: 1 / caught,
    meanAudited: 1 / power,
    within: (pairs) => (pairs <= 0 ? 0 : -Math.expm1(pairs * log)),
    quantile: (chance) => (caught >= 1 ? 1 : Math.log1p(-chance) / log),
  };
}

/** Where a rising function of the positive numbers reaches `level`, to 1e-9 relative. */
function realQuantile(rising: (x: number) => number, level: number, start: number): number {
  let high = start;
  while (rising(high) < level && high < 1e300) high *= 2;
  let low = high / 2;
  while (rising(low) >= level && low > 1e-300) low /= 2;
  for (let i = 0; i < 60 && high / low - 1 > 1e-9; i++) {
    const middle = Math.sqrt(low * high);
    if (rising(middle) < level) low = middle;
    else high = middle;
  }
  return high;
}

/** P(the first of `servers` cheating servers is caught), from P(one given server is). */
export function anyOf(one: number, servers: number): number {
  return -Math.expm1(servers * Math.log1p(-one));
}

/** P(all of them are caught). */
export function allOf(one: number, servers: number): number {
  return one ** servers;
}

/** P(one is caught) at which P(any of `servers` is caught) is `chance`; the inverse of `anyOf`. */
export function oneForAny(chance: number, servers: number): number {
  return -Math.expm1(Math.log1p(-chance) / servers);
}

/** Share of the fleet's compute that recomputation takes, and how many servers' worth at full load. */
export function recomputation(
  servers: number,
  epsilon: number,
  costRatio: number,
): { readonly share: number; readonly recomputers: number } {
  const share = epsilon * costRatio;
  return { share, recomputers: Math.max(1, Math.ceil(servers * share)) };
}

/**
 * The least epsilon that catches one server within `pairs` pairs with probability `confidence`; null
 * when auditing everything does not.
 */
export function solveEpsilon(
  traffic: Traffic,
  detection: Detection,
  pairs: number,
  confidence: number,
): number | null {
  const at = catcher(traffic, detection);
  const within = (epsilon: number): number => at(epsilon).within(pairs);
  return within(1) < confidence ? null : solve(within, confidence);
}

/**
 * The largest share of pairs that a server can forge and still escape `pairs` pairs long with a
 * probability above 1 - `confidence`: 1 when it can forge all.
 */
export function solveBeta(
  traffic: Traffic,
  detection: Detection,
  pairs: number,
  confidence: number,
): number {
  const within = (beta: number): number => catchOf({ ...traffic, beta }, detection).within(pairs);
  return within(1) < confidence ? 1 : solve(within, confidence);
}

const leastShare = 1e-15;

/** Where a rising function of (0, 1] reaches `level`: bisection of the logarithm. */
function solve(rising: (x: number) => number, level: number): number {
  let low = leastShare;
  let high = 1;
  for (let i = 0; i < 60 && high / low - 1 > 1e-6; i++) {
    const middle = Math.sqrt(low * high);
    if (rising(middle) < level) low = middle;
    else high = middle;
  }
  return high;
}

/** A cheat whose tokens were compared with the recomputation. */
export interface MeasuredClass {
  readonly name: string;
  readonly title: string;
  /** Share of tokens that differ from the recomputation. */
  readonly mismatch: number;
  /** Probability that a token is a hard finding. */
  readonly hard: number;
}

/**
 * As measured on weir-demo, docs/PERFORMANCE.md section 4: T = 1, 9,400 tokens or more each. `hard`: from what
 * share of 64-token pairs fails alone (wrong-seed), the 90% point (q4_0) or the median (others) of
 * tokens until a hard finding; kv-q8_0 had none in 100,000.
 */
export const measuredClasses: readonly MeasuredClass[] = [
  { name: "wrong-seed", title: "own randomness", mismatch: 0.37, hard: 0.049 },
  { name: "q4_0", title: "weights at 4 bits", mismatch: 0.063, hard: 0.018 },
  { name: "temperature-1.1", title: "temperature 10% up", mismatch: 0.032, hard: 0.0058 },
  { name: "kv-q4_0", title: "keys of the cache at 4 bits", mismatch: 0.028, hard: 0.0047 },
  { name: "q8_0", title: "weights at 8 bits", mismatch: 0.0047, hard: 3.8e-5 },
  { name: "kv-q8_0", title: "keys of the cache at 8 bits", mismatch: 0.0016, hard: 0 },
];

/**
 * Honest servers of weir-demo (models/weir-demo.profile.json): the null mean of `gls`, and the share
 * of tokens far off that would give what its calibration observed under the worst condition.
 */
export const measuredHonest = { nullMean: 0.0006, mismatch: 0.00004 } as const;
