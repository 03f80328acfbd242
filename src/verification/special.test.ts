import assert from "node:assert/strict";
import { test } from "node:test";
import { firstPassage, gammaBelow, normalBelow } from "./special.ts";
import { logGamma } from "./beta.ts";

const near = (actual: number, expected: number, error = 1e-10): void =>
  assert.ok(Math.abs(actual - expected) <= error, `${actual}, expected ${expected}`);

test("special: ln Gamma -> factorials and the half", () => {
  near(logGamma(11), Math.log(3_628_800));
  near(logGamma(0.5), Math.log(Math.sqrt(Math.PI)));
  near(logGamma(0.1), 2.252712651734206);
});

test("special: gamma -> sums of the Poisson distribution, on both sides of the mean", () => {
  for (const [shape, x] of [
    [1, 0.3],
    [3, 9],
    [20, 12],
    [40, 90],
  ] as const) {
    let below = 0;
    for (let i = 0; i < shape; i++) below += Math.exp(i * Math.log(x) - x - logGamma(i + 1));
    near(gammaBelow(shape, x), 1 - below);
  }
  near(gammaBelow(20_001, 20_001), gammaBelow(19_999, 19_999), 1e-5);
});

test("special: normal -> published values", () => {
  near(normalBelow(1.959963984540054), 0.975);
  near(normalBelow(-3), 0.0013498980316301);
  assert.equal(normalBelow(0), 0.5);
});

test("special: first passage -> its mean is level/drift", () => {
  let mean = 0;
  for (let t = 0; t < 400; t += 0.05) mean += 0.05 * (1 - firstPassage(t + 0.025, 10, 0.5, 1));
  near(mean, 20, 1e-3);
});
