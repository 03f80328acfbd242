import assert from "node:assert/strict";
import { test } from "node:test";
import { logPhi, phiBetween } from "./normal.ts";

test("normal: ln Phi -> values of 30 digits (mpmath), from the far tail to the other", () => {
  const values: [number, number][] = [
    [-40, -804.6084420137538],
    [-20, -203.91715537109727],
    [-10, -53.23128515051247],
    [-5, -15.064998393988725],
    [-3, -6.607726221510349],
    [-1, -1.8410216450092636],
    [0, -0.6931471805599453],
    [1, -0.17275377902344988],
    [3, -0.0013508099647481938],
    [6, -9.865876455243758e-10],
    [10, -7.619853024160525e-24],
  ];
  for (const [x, expected] of values) {
    assert.ok(Math.abs(logPhi(x) - expected) <= 1e-12 * Math.abs(expected), `${x}: ${logPhi(x)}`);
  }
});

test("normal: where series and continued fraction meet -> no step", () => {
  for (const x of [-3, 3]) {
    const step = logPhi(x + 1e-9) - logPhi(x - 1e-9);
    assert.ok(step > 0 && step < 1e-8, `${x}: ${step}`);
  }
  assert.ok(logPhi(-1e100) < -1e199);
  assert.ok(logPhi(1e100) === 0);
});

test("normal: probability between -> no loss in the upper tail", () => {
  const lower = phiBetween(-11, -10);
  assert.equal(phiBetween(10, 11), lower);
  assert.ok(Math.abs(lower / 7.619853024160525e-24 - 1) < 1e-2);
  assert.ok(Math.abs(phiBetween(-1.959963984540054, 1.959963984540054) - 0.95) < 1e-14);
});
