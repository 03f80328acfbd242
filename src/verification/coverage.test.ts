import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { InvalidError } from "../base/assert.ts";
import { logFactors, stakes } from "./bets.ts";
import { meanOf, quantileOf, simulateCoverage, withinOf } from "./coverage-simulate.ts";
import {
  allOf,
  anyOf,
  binomial,
  catchOf,
  evidenceOf,
  fleetThreshold,
  isDoubtful,
  measuredClasses,
  oneForAny,
  recomputation,
  solveBeta,
  solveEpsilon,
  type Detection,
  type Traffic,
} from "./coverage.ts";
import { cleanBound, rfd018Table, sampleSize } from "./rfd018.ts";

const traffic: Traffic = { epsilon: 0.01, beta: 0.1, pairsPerDay: 1000, tokensPerPair: 64 };
const threshold = fleetThreshold(250_000, 0.01);
const power: Detection = { kind: "power", power: 0.5 };
const drift = (mean: number, variance: number, honestCost = 0): Detection => ({
  ...{ kind: "drift", drift: mean, variance, honestCost, threshold },
});
const mismatch = (forged: number, hard = 0): Detection => ({
  ...{ kind: "mismatch", forged, hard, honest: 0.0001, nullMean: 0.0013, threshold },
});

const near = (actual: number, expected: number, share: number): void =>
  assert.ok(Math.abs(actual / expected - 1) <= share, `${actual}, expected ${expected}`);

test("coverage: RFD 018 -> its table, and what its printed formula gives instead", () => {
  const [thousand, hundred] = rfd018Table();
  near(thousand!.verified, 7e9, 1e-12);
  near(thousand!.tokensRecomputed, 7e12, 1e-12);
  near(thousand!.cost, 0.07, 1e-12);
  near(hundred!.cost, 0.007, 1e-12);
  near(thousand!.printed, 7e-20, 1e-12);
  near(thousand!.exact, 0.0667, 1e-3);
});

test("coverage: published sampling figures -> 458, 4,603, 46,049 and the clean-sample table", () => {
  assert.deepEqual(
    [1e-2, 1e-3, 1e-4].map((rate) => Math.round(sampleSize(rate, 0.99))),
    [458, 4603, 46_049],
  );
  assert.deepEqual(
    [300, 1000, 3000, 10_000].map((n) => (100 * cleanBound(n, 0.95)).toPrecision(2)),
    ["0.99", "0.30", "0.10", "0.030"],
  );
});

test("coverage: the fleet's threshold -> ln(2k/alpha)", () => {
  near(threshold, Math.log(5e7), 1e-12);
  near(fleetThreshold(250_000, 0.02), 17.034, 1e-4);
});

test("coverage: single pairs -> the geometric law", () => {
  const found = catchOf(traffic, power);
  near(found.meanPairs, 2000, 1e-12);
  near(found.within(3000), 1 - (1 - 0.0005) ** 3000, 1e-9);
  near(found.within(found.quantile(0.9)), 0.9, 1e-9);
});

test("coverage: certain steps -> as many audited forged pairs as the threshold takes", () => {
  near(catchOf(traffic, drift(threshold / 5 + 1e-9, 0)).meanAudited, 5, 1e-9);
  near(catchOf(traffic, drift(1000, 0)).meanPairs, 1000, 1e-9);
  // One step: the number of pairs is geometric.
  const one = catchOf(traffic, drift(1000, 0));
  near(one.within(700), 1 - 0.999 ** 700, 5e-3);
});

test("coverage: honest audits that cost more than forged ones bring -> never", () => {
  const found = catchOf(traffic, drift(1, 1, 0.2));
  assert.equal(found.meanPairs, Infinity);
  assert.equal(found.within(1e12), 0);
  assert.equal(found.quantile(0.5), Infinity);
  assert.equal(solveEpsilon(traffic, drift(1, 1, 0.2), 1e9, 0.99), null);
});

test("coverage: mismatch evidence -> steps of the bettors that recomputers bet with", () => {
  // Every token of the pair is off: all that a pair can say, 1.
  const evidence = evidenceOf({ ...traffic, beta: 1 }, mismatch(1 - 1e-12));
  const sure = logFactors({ kind: "bounded", value: 1 }, 0.0013, 64);
  near(evidence!.forged.mean, sure[0] ?? 0, 1e-6);
  assert.equal(evidence!.stake, stakes[0]);
  near(evidence!.threshold, threshold + Math.log(stakes.length), 1e-12);
  // A few off among many honest pairs: a smaller stake.
  assert.ok((evidenceOf({ ...traffic, beta: 0.2 }, mismatch(0.01))!.stake ?? 1) < stakes[0]!);
});

