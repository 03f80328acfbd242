/**
 * How a calibration profile comes from honest pairs: spec/verdict.md section 5. Pure; the pairs are
 * made by bin/calibrate.
 */
import { assert } from "../base/assert.ts";
import { noiseLaw } from "../format/noise.ts";
import type { DetectorNull, MarginLimits, Profile, ProfileRun } from "../format/profile.ts";
import { designEffect, meanUpper, shareUpper } from "./confidence.ts";
import type { DetectorScale, PairEvidence } from "./detector.ts";
import { edgeBound, type EdgeBound } from "./edge.ts";

/** Differences of logits between two machines; nats. */
export interface NoiseSums {
  /** Sum of squares and degrees of freedom. */
  readonly squares: number;
  readonly freedom: number;
  readonly largest: number;
  /**
   * Largest spread of one position: the largest difference less the least, over all candidates. Within
   * an edge of that size nothing that one machine draws is impossible to the other (support.ts).
   */
  readonly spread: number;
}

/** Margins are counted above these; nats of logit. */
export const tailLevels = [0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3] as const;

/** One honest pair against one reference: its real draw, and further draws in the same places. */
export interface HonestPair {
  /** Which served pair: the same wherever it was replayed. */
  readonly index: number;
  /** Tokens of one draw, and how many draws there are. */
  readonly tokens: number;
  readonly draws: number;
  /** Of all draws together; margins outside count as clip in the sums, and not in maxMargin. */
  readonly mismatches: number;
  readonly outside: number;
  readonly sumClipped: number;
  readonly sumSquares: number;
  readonly maxMargin: number;
  /** Tokens whose margin exceeds each of `tailLevels`. */
  readonly tail: readonly number[];
  readonly noise: NoiseSums;
  /** Draw after draw the evidence of all detectors, each `alternatives` numbers. */
  readonly evidence: Float64Array;
  readonly expected: ExpectedRatios;
}

/**
 * At some positions of a pair: ln of the expectation of each column of `ratios` evidence over the
 * server's own distribution, exact rather than drawn (0 for other columns, and at T = 0).
 */
export interface ExpectedRatios {
  readonly positions: number;
  /** Per column, over the positions. */
  readonly sums: Float64Array;
  readonly squares: Float64Array;
}

/** Honest pairs of one kind of server against one kind of reference. */
export interface HonestCell {
  readonly server: string;
  readonly reference: string;
  /** How the reference replayed: `prefill`, `blind, 8 side by side`. */
  readonly replay: string;
  /** What else was varied, in words. */
  readonly condition: string;
  readonly pairs: readonly HonestPair[];
}

/** Detectors in the order of the evidence. */
export interface MeasuredDetector {
  readonly id: string;
  readonly kind: PairEvidence["kind"];
  readonly alternatives: number;
}

/**
 * Margins are clipped here. Large enough to keep the size of an honest near tie, small enough that
 * one wild token does not carry a mean (Token-DiFR clips at 0.5).
 */
export const clip = 0.5;

/** Never demand more than this of an honest machine, however still it was while it was measured. */
export const floors = {
  meanMax: 0.001,
  meanSpread: 0.012,
  tokenMax: 0.1,
  edge: 0.02,
  sigma: 0.0005,
} as const;

/** Room above what was measured, as factors (spec/verdict.md section 5). */
export const rooms = { mean: 2, margin: 4, probe: 4, sigma: 1.5, nullMean: 1.5 } as const;

/** Of an honest token's position: how often its spread may exceed the edge. What that costs: docs/STATISTICS.md. */
export const edgeRate = 1e-12;

/** Standard deviations of room for a pair's mean, and how much margins cluster (variance, times). */
const deviations = 6;
const clustering = 7.5;

export const noNoise: NoiseSums = { squares: 0, freedom: 0, largest: 0, spread: 0 };

export function addNoise(a: NoiseSums, b: NoiseSums): NoiseSums {
  return {
    squares: a.squares + b.squares,
    freedom: a.freedom + b.freedom,
    largest: Math.max(a.largest, b.largest),
    spread: Math.max(a.spread, b.spread),
  };
}

/**
 * Standard deviation of the noise of one logit, nats: the maximum-likelihood estimate for normal noise
 * with a free common offset per position, sqrt(sum of squares / degrees of freedom). It is the sum of
 * what server and reference contribute.
 */
