import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { supportSize } from "../../format/noise.ts";
import type { Detector, DetectorScale } from "../detector.ts";
import { tempers, tokenFacts, type TokenFacts } from "../facts.ts";
import { greedy } from "../laws/greedy.ts";
import { gumbelPhilox } from "../laws/gumbel-philox.ts";
import { llamaMt19937 } from "../laws/llama-mt19937.ts";
import { gls } from "./gls.ts";
import { betting, detectors, detectorsFor } from "./index.ts";
import { interval } from "./interval.ts";
import { margin } from "./margin.ts";
import { mismatch } from "./mismatch.ts";
import { rank } from "./rank.ts";
import { surprise } from "./surprise.ts";
import { tail } from "./tail.ts";

const scale: DetectorScale = { clip: 0.5, sigma: 0.01 };
const agreed: TokenFacts = {
  margin: 0,
  agrees: true,
  rank: 0,
  surprise: 1,
  entropy: 1,
  logMoments: tempers.map(() => 0),
  gaps: [0],
  interval: null,
};
const missed = (amount: number, more: Partial<TokenFacts> = {}): TokenFacts => {
  return { ...agreed, margin: amount, agrees: false, rank: 1, ...more };
};
const impossible = missed(Infinity, { rank: Infinity, surprise: Infinity });

function value(detector: Detector, tokens: readonly TokenFacts[]): number {
  const evidence = detector.evidence({ tokens }, scale);
  return evidence.kind === "bounded" ? evidence.value : assert.fail("a bounded detector");
}
const mix = (bad: TokenFacts, of: number): TokenFacts[] => [
  bad,
  ...Array.from({ length: of - 1 }, () => agreed),
];
const close = (a: number, b: number): void => {
  assert.ok(Math.abs(a - b) < 1e-9, `${a} is not ${b}`);
};

test("detectors: every token agrees -> 0 from each; alternatives and kinds as declared", () => {
  for (const detector of detectors) {
    const evidence = detector.evidence({ tokens: [agreed, agreed] }, scale);
    assert.equal(evidence.kind, detector.kind);
    if (evidence.kind === "bounded") assert.equal(evidence.value, 0, detector.id);
    else assert.equal(evidence.logs.length, detector.alternatives);
  }
  assert.equal(new Set(detectors.map(({ id }) => id)).size, detectors.length);
});

test("detectors: one deviating token in a hundred -> the formulas' values", () => {
  close(value(margin, mix(missed(0.1), 100)), 0.001 / 0.02);
  close(value(margin, mix(missed(7), 100)), 0.005 / 0.02);
  close(value(mismatch, mix(missed(0.1), 100)), 0.01 / 0.2);
  assert.equal(value(rank, mix(missed(0.1), 100)), 0);
  close(value(rank, mix(missed(0.1, { rank: 4 }), 100)), 0.0075 / 0.05);
  close(value(tail, mix(missed(0.1), 100)), 0.25);
  // GLS = -5 at m = 3.494 sigma: the token counts in full.
  close(value(gls, mix(missed(0.04), 100)), 0.1);
  assert.ok(value(gls, mix(missed(0.0349), 100)) < 0.1);
  assert.ok(value(gls, mix(missed(0.034), 100)) > 0.09);
});

test("detectors: a token outside the support -> full weight, never NaN", () => {
  for (const detector of [margin, mismatch, rank, tail, gls]) {
    assert.equal(value(detector, [impossible]), 1, detector.id);
  }
  const evidence = surprise.evidence({ tokens: [impossible, impossible] }, scale);
  assert.deepEqual(evidence, { kind: "ratios", logs: tempers.map(() => 0) });
});

test("detectors: any facts -> a value from 0 to 1, not smaller when a margin grows", () => {
  const amount = fc.oneof(fc.constant(0), fc.double({ min: 0, max: 50, noNaN: true }));
  const tokens = fc.array(
    fc.tuple(amount, fc.nat(60)).map(([m, r]) => (m === 0 ? agreed : missed(m, { rank: r }))),
    { minLength: 1, maxLength: 50 },
  );
  fc.assert(
    fc.property(tokens, fc.double({ min: 1e-4, max: 1, noNaN: true }), (list, sigma) => {
      for (const detector of [margin, mismatch, rank, tail, gls]) {
        const at = (each: readonly TokenFacts[]): number => {
          const evidence = detector.evidence({ tokens: each }, { clip: 0.5, sigma });
          return evidence.kind === "bounded" ? evidence.value : NaN;
        };
        const before = at(list);
        assert.ok(before >= 0 && before <= 1, `${detector.id}: ${before}`);
        const worse = list.map((token) => (token.agrees ? token : missed(2 * token.margin, token)));
        assert.ok(at(worse) >= before - 1e-12, detector.id);
      }
    }),
  );
});

