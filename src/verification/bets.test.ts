import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { bettorsOf, fractions, logAdd, logFactors, logMean, logSum, stakes } from "./bets.ts";
import type { PairEvidence } from "./detector.ts";

/** A finite distribution of evidence: what a pair shows, and with which probability. */
interface Outcome {
  readonly p: number;
  readonly evidence: PairEvidence;
}

type Factors = (evidence: PairEvidence, nullMean: number, tokens: number) => number[];

/** Exact expectations of each bettor's factor. */
function expectations(
  factors: Factors,
  outcomes: readonly Outcome[],
  nullMean: number,
  tokens: number,
): number[] {
  const all = outcomes.map(({ p, evidence }) => ({ p, logs: factors(evidence, nullMean, tokens) }));
  return (all[0]?.logs ?? []).map((_, i) =>
    all.reduce((sum, { p, logs }) => sum + p * Math.exp(logs[i] ?? NaN), 0),
  );
}

const rounding = 1e-9;
const fair = (means: readonly number[]): boolean => means.every((mean) => mean <= 1 + rounding);

/** Support points and weights, normalised. */
const distributions = fc
  .array(fc.tuple(fc.double({ min: 0, max: 1, noNaN: true }), fc.integer({ min: 1, max: 1000 })), {
    minLength: 1,
    maxLength: 6,
  })
  .map((points) => {
    const total = points.reduce((sum, [, weight]) => sum + weight, 0);
    return points.map(([value, weight]) => ({ value, p: weight / total }));
  });
const lengths = fc.integer({ min: 1, max: 4096 });

function meanOf(points: readonly { readonly value: number; readonly p: number }[]): number {
  return points.reduce((sum, { value, p }) => sum + value * p, 0);
}

const bounded = (points: readonly { value: number; p: number }[]): Outcome[] =>
  points.map(({ value, p }) => ({ p, evidence: { kind: "bounded", value } }));

test("bets: bounded evidence with mean at or below the null mean -> no bettor gains, by enumeration", () => {
  fc.assert(
    fc.property(
      distributions,
      lengths,
      fc.double({ min: 1, max: 5, noNaN: true }),
      (points, n, room) => {
        const nullMean = Math.min(1, meanOf(points) * room);
        assert.ok(fair(expectations(logFactors, bounded(points), nullMean, n)));
      },
    ),
  );
});

test("bets: e-values with mean at most exp(slack x tokens) -> no bettor gains, by enumeration", () => {
  fc.assert(
    fc.property(distributions, lengths, (points, tokens) => {
      const mean = meanOf(points);
      const slack = 0.001;
      fc.pre(mean > 1e-6);
      const outcomes = points.map(({ value, p }): Outcome => {
        const log = Math.log(value / mean) + slack * tokens;
        return { p, evidence: { kind: "ratios", logs: [log] } };
      });
      assert.ok(fair(expectations(logFactors, outcomes, slack, tokens)));
    }),
  );
});

test("bets: a broken factor -> the enumeration finds it", () => {
  const points = [
    { value: 0, p: 0.99 },
    { value: 0.5, p: 0.01 },
  ];
  const nullMean = 0.005;
  const broken: Record<string, Factors> = {
    "nothing is paid for the bet": (evidence, mean) =>
      stakes.map((c) => Math.log1p(c * (evidence.kind === "bounded" ? evidence.value / mean : 0))),
    "half the null mean is paid": (evidence, mean, n) => logFactors(evidence, mean / 2, n),
    "the stake depends on the value": (evidence, mean, n) =>
      logFactors(evidence, mean, n).map((log) => Math.max(0, log)),
  };
  for (const [name, factors] of Object.entries(broken)) {
    assert.ok(!fair(expectations(factors, bounded(points), nullMean, 64)), name);
  }
  const ratio = (log: number): PairEvidence => ({ kind: "ratios", logs: [log] });
  const outcomes = [
    { p: 0.5, evidence: ratio(Math.log(1.5) + 0.64) },
    { p: 0.5, evidence: ratio(Math.log(0.5) + 0.64) },
  ];
  assert.ok(fair(expectations(logFactors, outcomes, 0.01, 64)));
  const withoutSlack: Factors = (evidence, _, n) => logFactors(evidence, 0, n);
  assert.ok(!fair(expectations(withoutSlack, outcomes, 0.01, 64)), "the slack is forgotten");
});

