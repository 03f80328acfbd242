/** The standard normal distribution function, and its logarithm far into the tail. */

const logSqrt2Pi = 0.9189385332046727;
/** Where the series hands over to the continued fraction. */
const tail = 3;

/** Phi(x) for |x| <= 3: G. Marsaglia, "Evaluating the normal distribution", J. Stat. Software 11(4), 2004. */
function central(x: number): number {
  let term = x;
  let sum = x;
  for (let i = 3; Math.abs(term) > 1e-17 * Math.abs(sum); i += 2) {
    term *= (x * x) / i;
    sum += term;
  }
  return 0.5 + sum * Math.exp(-0.5 * x * x - logSqrt2Pi);
}

/**
 * Mills' ratio (1 - Phi(t)) / phi(t) for t >= 3: Laplace's continued fraction 1/(t + 1/(t + 2/(t + ...))),
 * Abramowitz and Stegun 26.2.14.
 */
function mills(t: number): number {
  let fraction = t;
  for (let k = Math.ceil(60 + 600 / t); k >= 1; k--) fraction = t + k / fraction;
  return 1 / fraction;
}

/** ln Phi(x); accurate to about 1e-13 relative, and finite down to x = -1e150. */
export function logPhi(x: number): number {
  if (x < -tail) return -0.5 * x * x - logSqrt2Pi + Math.log(mills(-x));
  if (x > tail) return Math.log1p(-mills(x) * Math.exp(-0.5 * x * x - logSqrt2Pi));
  return Math.log(central(x));
}

/** Phi(b) - Phi(a) for a <= b, without loss where both lie in the upper tail. */
export function phiBetween(a: number, b: number): number {
  if (a > 0) return phiBetween(-b, -a);
  return Math.exp(logPhi(b)) - Math.exp(logPhi(a));
}
