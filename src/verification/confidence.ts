/**
 * How much honest runs prove: confidence bounds on shares and on means of values in [0, 1]. What
 * calibration writes into a profile as `upper` comes from here. (bounded-mean.ts serves running
 * meters, which keep sums only.)
 */
import { assert } from "../base/assert.ts";
import { betaQuantile } from "./beta.ts";
import { boundedWeight, logSum, stakes as betStakes } from "./bets.ts";

/** Tokens of one pair (or any block that is independent of the others), and how many of them showed something. */
export interface Block {
  readonly hits: number;
  readonly trials: number;
}

function checkConfidence(confidence: number): void {
  assert(confidence > 0 && confidence < 1, `confidence lies in (0, 1), not at ${confidence}`);
}

/**
 * One-sided upper bound on a share from `hits` of `trials` (Clopper and Pearson, Biometrika 26, 1934):
 * too small with probability at most 1 - confidence. With a design effect above 1, hits and trials
 * are divided by it first (Korn and Graubard, Survey Methodology 24, 1998). 1 without trials.
 */
export function shareUpper(hits: number, trials: number, confidence: number, effect = 1): number {
  checkConfidence(confidence);
  assert(hits >= 0 && hits <= trials && trials < Infinity, `${hits} of ${trials} is no share`);
  assert(effect >= 1, `a design effect is at least 1, not ${effect}`);
  if (hits === trials) return 1;
  return betaQuantile(confidence, hits / effect + 1, (trials - hits) / effect);
}

/** One-sided lower bound on a share: `shareUpper` of the complement. 0 without trials. */
export function shareLower(hits: number, trials: number, confidence: number, effect = 1): number {
  return 1 - shareUpper(trials - hits, trials, confidence, effect);
}

/**
 * By how much the variance of the share of all blocks together exceeds that of independent tokens
 * (Kish's design effect, with the linearised variance of a ratio); at least 1. Where nothing or
 * everything was hit the dependence cannot be seen, and the worst is assumed: all tokens of a block
 * do the same, which gives the mean block length.
 */
export function designEffect(blocks: readonly Block[]): number {
  const used = blocks.filter(({ trials }) => trials > 0);
  const trials = used.reduce((sum, block) => sum + block.trials, 0);
  const hits = used.reduce((sum, block) => sum + block.hits, 0);
  if (used.length < 2 || hits === 0 || hits === trials) {
    return Math.max(1, trials / Math.max(1, used.length));
  }
  const share = hits / trials;
  const squares = used.reduce((sum, b) => sum + (b.hits - share * b.trials) ** 2, 0);
  const variance = (squares * used.length) / (used.length - 1);
  return Math.max(1, variance / (trials * share * (1 - share)));
}

/**
 * Stakes of the bettors against "the mean is m or more", as shares of the largest possible, and the
 * logs of their capital, in proportion to 1/(j+1): honest pairs are mostly zeros, where the largest wins.
 */
const stakes = Array.from({ length: 14 }, (_, j) => 2 ** -j);
const capital = logSum(stakes.map((_, j) => -Math.log(j + 1)));
const logCapital = stakes.map((_, j) => -Math.log(j + 1) - capital);

/**
 * One-sided upper bound on the mean of values in [0, 1]: the m at which a fixed mixture of bettors,
 * factors 1 + c w (m - x)/(1 - m), has won 1/(1 - confidence) (Waudby-Smith and Ramdas, J. R. Stat. Soc. B
 * 86, 2024, with constant stakes). Too small with probability at most 1 - confidence, for
 * every distribution and also if one stops by looking; the order of the values does not matter. For n
 * zeros it is near 1 - (1 - confidence)^(1/n), the exact answer.
 *
 * Values must be independent, or have a constant conditional mean: one value per pair, or per block of
 * pairs that belong together. `weights` in (0, 1], fixed before the values are known (tokens over the
 * most tokens): then the bound is on m with E sum w (x - m) = 0. 1 without values.
 */
export function meanUpper(
  values: readonly number[],
  confidence: number,
  weights?: readonly number[],
): number {
  checkConfidence(confidence);
  assert(weights === undefined || weights.length === values.length, "one weight per value");
  const points = distinct(values, weights);
  const level = -Math.log1p(-confidence);
  let low = 0;
  let high = 1;
  for (let i = 0; i < 60 && high - low > 1e-12 + 1e-9 * high; i++) {
    const middle = (low + high) / 2;
    if (logWealthAgainst(middle, points) >= level) high = middle;
    else low = middle;
  }
  return high;
}

/** One-sided lower bound on the mean: `meanUpper` of 1 - x, mirrored. 0 without values. */
export function meanLower(
  values: readonly number[],
  confidence: number,
  weights?: readonly number[],
): number {
  const mirrored = values.map((value) => 1 - value);
  return 1 - meanUpper(mirrored, confidence, weights);
}

/** One honest pair: what a `bounded` detector said of it, and its tokens. */
export interface HonestPair {
  readonly value: number;
  readonly tokens: number;
}

/**
 * The null mean that honest pairs support: what a `bounded` detector's `nullMean` must not be below.
 * Each bettor of bets.ts weighs a pair by its own capped length, so the mean of what is bet on depends
 * on the bettor where length and value are related (a reply that ends where it goes wrong). This is the
 * largest of their upper bounds; it holds for all bettors at once with the given confidence. 1 without pairs.
 */
export function nullMeanUpper(pairs: readonly HonestPair[], confidence: number): number {
  checkConfidence(confidence);
  const values = pairs.map(({ value }) => value);
  const each = 1 - (1 - confidence) / betStakes.length;
  const bounds = betStakes.map((_, bettor) => {
    const weights = pairs.map(({ tokens }) => boundedWeight(bettor, tokens));
    return meanUpper(values, each, weights);
  });
  return Math.max(...bounds);
}

interface Point {
  readonly value: number;
  readonly weight: number;
  count: number;
}

/** Equal observations counted together: honest pairs are mostly zeros. */
function distinct(values: readonly number[], weights: readonly number[] | undefined): Point[] {
  const points = new Map<string, Point>();
  values.forEach((value, i) => {
    const weight = weights?.[i] ?? 1;
    assert(value >= 0 && value <= 1, `value ${i} lies in [0, 1], not at ${value}`);
    assert(weight > 0 && weight <= 1, `weight ${i} lies in (0, 1], not at ${weight}`);
    const key = `${value} ${weight}`;
    const point = points.get(key);
    if (point === undefined) points.set(key, { value, weight, count: 1 });
    else point.count++;
  });
  return [...points.values()];
}

/** Log wealth of the mixture that bets on a mean below m. Grows with m, for every value. */
function logWealthAgainst(m: number, points: readonly Point[]): number {
  const logs = stakes.map((stake, j) =>
    points.reduce((sum, { value, weight, count }) => {
      const gain = (stake * weight * (m - value)) / (1 - m);
      return sum + count * Math.log1p(Math.max(-1, gain));
    }, logCapital[j] ?? 0),
  );
  return logSum(logs);
}
