import assert from "node:assert/strict";
import { test } from "node:test";
import { calibrationOf, defaultCalibration, floors, summarise } from "./calibration.ts";
import type { TokenScore } from "./margin.ts";
import { marginFindings, pairScores } from "./threshold.ts";

const agree: TokenScore = { margin: 0, agrees: true };
const off = (margin: number): TokenScore => ({ margin, agrees: false });

test("calibration: runs without any margin -> the floors", () => {
  const still = { condition: "still", tokens: Array.from({ length: 100 }, () => agree) };
  const { clip, source, ...numbers } = calibrationOf([still], "here");
  assert.deepEqual(numbers, floors);
  assert.equal(source, "here");
  assert.equal(clip, 0.5);
  assert.deepEqual({ ...defaultCalibration, source: "" }, { clip, ...numbers, source: "" });
});

test("calibration: the worst run decides, and every honest run stays below its own limits", () => {
  const rough = Array.from({ length: 1000 }, (_, i) => (i % 20 === 0 ? off(0.2) : agree));
  const runs = [
    { condition: "still", tokens: [agree] },
    { condition: "rough", tokens: rough },
  ];
  const calibration = calibrationOf(runs, "");
  assert.equal(calibration.tokenMax, 0.8);
  assert.equal(calibration.edge, 0.2);
  assert.equal(calibration.meanMax, 0.02);
  assert.ok(calibration.meanSpread > 0.5 && calibration.meanSpread < 1);
  assert.deepEqual(
    marginFindings(
      rough,
      rough.map(() => 0),
      calibration,
    ),
    [],
  );
  assert.ok(pairScores(rough, 0.5).meanMargin < calibration.meanMax);
});

test("calibration: a summary -> counts, mean, deviation and maximum of one run", () => {
  const summary = summarise({ condition: "c", tokens: [agree, off(0.5), off(Infinity), off(2)] });
  assert.deepEqual(
    { ...summary, spread: 0 },
    {
      condition: "c",
      tokens: 4,
      mismatches: 3,
      outside: 1,
      meanMargin: 0.375,
      spread: 0,
      maxMargin: 2,
    },
  );
  assert.ok(Math.abs(summary.spread - 0.25) < 1e-12);
});