export function noiseSigma(noise: NoiseSums): number {
  return noise.freedom === 0 ? 0 : Math.sqrt(noise.squares / noise.freedom);
}

/**
 * What detectors are told, and the edge to score calibration's own pairs with, from the noisiest
 * combination of the probe: wide, since the profile's edge is known only when all is measured.
 */
export function scaleOf(worst: { readonly sigma: number; readonly largest: number }): {
  readonly scale: DetectorScale;
  readonly edge: number;
} {
  const sigma = round(Math.max(floors.sigma, rooms.sigma * worst.sigma));
  const edge = round(Math.max(floors.edge, rooms.probe * worst.largest));
  return { scale: { clip, sigma }, edge };
}

const total = (cell: HonestCell, value: (pair: HonestPair) => number): number =>
  cell.pairs.reduce((sum, pair) => sum + value(pair), 0);
const tokensOf = (cell: HonestCell): number => total(cell, ({ tokens, draws }) => tokens * draws);

/** One row of the profile. `tokens` counts all draws. */
export function runOf(cell: HonestCell): ProfileRun {
  const tokens = tokensOf(cell);
  return {
    condition: `server ${cell.server}, reference ${cell.reference}, replay ${cell.replay}; ${cell.condition}`,
    pairs: total(cell, ({ draws }) => draws),
    tokens,
    mismatches: total(cell, ({ mismatches }) => mismatches),
    outside: total(cell, ({ outside }) => outside),
    meanMargin: tokens === 0 ? 0 : total(cell, ({ sumClipped }) => sumClipped) / tokens,
    maxMargin: cell.pairs.reduce((max, { maxMargin }) => Math.max(max, maxMargin), 0),
  };
}

function spreadOf(cell: HonestCell): number {
  const tokens = tokensOf(cell);
  if (tokens < 2) return 0;
  const sum = total(cell, ({ sumClipped }) => sumClipped);
  const squares = total(cell, ({ sumSquares }) => sumSquares);
  return Math.sqrt(Math.max(0, squares - sum ** 2 / tokens) / (tokens - 1));
}

const worstOf = (cells: readonly HonestCell[], value: (cell: HonestCell) => number): number =>
  cells.reduce((max, cell) => Math.max(max, value(cell)), 0);

/**
 * The edge that honest pairs support. A pair counts once, with the largest spread of its positions on
 * any reference in any replay, so values are independent. The rate holds for each kind of server: it
 * is shared out as if all that exceeds came from one.
 */
export function edgeOf(cells: readonly HonestCell[], confidence: number): EdgeBound {
  const spreads = new Map<number, number>();
  const tokens = new Map<number, number>();
  for (const pair of cells.flatMap(({ pairs }) => pairs)) {
    spreads.set(pair.index, Math.max(spreads.get(pair.index) ?? 0, pair.noise.spread));
    tokens.set(pair.index, pair.tokens);
  }
  const perPair = [...tokens.values()].reduce((sum, count) => sum + count, 0) / tokens.size;
  const servers = new Set(cells.map(({ server }) => server)).size;
  return edgeBound([...spreads.values()], confidence, (edgeRate * perPair) / servers);
}

/** The limits for a single pair that the worst of the honest cells supports, never below `floors`. */
export function limitsOf(cells: readonly HonestCell[], edge: number): MarginLimits {
  assert(cells.length > 0, "a calibration needs honest pairs");
  const largestMargin = worstOf(cells, (cell) => runOf(cell).maxMargin);
  const spread = deviations * Math.sqrt(clustering) * worstOf(cells, spreadOf);
  const mean = worstOf(cells, (cell) => runOf(cell).meanMargin);
  return {
    edge: round(Math.max(floors.edge, edge)),
    clip,
    // No margin exceeds the spread of its position.
    tokenMax: round(Math.max(floors.tokenMax, edge, rooms.margin * largestMargin)),
    meanMax: round(Math.max(floors.meanMax, rooms.mean * mean)),
    meanSpread: round(Math.max(floors.meanSpread, spread)),
  };
}

/** Up, to six decimals: a rounded limit is never tighter than the measured one. */
function round(value: number): number {
  return Math.ceil(value * 1e6 - 1e-9) / 1e6;
}