test("bets: any valid evidence -> finite factors, bounded below: no bettor is ever ruined", () => {
  const evidence = fc.oneof(
    fc
      .double({ min: 0, max: 1, noNaN: true })
      .map((value): PairEvidence => ({ kind: "bounded", value })),
    fc
      .array(fc.oneof(fc.constant(-Infinity), fc.double({ min: -1e6, max: 1e6, noNaN: true })), {
        minLength: 1,
        maxLength: 4,
      })
      .map((logs): PairEvidence => ({ kind: "ratios", logs })),
  );
  const nulls = fc.oneof(fc.constant(0), fc.double({ min: 0, max: 2, noNaN: true }));
  fc.assert(
    fc.property(evidence, nulls, lengths, (found, nullMean, n) => {
      const logs = logFactors(found, nullMean, n);
      assert.equal(
        logs.length,
        bettorsOf(found.kind, found.kind === "ratios" ? found.logs.length : 1),
      );
      for (const log of logs) assert.ok(log >= Math.log(0.0099) && log < Infinity, `${log}`);
    }),
  );
});

test("bets: known factors", () => {
  const [largest = NaN, next = NaN] = logFactors({ kind: "bounded", value: 0.03 }, 0.01, 64);
  assert.ok(Math.abs(Math.exp(largest) - (1 + 0.9 * 2)) < 1e-12);
  assert.ok(Math.abs(Math.exp(next) - (1 + 0.45 * 2)) < 1e-12);
  const [short = NaN] = logFactors({ kind: "bounded", value: 0 }, 0.01, 16);
  assert.ok(
    Math.abs(Math.exp(short) - (1 - 0.9 / 4)) < 1e-12,
    "a quarter of the tokens, of the stake",
  );
  const long = logFactors({ kind: "bounded", value: 0 }, 0.01, 6400);
  assert.ok(
    long.slice(0, 7).every((log) => Math.abs(Math.exp(log) - 0.1) < 1e-12),
    "never more than 0.9",
  );
  assert.deepEqual(
    logFactors({ kind: "bounded", value: 1 }, 1, 64),
    stakes.map(() => 0),
  );
  const ratios = logFactors({ kind: "ratios", logs: [Math.log(3) + 0.5] }, 0.01, 50);
  ratios.forEach((log, i) => {
    const fraction = fractions[i] ?? NaN;
    assert.ok(Math.abs(Math.exp(log) - (1 - fraction + 3 * fraction)) < 1e-12);
  });
});

test("bets: evidence that is none -> BugError that says what", () => {
  const at = (value: number) => () => logFactors({ kind: "bounded", value }, 0.01, 64);
  assert.throws(at(1.01), /lies in \[0, 1\], not at 1.01/);
  assert.throws(at(NaN), /not at NaN/);
  assert.throws(() => logFactors({ kind: "ratios", logs: [NaN] }, 0, 1), /not NaN/);
  assert.throws(() => logFactors({ kind: "ratios", logs: [Infinity] }, 0, 1), /not Infinity/);
  assert.throws(() => logFactors({ kind: "bounded", value: 0 }, NaN, 1), /null mean is finite/);
  assert.throws(
    () => logFactors({ kind: "bounded", value: 0 }, 0.1, 0),
    /a pair has tokens, not 0/,
  );
});

test("bets: sums of logs -> no overflow, no underflow", () => {
  assert.equal(logAdd(-Infinity, -Infinity), -Infinity);
  assert.equal(logAdd(1e6, -1e6), 1e6);
  assert.ok(Math.abs(logAdd(-1e7, -1e7) - (-1e7 + Math.LN2)) < 1e-8);
  assert.equal(logSum([]), -Infinity);
  assert.ok(Math.abs(logMean([800, 800]) - 800) < 1e-12);
  assert.equal(logMean([-1e7]), -1e7);
});
