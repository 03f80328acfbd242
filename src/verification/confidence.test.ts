import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { boundedWeight } from "./bets.ts";
import {
  designEffect,
  meanLower,
  meanUpper,
  nullMeanUpper,
  shareLower,
  shareUpper,
} from "./confidence.ts";
import { seededUniform } from "./seeded.ts";

const near = (value: number, expected: number, within: number): void =>
  assert.ok(Math.abs(value - expected) <= within, `${value} is not ${expected}`);

test("confidence: shares -> the published Clopper-Pearson limits", () => {
  // Newcombe, Statistics in Medicine 17 (1998), 857-872, table I, method 5: 95%, two-sided.
  const published = [
    [81, 263, 0.2527, 0.3676],
    [15, 148, 0.0578, 0.1617],
    [0, 20, 0, 0.1684],
    [1, 29, 0.0009, 0.1776],
  ] as const;
  for (const [hits, trials, lower, upper] of published) {
    near(shareLower(hits, trials, 0.975), lower, 5.1e-5);
    near(shareUpper(hits, trials, 0.975), upper, 5.1e-5);
  }
});

test("confidence: no hits -> the rule of three; nothing tried -> nothing known", () => {
  near(shareUpper(0, 1e6, 0.95), 1 - 0.05 ** 1e-6, 1e-15);
  assert.deepEqual([shareLower(0, 0, 0.9), shareUpper(0, 0, 0.9)], [0, 1]);
  assert.deepEqual([shareLower(0, 9, 0.9), shareUpper(9, 9, 0.9)], [0, 1]);
});

test("confidence: a design effect -> as if there were that many times fewer tokens", () => {
  near(shareUpper(50, 1000, 0.95, 5), shareUpper(10, 200, 0.95), 1e-12);
  assert.ok(shareUpper(50, 1000, 0.95, 5) > shareUpper(50, 1000, 0.95));
});

test("confidence: the design effect -> 1 without clusters, the block length when blocks are all or nothing", () => {
  const uniform = seededUniform(5);
  const block = (share: number, trials: number): { hits: number; trials: number } => ({
    hits: Array.from({ length: trials }, () => uniform()).filter((u) => u < share).length,
    trials,
  });
  const independent = Array.from({ length: 5000 }, () => block(0.1, 20));
  near(designEffect(independent), 1, 0.06);
  const whole = Array.from({ length: 5000 }, () => ({
    hits: uniform() < 0.1 ? 20 : 0,
    trials: 20,
  }));
  near(designEffect(whole), 20, 1.5);
  assert.equal(designEffect(whole.map(() => ({ hits: 0, trials: 20 }))), 20);
  assert.equal(designEffect([]), 1);
});

test("confidence: shares of clustered tokens, simulated -> covered with the design effect, not without", () => {
  const uniform = seededUniform(11);
  let plain = 0;
  let honest = 0;
  const runs = 400;
  for (let run = 0; run < runs; run++) {
    // Each pair has its own share, 0 or 0.2 with even odds: 0.1 on the whole.
    const blocks = Array.from({ length: 80 }, () => {
      const share = uniform() < 0.5 ? 0 : 0.2;
      const hits = Array.from({ length: 40 }, () => uniform()).filter((u) => u < share).length;
      return { hits, trials: 40 };
    });
    const hits = blocks.reduce((sum, { hits }) => sum + hits, 0);
    if (shareUpper(hits, 80 * 40, 0.95) < 0.1) plain++;
    if (shareUpper(hits, 80 * 40, 0.95, designEffect(blocks)) < 0.1) honest++;
  }
  assert.ok(shareLower(plain, runs, 0.99) > 0.1, `${plain} of ${runs} missed without it`);
  assert.ok(shareLower(honest, runs, 0.99) < 0.05, `${honest} of ${runs} missed with it`);
});

const sources: Record<string, (uniform: () => number) => { value: number; mean: number }> = {
  "rare bursts": (u) => ({ value: u() < 0.01 ? u() : 0, mean: 0.005 }),
  uniform: (u) => ({ value: u(), mean: 0.5 }),
  coins: (u) => ({ value: u() < 0.02 ? 1 : 0, mean: 0.02 }),
  // Pareto with index 1.2 from 0.01, clipped at 1.
  "heavy tail": (u) => ({
    value: Math.min(1, 0.01 * u() ** (-1 / 1.2)),
    mean: 0.01 * (6 - 5 * 0.01 ** 0.2),
  }),
};