test("coverage: measured classes -> medians of measured streams within a third", () => {
  // docs/PERFORMANCE.md section 4, `gls` alone: tokens to 17.73 nats, one detector of its own; under
  // the profile of then.
  const profile = { honest: 0.000085, nullMean: 0.00128 };
  const seen = { q4_0: 230, "temperature-1.1": 299, "kv-q4_0": 394, "wrong-seed": 215 };
  const all = { ...seen, q8_0: 1910, "kv-q8_0": 9345 };
  for (const [name, tokens] of Object.entries(all)) {
    const known = measuredClasses.find((one) => one.name === name);
    assert.ok(known !== undefined, name);
    const detection: Detection = {
      ...{
        kind: "mismatch",
        forged: known.mismatch,
        hard: 0,
        threshold: threshold + Math.log(8 / 7),
      },
      ...profile,
    };
    const median = 64 * catchOf({ ...traffic, epsilon: 1, beta: 1 }, detection).quantile(0.5);
    assert.ok(
      median > tokens / 1.34 && median < 1.34 * tokens,
      `${name}: ${median}, seen ${tokens}`,
    );
  }
});

test("coverage: pairs that look no worse than the null mean on average -> never; hard findings -> in time", () => {
  const rare = { ...traffic, beta: 0.01 };
  assert.equal(catchOf(rare, mismatch(0.0047)).meanPairs, Infinity);
  const found = catchOf(rare, mismatch(0.0047, 1e-3));
  const alone = -Math.expm1(64 * Math.log1p(-1e-3));
  near(found.meanPairs, 1 / (0.01 * 0.01 * alone), 1e-9);
  near(found.within(50_000), 1 - (1 - 1e-4 * alone) ** 50_000, 1e-9);
});

test("coverage: both ways at once -> sooner than either, and the mean fits the distribution", () => {
  const at = { ...traffic, beta: 1, epsilon: 1 };
  const [both, evidence] = [catchOf(at, mismatch(0.0047, 2e-4)), catchOf(at, mismatch(0.0047))];
  assert.ok(both.meanPairs < evidence.meanPairs);
  assert.ok(both.meanPairs < 1 / -Math.expm1(64 * Math.log1p(-2e-4)));
  // Sum of P(not caught within n).
  let mean = 0;
  for (let n = 0; n < 2000; n++) mean += 1 - both.within(n);
  near(both.meanPairs, mean, 0.02);
});

test("coverage: early chances -> doubted where evidence makes them, not where single pairs do", () => {
  const early = 0.004;
  for (const [detection, doubted] of [
    [power, false],
    [mismatch(0.0047), true],
    [mismatch(0.0047, 1e-3), false],
    [drift(0.5, 1), true],
  ] as const) {
    const at = { ...traffic, beta: 1 };
    const pairs = catchOf(at, detection).quantile(early);
    assert.equal(isDoubtful(at, detection, pairs, early), doubted, JSON.stringify(detection));
    assert.equal(isDoubtful(at, detection, pairs, 0.5), false);
  }
});

test("coverage: weak evidence on fewer pairs -> more audits than 1/beta says", () => {
  const full = catchOf({ ...traffic, beta: 1 }, mismatch(0.0085));
  const few = catchOf({ ...traffic, beta: 0.1 }, mismatch(0.0085));
  assert.ok(few.meanAudited > 2 * full.meanAudited);
});

test("coverage: simulated servers -> the formulas, within the stated error", () => {
  for (const [detection, beta, runs] of [
    [power, 0.1, 4000],
    [mismatch(0.37), 0.1, 4000],
    [mismatch(0.063), 1, 4000],
    [mismatch(0.063), 0.1, 4000],
    [mismatch(0.063, 0.004), 0.1, 4000],
    [mismatch(0.0047), 1, 4000],
    [mismatch(0.0047, 2e-4), 0.5, 2000],
    [mismatch(0.03), 0.1, 2000],
    [drift(5, 4), 0.1, 4000],
    [drift(0.5, 1), 0.1, 2000],
    [drift(1, 2, 0.01), 0.1, 2000],
  ] as const) {
    const at = { ...traffic, beta };
    const found = catchOf(at, detection);
    const played = simulateCoverage(at, detection, runs, 5);
    // 5% and 10% are the stated errors; the rest is three standard errors of the simulation.
    near(found.meanPairs, meanOf(played).value, 0.05 + 3 / Math.sqrt(runs));
    near(found.quantile(0.5), quantileOf(played, 0.5).value, 0.1 + 5 / Math.sqrt(runs));
    near(found.quantile(0.9), quantileOf(played, 0.9).value, 0.05 + 4 / Math.sqrt(runs));
    const pairs = found.quantile(0.8);
    assert.ok(Math.abs(withinOf(played, pairs).value - 0.8) < 0.03 + 1.2 / Math.sqrt(runs));
  }
});

