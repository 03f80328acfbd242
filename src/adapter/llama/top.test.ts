import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { logSumOf, topOf, topWithSum } from "./top.ts";

/** The same by sorting everything. */
function sorted(logits: Float32Array, k: number): number[] {
  return Array.from(logits.keys())
    .sort((a, b) => (logits[b] ?? 0) - (logits[a] ?? 0) || a - b)
    .slice(0, k);
}

function agrees(logits: Float32Array, k: number): void {
  const top = topOf(logits, k);
  assert.deepEqual(Array.from(top.ids), sorted(logits, k));
  assert.deepEqual(
    Array.from(top.logProbs),
    Array.from(top.ids, (id) => logits[id] ?? NaN),
  );
}

// Few values, so that ties are common; both zeros; what is masked is -Infinity.
const coarse = fc.constantFrom(-Infinity, -3, -1, -0, 0, 0.5, 1, 7, 1e-42, -1e-42);
const fine = fc.float({ noNaN: true });

test("top: arbitrary logits -> as sorting by falling logit, then by rising id", () => {
  for (const value of [coarse, fine]) {
    fc.assert(
      fc.property(
        fc.array(value, { minLength: 1, maxLength: 400 }),
        fc.integer({ min: 1, max: 500 }),
        (values, k) => {
          agrees(Float32Array.from(values), k);
        },
      ),
      { numRuns: 400, seed: 3 },
    );
  }
});

test("top: a vocabulary in rising, falling, equal and mixed order -> the same", () => {
  const size = 4099;
  const orders: ((id: number) => number)[] = [
    (id) => id,
    (id) => -id,
    () => -2.5,
    (id) => ((id * 2654435761) % 4099) - 4000,
    (id) => (id % 160 === 3 ? 100 + id : -id),
  ];
  for (const order of orders) {
    const logits = Float32Array.from({ length: size }, (_, id) => order(id));
    for (const k of [1, 2, 80, 1024, 4098, 4099, 5000]) agrees(logits, k);
  }
  // A view into the middle of a larger buffer, as a row of a batch is.
  agrees(new Float32Array(300).map((_, i) => Math.sin(i)).subarray(7, 290), 16);
});

test("top: not a number among the logits -> engine.candidates", () => {
  for (const at of [0, 57, 4095]) {
    const logits = new Float32Array(4096).map((_, id) => id % 97);
    logits[at] = NaN;
    assert.throws(() => topOf(logits, 80), { code: "engine.candidates" });
  }
});

test("top: the sum over the vocabulary -> ln of the sum of exp, also of large logits", () => {
  const logits = Float32Array.of(1000, 1001, 999, -Infinity);
  const expected = 1001 + Math.log(Math.exp(-1) + 1 + Math.exp(-2));
  assert.ok(Math.abs(topWithSum(logits, 2).logSum - expected) < 1e-12);
  assert.ok(Math.abs(logSumOf(logits, 1000) - expected) < 1e-12);
});
