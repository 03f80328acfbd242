/** Distribution functions that coverage needs: normal, gamma, inverse Gaussian. */
import { assert } from "../base/assert.ts";
import { logGamma } from "./beta.ts";

const tiny = 1e-300;
const precision = 1e-14;
const roundsMax = 20_000;

/** Lentz's method for a continued fraction b0 + a1/(b1 + a2/(b2 + ...)). */
function continued(b0: number, term: (i: number) => readonly [a: number, b: number]): number {
  let f = b0 === 0 ? tiny : b0;
  let c = f;
  let d = 0;
  for (let i = 1; i <= roundsMax; i++) {
    const [a, b] = term(i);
    d = b + a * d;
    d = 1 / (d === 0 ? tiny : d);
    c = b + a / c;
    if (c === 0) c = tiny;
    f *= c * d;
    if (Math.abs(c * d - 1) < precision) break;
  }
  return f;
}

/** From here the Wilson-Hilferty cube root is right to better than 1e-5. */
const gammaNormalFrom = 20_000;

/** P(Gamma(shape, 1) <= x): the chance that Poisson events of mean x number `shape` or more. */
export function gammaBelow(shape: number, x: number): number {
  assert(shape > 0, "a gamma distribution has a positive shape");
  if (x <= 0) return 0;
  if (shape >= gammaNormalFrom) {
    const cube = Math.cbrt(x / shape);
    return normalBelow((cube - 1 + 1 / (9 * shape)) * 3 * Math.sqrt(shape));
  }
  const front = Math.exp(shape * Math.log(x) - x - logGamma(shape));
  if (x < shape + 1) {
    let term = 1 / shape;
    let sum = term;
    for (let i = 1; i <= roundsMax && term > sum * precision; i++) {
      term *= x / (shape + i);
      sum += term;
    }
    return Math.min(1, front * sum);
  }
  const fraction = continued(x + 1 - shape, (i) => [i * (shape - i), x + 1 - shape + 2 * i]);
  return Math.min(1, Math.max(0, 1 - front / fraction));
}

/** ln P(Z <= z) of a standard normal, also far out in the lower tail (Mills' ratio as a fraction). */
function lnNormalBelow(z: number): number {
  if (z > -3) return Math.log(normalBelow(z));
  const mills = continued(-z, (i) => [i, -z]);
  return (-z * z) / 2 - Math.log(mills * Math.sqrt(2 * Math.PI));
}

/** P(Z <= z) of a standard normal. */
export function normalBelow(z: number): number {
  if (z < -3) return Math.exp(lnNormalBelow(z));
  if (z === 0) return 0.5;
  const tail = 0.5 * (1 - gammaBelow(0.5, (z * z) / 2));
  return z > 0 ? 1 - tail : tail;
}

/**
 * P(T <= t) for the first time a Brownian motion with this drift per unit of time and this standard
 * deviation reaches `level`: the inverse Gaussian distribution. All positive.
 */
export function firstPassage(t: number, level: number, drift: number, deviation: number): number {
  if (t <= 0) return 0;
  const scale = deviation * Math.sqrt(t);
  const direct = normalBelow((drift * t - level) / scale);
  const power = (2 * drift * level) / deviation ** 2;
  return Math.min(1, direct + Math.exp(power + lnNormalBelow(-(drift * t + level) / scale)));
}