test("coverage: the same seed -> the same runs; another one -> others", () => {
  const play = (seed: number): readonly number[] => simulateCoverage(traffic, power, 20, seed);
  assert.deepEqual(play(1), play(1));
  assert.notDeepEqual(play(1), play(2));
});

test("coverage: a simulation that would not end -> an error that says what to change", () => {
  const rare = { ...traffic, beta: 1e-6 };
  assert.throws(
    () => simulateCoverage(rare, mismatch(0.06), 100, 1, 1e5),
    (error) => error instanceof InvalidError && error.message.includes("fewer runs"),
  );
});

test("coverage: solved epsilon and beta -> put back, they give the wanted confidence", () => {
  for (const detection of [power, mismatch(0.0565), drift(3, 2)]) {
    const pairs = 30_000;
    const epsilon = solveEpsilon(traffic, detection, pairs, 0.999);
    assert.ok(epsilon !== null);
    near(catchOf({ ...traffic, epsilon }, detection).within(pairs), 0.999, 1e-5);
    const beta = solveBeta(traffic, detection, pairs, 0.99);
    near(catchOf({ ...traffic, beta }, detection).within(pairs), 0.99, 1e-2);
  }
  assert.equal(solveEpsilon(traffic, power, 10, 0.999), null);
  assert.equal(solveBeta(traffic, power, 10, 0.999), 1);
});

test("coverage: a campaign -> any and all of independent servers", () => {
  near(anyOf(0.1, 10), 1 - 0.9 ** 10, 1e-12);
  near(allOf(0.9, 10), 0.9 ** 10, 1e-12);
  near(anyOf(oneForAny(0.999, 100), 100), 0.999, 1e-12);
  assert.equal(anyOf(1, 100), 1);
});

test("coverage: recomputation -> epsilon times the cost ratio of the fleet, never less than one", () => {
  assert.deepEqual(recomputation(250_000, 1e-4, 0.2), { share: 1e-4 * 0.2, recomputers: 5 });
  assert.equal(recomputation(10, 1e-4, 0.2).recomputers, 1);
});

const detections: fc.Arbitrary<Detection> = fc.oneof(
  fc
    .double({ min: 0.01, max: 1, noNaN: true })
    .map((w): Detection => ({ kind: "power", power: w })),
  fc
    .tuple(
      fc.double({ min: 0.05, max: 50, noNaN: true }),
      fc.double({ min: 0, max: 9, noNaN: true }),
    )
    .map(([d, v]) => drift(d, v)),
  fc.double({ min: 0.005, max: 0.9, noNaN: true }).map((m) => mismatch(m)),
);

test("coverage: any question -> a distribution that rises, and quantiles that invert it", () => {
  fc.assert(
    fc.property(
      detections,
      fc.double({ min: 1e-6, max: 1, noNaN: true }),
      fc.double({ min: 1e-3, max: 1, noNaN: true }),
      (detection, epsilon, beta) => {
        const found = catchOf({ ...traffic, epsilon, beta }, detection);
        let before = 0;
        for (const chance of [0.01, 0.1, 0.5, 0.9, 0.999]) {
          const pairs = found.quantile(chance);
          if (pairs === Infinity) {
            assert.equal(found.within(1e15), 0, "never is never");
            return;
          }
          assert.ok(pairs >= before * (1 - 1e-6), `${pairs} after ${before}`);
          assert.ok(found.within(pairs) >= chance - 1e-6 && found.within(pairs) <= 1);
          assert.ok(found.within(pairs * 2) >= found.within(pairs) - 1e-6);
          before = pairs;
        }
      },
    ),
    { numRuns: 60 },
  );
});

test("coverage: binomial chances -> they sum to one", () => {
  near(
    binomial(500, 0.0085).reduce((sum, p) => sum + p, 0),
    1,
    1e-10,
  );
});
