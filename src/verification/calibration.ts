/**
 * How calibration numbers come from honest runs: spec/verdict.md section 5. Pure; the runs are
 * made by bin/calibrate.ts.
 */
import { assert } from "../base/assert.ts";
import type { Calibration } from "../format/whitelist.ts";
import type { TokenScore } from "./margin.ts";

/** Honest tokens generated under one condition and scored against the reference. */
export interface HonestRun {
  /** In words: `decode, 4 in parallel, 2 threads, T = 1`. */
  readonly condition: string;
  readonly tokens: readonly TokenScore[];
}

export interface RunSummary {
  readonly condition: string;
  readonly tokens: number;
  readonly mismatches: number;
  readonly outside: number;
  readonly meanMargin: number;
  readonly spread: number;
  readonly maxMargin: number;
}

/**
 * Margins are clipped here. Large enough to keep the size of an honest near tie, small enough that
 * one wild token does not carry a mean (Token-DiFR clips at 0.5).
 */
export const clip = 0.5;

/**
 * Never demand more than this of an honest machine, however still it was while it was measured:
 * another processor family rounds differently (spec/verdict.md section 5).
 */
export const floors = { meanMax: 0.001, meanSpread: 0.012, tokenMax: 0.3, edge: 0.02 } as const;

/** Standard deviations of room for a pair's mean, and how much margins cluster (variance, times). */
const deviations = 6;
const clustering = 7.5;
/** Room above the largest honest margin that was ever seen. */
const room = 4;

/** Mean, standard deviation (both of clipped margins) and maximum (finite, unclipped) of one run. */
export function summarise(run: HonestRun): RunSummary {
  const count = run.tokens.length;
  const clipped = run.tokens.map((token) => Math.min(token.margin, clip));
  const mean = count === 0 ? 0 : clipped.reduce((sum, m) => sum + m, 0) / count;
  const square = clipped.reduce((sum, m) => sum + (m - mean) ** 2, 0);
  return {
    condition: run.condition,
    tokens: count,
    mismatches: run.tokens.filter((token) => !token.agrees).length,
    outside: run.tokens.filter((token) => token.margin === Infinity).length,
    meanMargin: mean,
    spread: count < 2 ? 0 : Math.sqrt(square / (count - 1)),
    maxMargin: run.tokens.reduce(
      (max, token) => (token.margin === Infinity ? max : Math.max(max, token.margin)),
      0,
    ),
  };
}

/**
 * The calibration that the worst of the honest runs supports, never below `floors`:
 * meanMax = 2 x the largest mean; meanSpread = 6 x sqrt(7.5) x the largest standard deviation;
 * tokenMax = 4 x the largest margin; edge = tokenMax/4 where that exceeds its floor.
 */
export function calibrationOf(runs: readonly HonestRun[], source: string): Calibration {
  assert(runs.length > 0, "a calibration needs at least one honest run");
  const summaries = runs.map(summarise);
  const worst = (value: (summary: RunSummary) => number): number =>
    summaries.reduce((max, summary) => Math.max(max, value(summary)), 0);
  const largest = worst((summary) => summary.maxMargin);
  const spread = deviations * Math.sqrt(clustering) * worst((summary) => summary.spread);
  return {
    clip,
    meanMax: round(Math.max(floors.meanMax, 2 * worst((summary) => summary.meanMargin))),
    meanSpread: round(Math.max(floors.meanSpread, spread)),
    tokenMax: round(Math.max(floors.tokenMax, room * largest)),
    edge: round(Math.max(floors.edge, largest)),
    source,
  };
}

/** Up, to six decimals: a rounded limit is never tighter than the measured one. */
function round(value: number): number {
  return Math.ceil(value * 1e6 - 1e-9) / 1e6;
}

/** What a whitelist entry carries before anybody has calibrated its model (spec/verdict.md section 5). */
export const defaultCalibration: Calibration = {
  clip,
  ...floors,
  source: "default of spec/verdict.md section 5",
};