test("detectors: surprise -> its conditional expectation under the reference is exactly 1", () => {
  const logits = fc.array(fc.double({ min: -15, max: 0, noNaN: true }), {
    minLength: 1,
    maxLength: 60,
  });
  const temperature = fc.double({ min: 0.1, max: 2, noNaN: true });
  const topP = fc.double({ min: 0.1, max: 1, noNaN: true });
  fc.assert(
    fc.property(logits, temperature, topP, (list, t, p) => {
      const logProbs = list.toSorted((a, b) => b - a);
      const candidates = { ids: logProbs.map((_, id) => id), logProbs };
      const params = { temperature: t, topK: 50, topP: p };
      const expected = tempers.map(() => 0);
      // Over the reference's own support: a tie at the cut that another machine may keep is not in it.
      for (const id of candidates.ids.slice(0, supportSize(candidates, params))) {
        const facts = tokenFacts(greedy, { candidates, params, seed: 0n, index: 0 }, id, 0);
        const evidence = surprise.evidence({ tokens: [facts] }, scale);
        assert.ok(evidence.kind === "ratios");
        evidence.logs.forEach((log, j) => {
          expected[j] = (expected[j] ?? 0) + Math.exp(-facts.surprise) * Math.exp(log);
        });
      }
      for (const each of expected) assert.ok(Math.abs(each - 1) < 1e-9, `${each}`);
    }),
  );
});

test("detectors: surprise of a hotter server -> grows for the hotter alternatives, falls for colder", () => {
  const logProbs = Array.from({ length: 40 }, (_, i) => -0.35 * i);
  const candidates = { ids: logProbs.map((_, id) => id), logProbs };
  const params = { temperature: 1, topK: 40, topP: 1 };
  const tokens = Array.from({ length: 4000 }, (_, index) => {
    const hot = { candidates, params: { ...params, temperature: 1.25 }, seed: 77n, index };
    const drawn = candidates.ids.find((id) => tokenFacts(gumbelPhilox, hot, id, 0).agrees) ?? 0;
    return tokenFacts(gumbelPhilox, { ...hot, params }, drawn, 0);
  });
  const evidence = surprise.evidence({ tokens }, scale);
  assert.ok(evidence.kind === "ratios");
  // T = 1.25 is lambda = 0.2; its expected gain is about 4000 x 0.02.
  const gain = evidence.logs[tempers.indexOf(0.2)] ?? 0;
  assert.equal(Math.max(...evidence.logs), gain);
  assert.ok(gain > 20, `${gain} nats`);
  assert.ok((evidence.logs[tempers.indexOf(-0.2)] ?? 0) < -20);
});

test("detectors: interval -> 0 inside, more the further u lies, 1 outside the support", () => {
  const at = (u: number): TokenFacts => missed(0.1, { interval: { low: 0.3, high: 0.4, u } });
  const values = [0.35, 0.401, 0.41, 0.42, 0.43].map((u) => value(interval, mix(at(u), 100)));
  assert.equal(values[0], 0);
  assert.deepEqual(
    values,
    values.toSorted((a, b) => a - b),
  );
  close(values.at(-1) ?? 0, 0.1);
  const narrow = missed(0.1, { interval: { low: 0.3, high: 0.3001, u: 0.30011 } });
  assert.ok(value(interval, mix(narrow, 100)) < 0.001, "rare, and all but hit");
  assert.equal(value(interval, [impossible]), 1);
});

test("detectors: detectorsFor -> those that say something under the law", () => {
  const ids = (law: Parameters<typeof detectorsFor>[0]): string[] =>
    detectorsFor(law).map(({ id }) => id);
  assert.deepEqual(ids(gumbelPhilox), ["margin", "mismatch", "rank", "tail", "gls", "surprise"]);
  assert.deepEqual(ids(llamaMt19937), [...ids(gumbelPhilox), "interval"]);
  assert.deepEqual(ids(greedy), ["margin", "mismatch", "rank", "tail", "gls"]);
});

test("detectors: betting -> those that earned it; surprise where no noise is known", () => {
  const ids = (law: Parameters<typeof betting>[0]): string[] => betting(law).map(({ id }) => id);
  assert.deepEqual(ids(gumbelPhilox), ["tail", "gls"]);
  assert.deepEqual(ids(llamaMt19937), ["tail", "gls", "surprise", "interval"]);
  assert.deepEqual(ids(greedy), ["tail", "gls"]);
});
