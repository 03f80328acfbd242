import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { lowerMean, upperMean, type Moments } from "./bounded-mean.ts";
import { seededUniform } from "./seeded.ts";

function moments(values: readonly number[]): Moments {
  return {
    count: values.length,
    sum: values.reduce((sum, x) => sum + x, 0),
    squares: values.reduce((sum, x) => sum + x * x, 0),
  };
}

test("bounded mean: no observation -> everything is possible", () => {
  assert.equal(upperMean(moments([]), 0.05), 1);
  assert.equal(lowerMean(moments([]), 0.05), 0);
});

test("bounded mean: only zeros -> Clopper and Pearson's 1 - alpha^(1/n), at a twelfth of alpha", () => {
  const upper = upperMean({ count: 1000, sum: 0, squares: 0 }, 0.05);
  assert.ok(Math.abs(upper - (1 - (0.05 / 12) ** (1 / 1000))) < 1e-12);
});

test("bounded mean: many observations -> near the normal interval, and the variance counts", () => {
  const still = upperMean({ count: 1e6, sum: 0.01 * 1e6, squares: 0.0001 * 1e6 }, 0.05);
  const wild = upperMean({ count: 1e6, sum: 0.01 * 1e6, squares: 0.01 * 1e6 }, 0.05);
  assert.ok(still < 0.01 + 2e-5, String(still));
  const normal = 1.645 * Math.sqrt((0.01 * 0.99) / 1e6);
  assert.ok(wild - 0.01 > normal && wild - 0.01 < 2.2 * normal, String(wild));
});

test("bounded mean: any observations -> lower <= average <= upper, within [0, 1]", () => {
  fc.assert(
    fc.property(
      fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 1, maxLength: 200 }),
      fc.double({ min: 1e-9, max: 0.5, noNaN: true }),
      (values, alpha) => {
        const m = moments(values);
        const lower = lowerMean(m, alpha);
        const upper = upperMean(m, alpha);
        assert.ok(0 <= lower && lower <= m.sum / m.count + 1e-9);
        assert.ok(m.sum / m.count <= upper + 1e-9 && upper <= 1);
      },
    ),
  );
});

test("bounded mean: simulated streams watched at every step -> the truth is missed within alpha", () => {
  const uniform = seededUniform(7);
  const alpha = 0.1;
  const runs = 400;
  let missed = 0;
  for (let run = 0; run < runs; run++) {
    const m = { count: 0, sum: 0, squares: 0 };
    let wrong = false;
    for (let i = 0; i < 300 && !wrong; i++) {
      const x = uniform() < 0.02 ? uniform() : 0;
      m.count++;
      m.sum += x;
      m.squares += x * x;
      wrong = upperMean(m, alpha) < 0.01;
    }
    if (wrong) missed++;
  }
  // Expected at most 40; 60 is more than three standard deviations above.
  assert.ok(missed <= 60, `${missed} of ${runs} streams`);
});