/** Up, to three significant digits; 0 stays 0. Few distinct values make bounds cheap. */
export function roundUp(value: number): number {
  if (value <= 0) return 0;
  const step = 10 ** (Math.floor(Math.log10(value)) - 2);
  return Number((Math.ceil(value / step - 1e-9) * step).toPrecision(12));
}

/** Where each detector's numbers begin in a draw's evidence. */
function* columns(
  detectors: readonly MeasuredDetector[],
): Generator<{ readonly detector: MeasuredDetector; readonly at: number; readonly width: number }> {
  const width = detectors.reduce((sum, { alternatives }) => sum + alternatives, 0);
  let at = 0;
  for (const detector of detectors) {
    yield { detector, at, width };
    at += detector.alternatives;
  }
}

/** All draws' values of one column. */
function valuesIn(cell: HonestCell, at: number, width: number): number[] {
  const values: number[] = [];
  for (const { evidence } of cell.pairs) {
    for (let i = at; i < evidence.length; i += width) values.push(evidence[i] ?? 0);
  }
  return values;
}

function meanIn(cell: HonestCell, at: number, width: number): number {
  const values = valuesIn(cell, at, width);
  return values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
}

/** Upper bound on the mean of a bounded detector. */
function upperIn(cell: HonestCell, at: number, width: number, confidence: number): number {
  const values = valuesIn(cell, at, width).map((value) => Math.min(1, roundUp(value)));
  return meanUpper(values, confidence);
}

interface Bound {
  readonly observed: number;
  readonly upper: number;
}

/** Standard errors of room for the mean of c: beyond any sharing of alpha over cells and alternatives. */
const ratioErrors = 4;

/**
 * Slack per token, worst alternative. With c the log expectation of a token's ratio under the server's
 * own distribution, the product of ratio/exp(c) is a martingale; so a slack of the mean of c suffices
 * but for the scatter of the sum of c around it, half its variance per token.
 */
function ratiosIn(cell: HonestCell, at: number, alternatives: number): Bound {
  let worst: Bound = { observed: 0, upper: 0 };
  for (let column = at; column < at + alternatives; column++) {
    let [count, sum, squares] = [0, 0, 0];
    for (const { expected } of cell.pairs) {
      count += expected.positions;
      sum += expected.sums[column] ?? 0;
      squares += expected.squares[column] ?? 0;
    }
    if (count < 2) continue;
    const mean = sum / count;
    const variance = (clustering * Math.max(0, squares / count - mean ** 2) * count) / (count - 1);
    const upper = mean + ratioErrors * Math.sqrt(variance / count) + variance / 2;
    if (upper > worst.upper) worst = { observed: mean, upper };
  }
  return worst;
}

/** What has a mean of its own: each server against each reference, and each way to replay. */
function joined(cells: readonly HonestCell[]): HonestCell[] {
  return [
    ...joinedBy(cells, ({ server, reference }) => JSON.stringify([server, reference])),
    ...joinedBy(cells, ({ replay }) => replay),
  ];
}

function joinedBy(cells: readonly HonestCell[], keyOf: (cell: HonestCell) => string): HonestCell[] {
  const found = new Map<string, HonestCell>();
  for (const cell of cells) {
    const key = keyOf(cell);
    const pairs = [...(found.get(key)?.pairs ?? []), ...cell.pairs];
    found.set(key, { ...cell, condition: "all conditions", pairs });
  }
  return [...found.values()];
}

/** By how much the variance of logit noise in the worst combination exceeds that of all together. */
function excessOf(groups: readonly HonestCell[]): number {
  const noiseOf = (cell: HonestCell): NoiseSums =>
    cell.pairs.reduce((sum, { noise }) => addNoise(sum, noise), noNoise);
  const all = noiseSigma(groups.map(noiseOf).reduce(addNoise, noNoise));
  const worst = groups.reduce((max, cell) => Math.max(max, noiseSigma(noiseOf(cell))), 0);
  return all === 0 ? 1 : (worst / all) ** 2;
}

/**
 * Null means of all detectors. `observed`: the worst mean of one server against one reference, or of one
 * way to replay. `upper`:
 * a bound on the mean over all combinations together, alpha shared out over the detectors (Bonferroni):
 * rare events need the many. `nullMean` = rooms.nullMean x the larger of `observed` and upper x excess,
 * how much noisier the worst combination's logits are, which few tokens tell well (margins grow with the
 * square of the noise, mismatches with the noise).
 */