for (const [name, draw] of Object.entries(sources)) {
  test(`confidence: mean of ${name}, simulated -> missed no more often than promised`, () => {
    const uniform = seededUniform(7);
    const runs = 300;
    let above = 0;
    let below = 0;
    for (let run = 0; run < runs; run++) {
      const drawn = Array.from({ length: 250 }, () => draw(uniform));
      const values = drawn.map(({ value }) => value);
      const mean = drawn[0]?.mean ?? NaN;
      if (meanUpper(values, 0.9) < mean) above++;
      if (meanLower(values, 0.9) > mean) below++;
    }
    assert.ok(shareLower(above, runs, 0.999) < 0.1, `the upper bound missed ${above} of ${runs}`);
    assert.ok(shareLower(below, runs, 0.999) < 0.1, `the lower bound missed ${below} of ${runs}`);
  });
}

test("confidence: the mean's bound -> tighter than the empirical Bernstein bound, near the exact one for zeros", () => {
  const uniform = seededUniform(3);
  const alpha = 0.01;
  for (const n of [300, 3000]) {
    const values = Array.from({ length: n }, () => (uniform() < 0.05 ? 0.1 * uniform() : 0));
    const mean = values.reduce((sum, value) => sum + value, 0) / n;
    const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (n - 1);
    // Maurer and Pontil, COLT 2009, theorem 4.
    const log = Math.log(2 / alpha);
    const bernstein = mean + Math.sqrt((2 * variance * log) / n) + (7 * log) / (3 * (n - 1));
    const upper = meanUpper(values, 1 - alpha);
    assert.ok(upper > mean && upper < bernstein, `${mean} ${upper} ${bernstein}`);
    const zeros = meanUpper(
      Array.from({ length: n }, () => 0),
      1 - alpha,
    );
    const exact = 1 - alpha ** (1 / n);
    assert.ok(zeros >= exact && zeros < 1.3 * exact, `${zeros} ${exact}`);
  }
});

test("confidence: weights -> a bound on the weighted mean; equal weights of 1 change nothing", () => {
  const uniform = seededUniform(9);
  const values = Array.from({ length: 400 }, () => uniform() * 0.1);
  const ones = values.map(() => 1);
  assert.equal(meanUpper(values, 0.95, ones), meanUpper(values, 0.95));
  // Long pairs are still, short ones are not: the weighted mean is the smaller.
  const mixed = values.map((_, i) => (i % 2 === 0 ? 0 : 0.1));
  const weights = values.map((_, i) => (i % 2 === 0 ? 1 : 0.1));
  const upper = meanUpper(mixed, 0.95, weights);
  assert.ok(upper > 0.1 / 11 && upper < 0.05, `${upper}`);
});

test("confidence: order of values, more confidence -> the same bound, a wider one", () => {
  const lists = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 30 });
  fc.assert(
    fc.property(lists, (values) => {
      const upper = meanUpper(values, 0.9);
      near(meanUpper([...values].reverse(), 0.9), upper, 1e-8);
      assert.ok(meanUpper(values, 0.99) >= upper - 1e-8);
      const mean = values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
      assert.ok(upper >= mean - 1e-8 && meanLower(values, 0.9) <= mean + 1e-8);
    }),
  );
  assert.deepEqual([meanLower([], 0.9), meanUpper([], 0.9)], [0, 1]);
});

test("confidence: what is no share, value or weight -> BugError that says what", () => {
  assert.throws(() => shareUpper(3, 2, 0.9), /3 of 2/);
  assert.throws(() => shareUpper(1, 2, 1), /confidence lies in/);
  assert.throws(() => shareUpper(1, 2, 0.9, 0.5), /design effect/);
  assert.throws(() => meanUpper([0, 1.5], 0.9), /value 1 lies in \[0, 1\], not at 1.5/);
  assert.throws(() => meanUpper([0.5], 0.9, [0]), /weight 0/);
  assert.throws(() => meanUpper([0.5], 0.9, []), /one weight per value/);
});

test("confidence: replies that end where they go wrong -> the null mean that fits every bettor", () => {
  // Each token is off with odds 1 to 99, by 0.3, and ends its reply: 0.003 a token on average, far more a pair.
  const uniform = seededUniform(21);
  const pairs = Array.from({ length: 3000 }, () => {
    const tokens = Math.min(512, 1 + Math.floor(Math.log(uniform()) / Math.log(0.99)));
    return { value: tokens === 512 ? 0 : 0.3 / tokens, tokens };
  });
  const mean = nullMeanUpper(pairs, 0.95);
  for (let bettor = 0; bettor < 8; bettor++) {
    const weights = pairs.map(({ tokens }) => boundedWeight(bettor, tokens));
    const paid = pairs.reduce((sum, { value }, i) => sum + (weights[i] ?? 0) * (value - mean), 0);
    assert.ok(paid < 0, `bettor ${bettor} gains`);
  }
  const tokens = pairs.reduce((sum, pair) => sum + pair.tokens, 0);
  const byToken = pairs.reduce((sum, pair) => sum + pair.value * pair.tokens, 0) / tokens;
  assert.ok(mean > 1.5 * byToken, `${mean} against ${byToken} of tokens`);
  assert.equal(nullMeanUpper([], 0.95), 1);
});
