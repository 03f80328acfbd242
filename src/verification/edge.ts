/**
 * How far logits of two honest machines may lie apart: the profile's `edge`, as an upper confidence
 * bound on an extreme quantile (spec/verdict.md section 5, docs/STATISTICS.md section 9).
 *
 * Peaks over threshold (Pickands, Ann. Statist. 3, 1975; Davison and Smith, J. R. Stat. Soc. B 52, 1990)
 * with an exponential tail: of n independent values m exceed u, the (m+1)-th largest. Then
 *
 *     edge = u + beta ln(share / rate)
 *     share: Clopper-Pearson upper bound on P(value > u); exact for an order statistic (Wilks, Ann.
 *            Math. Statist. 12, 1941)
 *     beta:  sum of the m excesses / the gamma(m) quantile at the level of doubt: the exact upper bound
 *            on the mean of exponential excesses
 *
 * Each gets half of the doubt. Several m are tried, and the largest bound is taken: where the tail is
 * heavier than exponential as far as it was seen, it is the far values that decide.
 */
import { assert } from "../base/assert.ts";
import { shareUpper } from "./confidence.ts";
import { gammaBelow } from "./special.ts";

export interface EdgeBound {
  /** Exceeded by at most `rate` of values, with the stated confidence; the unit of the values. */
  readonly edge: number;
  /** What decided: the threshold u, values above it, their bounds. */
  readonly threshold: number;
  readonly exceeding: number;
  readonly shareUpper: number;
  readonly excessUpper: number;
  /** Independent values, and the largest of them. */
  readonly values: number;
  readonly largest: number;
}

/** Fewer exceedances than this tell little; only of few values are so few taken. */
const exceedingMin = 64;

/** The x that a gamma(shape) variable stays below with probability p. */
export function gammaQuantile(p: number, shape: number): number {
  assert(p > 0 && p < 1, `a quantile needs a probability, not ${p}`);
  let [low, high] = [0, shape];
  while (gammaBelow(shape, high) < p) high *= 2;
  for (let i = 0; i < 200 && high - low > 1e-12 * high; i++) {
    const middle = (low + high) / 2;
    if (gammaBelow(shape, middle) < p) low = middle;
    else high = middle;
  }
  return low;
}

/** How many exceedances are tried for n values: a half of them, a quarter, and so on. */
function triedFor(n: number): number[] {
  const tried = [Math.max(1, Math.floor(n / 2))];
  for (let m = Math.floor(n / 4); m >= exceedingMin; m = Math.floor(m / 2)) tried.push(m);
  return tried;
}

/**
 * A bound that at most `rate` of further values exceed, with probability `confidence`. `values`: at least
 * two, independent (one per pair: the largest of its positions), not negative. Never below the largest.
 */
export function edgeBound(values: readonly number[], confidence: number, rate: number): EdgeBound {
  assert(values.length >= 2, "an edge needs at least two values");
  assert(rate > 0 && rate < 1, `a rate lies in (0, 1), not at ${rate}`);
  const falling = [...values].sort((a, b) => b - a);
  const largest = falling[0] ?? 0;
  const tried = triedFor(values.length);
  const doubt = (1 - confidence) / (2 * tried.length);
  const bounds = tried.map((exceeding): EdgeBound => {
    const threshold = falling[exceeding] ?? 0;
    const share = shareUpper(exceeding, values.length, 1 - doubt);
    const excess = falling.slice(0, exceeding).reduce((sum, value) => sum + value - threshold, 0);
    const excessUpper = excess / gammaQuantile(doubt, exceeding);
    const edge = Math.max(largest, threshold + excessUpper * Math.log(share / rate));
    return {
      ...{ edge, threshold, exceeding, shareUpper: share, excessUpper },
      ...{ values: values.length, largest },
    };
  });
  return bounds.reduce((worst, bound) => (bound.edge > worst.edge ? bound : worst));
}
