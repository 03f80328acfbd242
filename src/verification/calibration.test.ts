import assert from "node:assert/strict";
import { test } from "node:test";
import {
  addNoise,
  assumedProfile,
  clip,
  detectorNulls,
  edgeOf,
  floors,
  limitsOf,
  noiseSigma,
  noNoise,
  profileOf,
  rooms,
  roundUp,
  runOf,
  scaleOf,
  tailLevels,
  tailOf,
  type HonestCell,
  type HonestPair,
} from "./calibration.ts";

const detectors = [
  { id: "share", kind: "bounded", alternatives: 1 },
  { id: "ratio", kind: "ratios", alternatives: 2 },
] as const;

let served = 0;

/** A pair of 10 tokens drawn twice; `margins` of those that differ, `shares` the evidence of each draw. */
function pair(margins: readonly number[], shares = [0, 0], c = 0): HonestPair {
  const clipped = margins.map((margin) => Math.min(margin, clip));
  const finite = margins.filter((margin) => margin !== Infinity);
  return {
    ...{ index: served++, tokens: 10, draws: 2, mismatches: margins.length },
    outside: margins.length - finite.length,
    sumClipped: clipped.reduce((sum, m) => sum + m, 0),
    sumSquares: clipped.reduce((sum, m) => sum + m * m, 0),
    maxMargin: Math.max(0, ...finite),
    tail: tailLevels.map((level) => margins.filter((margin) => margin > level).length),
    noise: { squares: 0.000_004, freedom: 4, largest: 0.003, spread: 0.004 },
    evidence: Float64Array.from(shares.flatMap((share) => [share, 0, 0])),
    expected: {
      positions: 1,
      sums: Float64Array.of(0, c, -c),
      squares: Float64Array.of(0, c * c, c * c),
    },
  };
}

const cell = (server: string, pairs: readonly HonestPair[]): HonestCell => ({
  ...{ server, reference: "r", replay: "prefill", condition: "c", pairs },
});
const still = cell(
  "still",
  Array.from({ length: 1000 }, () => pair([])),
);

test("calibration: pairs without any margin -> the floors, but for the noise that was seen", () => {
  assert.deepEqual(limitsOf([still], floors.edge), {
    ...{ edge: floors.edge, clip, tokenMax: floors.tokenMax },
    ...{ meanMax: floors.meanMax, meanSpread: floors.meanSpread },
  });
});

test("calibration: the worst cell decides -> room above its largest margin, mean and spread", () => {
  const rough = cell(
    "rough",
    Array.from({ length: 100 }, (_, i) => pair(i % 2 === 0 ? [0.2] : [])),
  );
  const limits = limitsOf([still, rough], floors.edge);
  assert.equal(limits.tokenMax, rooms.margin * 0.2);
  // 50 margins of 0.2 in 2,000 tokens.
  assert.ok(Math.abs(limits.meanMax - rooms.mean * 0.005) < 1e-5);
  assert.ok(Math.abs(limits.meanSpread - 6 * Math.sqrt(7.5) * 0.0312) < 0.005);
  assert.equal(runOf(rough).tokens, 2000);
  assert.equal(runOf(rough).mismatches, 50);
  const wide = limitsOf([still], 0.5);
  assert.deepEqual([wide.edge, wide.tokenMax], [0.5, 0.5], "no margin exceeds the spread");
});

test("calibration: the edge -> one value for each served pair, the worst of its replays", () => {
  const spreads = Array.from({ length: 64 }, (_, i) => 0.001 * (1 + i / 64));
  const replayed = (replay: string, times: number): HonestCell => ({
    ...{ server: "s", reference: "r", replay, condition: "c" },
    pairs: spreads.map((spread, index) => ({
      ...{ ...pair([]), index, noise: { ...noNoise, spread: times * spread } },
    })),
  });
  const one = edgeOf([replayed("prefill", 1)], 0.99);
  assert.equal(one.values, 64);
  assert.ok(one.edge > one.largest && one.largest === spreads.at(-1));
  assert.deepEqual(edgeOf([replayed("prefill", 1), replayed("blind", 1)], 0.99), one);
  const blind = edgeOf([replayed("prefill", 1), replayed("blind", 3)], 0.99);
  assert.equal(blind.values, 64);
  assert.ok(Math.abs(blind.edge - 3 * one.edge) < 1e-9);
});