export function detectorNulls(
  cells: readonly HonestCell[],
  detectors: readonly MeasuredDetector[],
  confidence: number,
): DetectorNull[] {
  const groups = joined(cells);
  const everything: HonestCell = {
    ...{ server: "all", reference: "all", replay: "all", condition: "all conditions" },
    pairs: cells.flatMap(({ pairs }) => pairs),
  };
  const each = 1 - (1 - confidence) / detectors.length;
  const excess = excessOf(groups);
  return [...columns(detectors)].map(({ detector, at, width }) => {
    const { id, kind, alternatives } = detector;
    const bounded = kind === "bounded";
    const means = groups.map((cell) =>
      bounded ? meanIn(cell, at, width) : ratiosIn(cell, at, alternatives).observed,
    );
    const observed = means.reduce((max, mean) => Math.max(max, mean), 0);
    const upper = roundUp(
      bounded ? upperIn(everything, at, width, each) : ratiosIn(everything, at, alternatives).upper,
    );
    const nullMean = roundUp(rooms.nullMean * Math.max(observed, upper * excess));
    return { id, nullMean, observed, upper };
  });
}

/** Share of tokens above each margin, in the worst combination, with Clopper-Pearson bounds. */
export function tailOf(cells: readonly HonestCell[], confidence: number): Profile["tail"] {
  const groups = joined(cells);
  const each = 1 - (1 - confidence) / (groups.length * tailLevels.length);
  return tailLevels.map((margin, level) => {
    const bounds = groups.map((cell) => {
      const blocks = cell.pairs.map(({ tail, tokens, draws }) => ({
        hits: tail[level] ?? 0,
        trials: tokens * draws,
      }));
      const hits = blocks.reduce((sum, block) => sum + block.hits, 0);
      const trials = tokensOf(cell);
      // Where nothing was hit dependence cannot be seen: the tokens of one draw count as one.
      const effect = hits > 0 ? designEffect(blocks) : Math.max(1, trials / runOf(cell).pairs);
      return { share: hits / trials, upper: shareUpper(hits, trials, each, effect) };
    });
    const worst = (key: "share" | "upper"): number =>
      bounds.reduce((max, bound) => Math.max(max, bound[key]), 0);
    return { margin, share: roundUp(worst("share")), upper: Math.min(1, roundUp(worst("upper"))) };
  });
}

/** What the caller knows besides the measured cells. */
export type ProfileFacts = Pick<Profile, "model" | "engines" | "provenance" | "confidence"> & {
  readonly scale: DetectorScale;
  readonly detectors: readonly MeasuredDetector[];
};

/** The profile that honest cells support. There is at least one cell with tokens, and none outside. */
export function profileOf(cells: readonly HonestCell[], facts: ProfileFacts): Profile {
  const { model, engines, provenance, confidence, scale, detectors } = facts;
  assert(
    cells.every((cell) => runOf(cell).outside === 0),
    "honest tokens lie in the support",
  );
  return {
    ...{ schema: 1, basis: "measured", model, engines, noiseLaw },
    ...limitsOf(cells, edgeOf(cells, confidence).edge),
    sigma: scale.sigma,
    tail: tailOf(cells, confidence),
    confidence,
    detectors: detectorNulls(cells, detectors, confidence),
    runs: cells.map(runOf),
    provenance,
  };
}

/**
 * Wide numbers that nobody measured, for any model: of use in tests and where a party wants no more
 * than hard findings. `weir up` never takes them by itself.
 */
export const assumedProfile: Profile = {
  schema: 1,
  basis: "assumed",
  model: { name: "any", root: "0".repeat(64) },
  engines: { server: "any", reference: "any" },
  noiseLaw,
  edge: 0.02,
  clip,
  tokenMax: 0.3,
  meanMax: floors.meanMax,
  meanSpread: floors.meanSpread,
  sigma: 0.01,
  tail: [],
  confidence: 0.99,
  detectors: [],
  runs: [],
  provenance: { command: "none", seed: 0, machine: "none", weir: "none", atMs: 0 },
};
