/**
 * Confidence bounds for the mean of independent observations in [0, 1], from their count, sum and
 * sum of squares alone. They hold for every distribution, at every sample size and at all times at
 * once: who looks after each observation and stops when he likes is still covered.
 *
 * Source: for y = m - x >= -1 and 0 <= l < 1, Fan's inequality exp(l y - psi(l) y^2) <= 1 + l y with
 * psi(l) = -ln(1 - l) - l (Fan, Grama, Liu, J. Math. Anal. Appl. 2015, Lemma 4.1) makes
 * prod exp(l (m - x_i) - psi(l) (m - x_i)^2) a nonnegative supermartingale when E x = m, and Ville's
 * inequality bounds the chance that it ever reaches 1/alpha (Howard, Ramdas, McAuliffe, Sekhon, Ann.
 * Stat. 2021; Waudby-Smith, Ramdas, JRSS B 2024). alpha is shared out over a fixed list of l. For
 * observations that are all 0, one more member, the process 1[x = 0] / (1 - m), gives the exact
 * answer of Clopper and Pearson, m <= 1 - alpha^(1/n).
 */
import { assert } from "../base/assert.ts";

export interface Moments {
  /** Observations. */
  readonly count: number;
  readonly sum: number;
  readonly squares: number;
}

/** Stakes: the large ones serve rare events, the small ones the square-root law of many observations. */
const stakes = [0.95, 0.7, 0.5, 0.25, 0.125, 0.0625, 2 ** -5, 2 ** -6, 2 ** -7, 2 ** -8, 2 ** -10];
const members = stakes.length + 1;

const psi = (stake: number): number => -Math.log1p(-stake) - stake;

/**
 * The smallest m at which the process of one stake against "the mean is m or more" has reached
 * `level` (nats per observation); 1 if none. It solves
 * l (m - x1) - psi (x2 - 2 m x1 + m^2) = level, a parabola in m that is increasing up to its crest.
 */
function crossing(stake: number, x1: number, x2: number, level: number): number {
  const p = psi(stake);
  const b = stake + 2 * p * x1;
  const c = -stake * x1 - p * x2 - level;
  const root = b * b + 4 * p * c;
  if (root < 0) return 1;
  // -p m^2 + b m + c = 0; the smaller root, written so that nothing cancels.
  const m = (-2 * c) / (b + Math.sqrt(root));
  return Math.min(1, Math.max(0, m));
}

/**
 * A number that the mean exceeds with probability at most `alpha`, over all sample sizes together. 1
 * without observations. Observations must be independent (or have a constant conditional mean) and
 * lie in [0, 1].
 */
export function upperMean(moments: Moments, alpha: number): number {
  assert(alpha > 0 && alpha < 1, "alpha lies between 0 and 1");
  const { count, sum, squares } = moments;
  if (count === 0) return 1;
  const level = Math.log(members / alpha) / count;
  let best = sum === 0 ? -Math.expm1(-level) : 1;
  for (const stake of stakes) {
    best = Math.min(best, crossing(stake, sum / count, squares / count, level));
  }
  return best;
}

/** A number that the mean undercuts with probability at most `alpha`: `upperMean` of 1 - x, mirrored. */
export function lowerMean(moments: Moments, alpha: number): number {
  const { count, sum, squares } = moments;
  return 1 - upperMean({ count, sum: count - sum, squares: count - 2 * sum + squares }, alpha);
}
