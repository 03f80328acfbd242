import assert from "node:assert/strict";
import { test } from "node:test";
import type { MarginLimits } from "../format/profile.ts";
import type { TokenScore } from "./facts.ts";
import { marginFindings, meanLimit, pairScores } from "./threshold.ts";

const calibration: MarginLimits = {
  ...{ clip: 0.5, meanMax: 0.001, meanSpread: 0.01, tokenMax: 0.3, edge: 0.02 },
};

/** `count` agreeing tokens with these margins in front. */
function tokens(count: number, ...margins: number[]): TokenScore[] {
  const rest = Array.from({ length: count - margins.length }, () => 0);
  return [...margins, ...rest].map((margin) => ({ margin, agrees: margin === 0 }));
}

const ids = (list: readonly TokenScore[]): string[] =>
  marginFindings(
    list,
    list.map((_, i) => i),
    calibration,
  ).map(({ id }) => id);

test("threshold: scores -> mean of clipped margins, largest finite margin", () => {
  assert.deepEqual(pairScores(tokens(10, 0.1, 0.9, Infinity), 0.5), {
    ...{ tokens: 10, mismatches: 3, meanMargin: 1.1 / 10, maxMargin: 0.9 },
  });
  assert.deepEqual(pairScores([], 0.5), { tokens: 0, mismatches: 0, meanMargin: 0, maxMargin: 0 });
});

test("threshold: the mean's limit -> falls with the square root of the tokens", () => {
  assert.equal(meanLimit(calibration, 100), 0.002);
  assert.equal(meanLimit(calibration, 1), 0.011);
  assert.equal(meanLimit(calibration, 0), 0.011);
});

test("threshold: a mean at its limit -> no finding; above it -> margin.mean", () => {
  assert.deepEqual(ids(tokens(100, 0.199)), []);
  assert.deepEqual(ids(tokens(100, 0.201)), ["margin.mean"]);
});

test("threshold: one margin above tokenMax -> token.margin, also in a pair so long that the mean hides it", () => {
  assert.deepEqual(ids(tokens(10_000, 0.31)), ["token.margin"]);
  assert.deepEqual(ids(tokens(10_000, 0.3)), []);
});

test("threshold: one token outside the support -> token.outside-support, naming token and position", () => {
  const list = tokens(10_000, 0, 0, Infinity);
  const [finding, ...more] = marginFindings(
    list,
    list.map((_, i) => 500 + i),
    calibration,
  );
  assert.deepEqual(more, []);
  assert.equal(finding?.id, "token.outside-support");
  assert.match(finding.evidence, /token 502 at position 2 .* 1 of 10000/);
});