test("calibration: noise -> sigma by maximum likelihood, room, floors", () => {
  const sum = addNoise(
    { squares: 3, freedom: 2, largest: 1, spread: 2 },
    { squares: 5, freedom: 0, largest: 2, spread: 1 },
  );
  assert.deepEqual(sum, { squares: 8, freedom: 2, largest: 2, spread: 2 });
  assert.equal(noiseSigma(sum), 2);
  assert.equal(noiseSigma(noNoise), 0);
  assert.deepEqual(scaleOf({ sigma: 0, largest: 0 }), {
    scale: { clip, sigma: floors.sigma },
    edge: floors.edge,
  });
  assert.equal(scaleOf({ sigma: 0.01, largest: 0.1 }).scale.sigma, rooms.sigma * 0.01);
});

test("calibration: a null mean -> above the worst mean, below it with more pairs; slack from exact ratios", () => {
  const some = (count: number): HonestCell =>
    cell(
      "some",
      Array.from({ length: count }, (_, i) => pair([], [i % 100 === 0 ? 0.1 : 0, 0], 0.001)),
    );
  const [few] = detectorNulls([some(400)], detectors, 0.99);
  const [many, ratio] = detectorNulls([some(4000)], detectors, 0.99);
  assert.ok(few !== undefined && many !== undefined && ratio !== undefined);
  assert.ok(Math.abs(many.observed - 0.0005) < 1e-9);
  assert.ok(many.upper > many.observed && many.upper < few.upper);
  assert.ok(many.nullMean >= rooms.nullMean * many.upper);
  // c is 0.001 at every position of one alternative: no scatter, so the slack is that and its room.
  assert.ok(Math.abs(ratio.upper - 0.001) < 2e-5, String(ratio.upper));
});

test("calibration: one way to replay is worse -> its mean is the one observed", () => {
  const good = cell(
    "a",
    Array.from({ length: 300 }, () => pair([])),
  );
  const blind: HonestCell = {
    ...cell(
      "a",
      Array.from({ length: 100 }, () => pair([], [0.04, 0])),
    ),
    replay: "blind, 8 side by side",
  };
  const [share] = detectorNulls([good, blind], detectors, 0.99);
  // Over all replays of this server together it is a quarter of that.
  assert.ok(Math.abs((share?.observed ?? 0) - 0.02) < 1e-12);
});

test("calibration: bound of a null mean on simulated honest pairs -> holds in at least the stated share", () => {
  let state = 12345;
  const random = (): number => (state = (state * 48_271) % 2_147_483_647) / 2_147_483_647;
  let missed = 0;
  for (let run = 0; run < 100; run++) {
    const pairs = Array.from({ length: 300 }, () =>
      pair([], [random() < 0.01 ? 0.5 : 0, random() < 0.01 ? 0.5 : 0]),
    );
    const [bound] = detectorNulls([cell("s", pairs)], detectors, 0.9);
    if ((bound?.upper ?? 0) < 0.005) missed++;
  }
  assert.ok(missed <= 10, `${missed} of 100 bounds were too low`);
});

test("calibration: the tail -> falling shares with bounds above them; nothing seen is not nothing", () => {
  const rough = cell(
    "rough",
    Array.from({ length: 200 }, (_, i) => pair(i < 20 ? [0.002, 0.05] : [])),
  );
  const tail = tailOf([still, rough], 0.99);
  assert.deepEqual(
    tail.map(({ margin }) => margin),
    [...tailLevels],
  );
  assert.equal(tail[0]?.share, 0.01);
  assert.equal(tail[3]?.share, 0.005);
  const last = tail.at(-1);
  assert.equal(last?.share, 0);
  assert.ok(last.upper > 0 && last.upper < 0.1);
  for (const { share, upper } of tail) assert.ok(upper > share);
});

test("calibration: honest pairs -> a profile that says what was measured; one outside -> a bug", () => {
  const facts = {
    ...{ model: { name: "m", root: "1".repeat(64) }, engines: { server: "s", reference: "r" } },
    ...{ scale: { clip, sigma: 0.001 }, detectors, confidence: 0.99 },
    provenance: assumedProfile.provenance,
  };
  const profile = profileOf([still], facts);
  assert.equal(profile.basis, "measured");
  assert.equal(profile.runs[0]?.condition, "server still, reference r, replay prefill; c");
  assert.deepEqual(
    profile.detectors.map(({ id }) => id),
    ["share", "ratio"],
  );
  assert.throws(() => profileOf([cell("x", [pair([Infinity])])], facts), { name: "BugError" });
});

test("calibration: rounding up -> three digits, never below", () => {
  assert.deepEqual([0, 1, 0.0012345, 0.001, 123_456].map(roundUp), [0, 1, 0.00124, 0.001, 124_000]);
});
