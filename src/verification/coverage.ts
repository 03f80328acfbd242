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
 * - `mismatch`: as drift, with the evidence worked out from how often forged and honest tokens differ
 *   from the recomputation, betting one share f of the wealth per pair (1 - f + f e), the best f of a
 *   grid for this beta. Honest pairs cost such a bet something, so that rare and weak cheating takes far
 *   longer than 1/beta says.
 *
 * The evidence walk is cut at each audited forged pair, the honest ones between folded into its step.
 * Its first passage over the threshold is inverse Gaussian, with Siegmund's correction of 0.583
 * standard deviations for the overshoot (Sequential Analysis, 1985, section 10.4); where steps are
 * larger than their spread the exact lower bound P(S_j >= a) takes over. Against `simulateCoverage`
 * (docs/COVERAGE.md has the table): mean within 7%, median within 10%, 90% and 99% within 7%, nearly always
 * on the late side. The early tail is later still, by up to 45% at the 10% point, for the real mixture
 * of stakes now and then has luck.
 */
import { assert } from "../base/assert.ts";
import { logGamma } from "./beta.ts";
import { betaBelow, firstPassage, gammaBelow, normalBelow } from "./special.ts";

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
      /** Share of tokens that differ from the recomputation, forged and honest; forged > honest. */
      readonly forged: number;
      readonly honest: number;
      readonly threshold: number;
    };

/** The log e-value at which the fleet's false-alarm budget is used: ln(2 k / alpha), section 6 of the notes. */
export function fleetThreshold(servers: number, alpha: number): number {
  return Math.log((2 * servers) / alpha);
}

/** Shares of the wealth that a bet on one pair may stake; the wealth is averaged over them. */
export const stakeGrid = [
  0.9, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.003, 0.001, 0.0003, 0.0001,
] as const;

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

/** ln(1 - f + f e) without overflow, from ln e. */
export function stakedLog(stake: number, logE: number): number {
  return logE > 30
    ? logE + Math.log(stake + (1 - stake) * Math.exp(-logE))
    : Math.log1p(stake * Math.expm1(logE));
}

/** ln of the likelihood ratio of a pair with each count of tokens that differ. */
export function pairLogs(tokens: number, forged: number, honest: number): number[] {
  const odd = Math.log(forged / honest);
  const even = Math.log1p(-forged) - Math.log1p(-honest);
  return Array.from({ length: tokens + 1 }, (_, i) => i * odd + (tokens - i) * even);
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
  const logs = pairLogs(tokensPerPair, detection.forged, detection.honest);
  const grown = stakeGrid.map((stake) => {
    const values = logs.map((log) => stakedLog(stake, log));
    const forged = stepOf(underForged, values);
    const honest = stepOf(underHonest, values);
    return { stake, forged, honest, growth: beta * forged.mean + (1 - beta) * honest.mean };
  });
  const best = grown.reduce((max, row) => (row.growth > max.growth ? row : max));
  // The wealth is averaged over the grid: the best stake owns one part of it.
  return { ...best, threshold: threshold + Math.log(stakeGrid.length) };
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
  if (pairs < needed) return 0;
  if (rate >= 1) return 1;
  // Exact where it matters; for rare hits, or many, the waiting time is a gamma distribution's.
  if (rate > 1e-3 && needed < 2000) return betaBelow(rate, needed, pairs - needed + 1);
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
  const evidence = evidenceOf(traffic, detection);
  assert(evidence !== null, "detection by evidence has evidence");
  const { mean, atoms } = passage(evidence, beta);
  return (epsilon) => {
    const rate = epsilon * beta;
    const within = (pairs: number): number =>
      Math.min(
        1,
        atoms.reduce((sum, { count, chance }) => sum + chance * hitsAtLeast(count, pairs, rate), 0),
      );
    return {
      ...{ meanPairs: mean / rate, meanAudited: mean, within },
      quantile: (chance) =>
        atoms.length === 0 ? Infinity : realQuantile(within, chance, mean / rate),
    };
  };
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

/** Cheats whose tokens were compared with the recomputation, research notes: weir-tiny, T = 1, one thread. */
export interface MeasuredClass {
  readonly name: string;
  readonly title: string;
  readonly mismatch: number;
}

/**
 * Shares of tokens that differ from the recomputation, from a trial on node-llama-cpp with a 5.5
 * M-parameter model, vocabulary 2,048, top-64, T = 1, 2,000 tokens each; wrong seed: simulation.
 */
export const measuredClasses: readonly MeasuredClass[] = [
  { name: "wrong-seed", title: "own randomness", mismatch: 0.56 },
  { name: "temperature-1.1", title: "temperature 10% up", mismatch: 0.0685 },
  { name: "q4_0", title: "weights at 4 bits", mismatch: 0.0565 },
  { name: "q8_0", title: "weights at 8 bits", mismatch: 0.0085 },
];

/** No honest token of 2,000 differed in that trial: 95% bound of Clopper and Pearson. */
export const honestMismatch = 0.0015;
