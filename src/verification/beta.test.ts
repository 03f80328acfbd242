import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { betaCdf, betaQuantile, logGamma } from "./beta.ts";

const close = (value: number, expected: number, relative: number): void =>
  assert.ok(
    Math.abs(value - expected) <= relative * Math.max(1e-300, Math.abs(expected)),
    `${value} is not ${expected}`,
  );

test("beta: ln Gamma -> factorials, and the square root of pi", () => {
  let factorial = 1;
  for (let n = 1; n <= 20; n++) {
    close(Math.exp(logGamma(n)), factorial, 1e-12);
    factorial *= n;
  }
  close(logGamma(0.5), 0.5 * Math.log(Math.PI), 1e-13);
  close(logGamma(1e6), 12_815_504.569147611, 1e-13);
});

/** P(X >= hits) for X binomial, summed term by term. */
function binomialTail(hits: number, trials: number, p: number): number {
  let sum = 0;
  let log = trials * Math.log1p(-p);
  for (let i = 0; i <= trials; i++) {
    if (i >= hits) sum += Math.exp(log);
    log += Math.log((trials - i) / (i + 1)) + Math.log(p) - Math.log1p(-p);
  }
  return sum;
}

test("beta: I_p(h, n-h+1) -> the tail of the binomial, summed", () => {
  const cases = fc.record({
    trials: fc.integer({ min: 1, max: 400 }),
    at: fc.double({ min: 0, max: 1, noNaN: true }),
    p: fc.double({ min: 0.001, max: 0.999, noNaN: true }),
  });
  fc.assert(
    fc.property(cases, ({ trials, at, p }) => {
      const hits = 1 + Math.floor(at * (trials - 1));
      const expected = binomialTail(hits, trials, p);
      assert.ok(Math.abs(betaCdf(p, hits, trials - hits + 1) - expected) < 1e-10);
    }),
  );
});

test("beta: the quantile -> undoes the distribution, also with millions of trials", () => {
  for (const [a, b] of [
    [1, 1],
    [0.3, 7.5],
    [4, 999_997],
    [5001, 995_000],
    [2e6, 3e6],
  ] as const) {
    for (const p of [1e-6, 0.05, 0.5, 0.975]) close(betaCdf(betaQuantile(p, a, b), a, b), p, 1e-6);
  }
});
