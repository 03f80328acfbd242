/**
 * Monte Carlo of what coverage.ts computes: pairs are drawn one audit at a time until the server is
 * caught. It shares the model with the formulas, not their approximations: evidence by `mismatch` is
 * the real mixture of the bettors of bets.ts, on token counts drawn for each pair.
 */
import { InvalidError } from "../base/assert.ts";
import { logMean, stakes } from "./bets.ts";
import { binomial, hardPerPair, pairLogs, type Detection, type Traffic } from "./coverage.ts";
import { normalFrom, seededUniform } from "./seeded.ts";

/** Pairs served until caught, one for each run; Infinity where a run was cut off. */
export type Runs = readonly number[];

/** Audited pairs that all runs together may take: some seconds. */
const auditsMax = 1e7;

/** Failures before the first success of probability `chance`: pairs passed over. */
function skipped(uniform: () => number, chance: number): number {
  return chance >= 1 ? 0 : Math.floor(Math.log(uniform()) / Math.log1p(-chance));
}

/** Index of the first cumulative chance above u. */
function draw(cumulative: readonly number[], u: number): number {
  let low = 0;
  let high = cumulative.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((cumulative[middle] ?? 1) < u) low = middle + 1;
    else high = middle;
  }
  return low;
}

function accumulate(chances: readonly number[]): number[] {
  let sum = 0;
  return chances.map((chance) => (sum += chance));
}

interface Source {
  readonly uniform: () => number;
  /** Counts one audit, and throws when there were too many. */
  readonly audit: (count: number) => void;
}

/** Caught by single pairs. */
function byPower(traffic: Traffic, power: number, { uniform, audit }: Source): number {
  const rate = traffic.epsilon * traffic.beta;
  let pairs = 0;
  do {
    audit(1);
    pairs += 1 + skipped(uniform, rate);
  } while (uniform() >= power);
  return pairs;
}

type Drift = Extract<Detection, { kind: "drift" }>;

/** Normal steps at forged pairs; honest audited pairs cost a constant, so they are skipped in one go. */
function byDrift(traffic: Traffic, detection: Drift, { uniform, audit }: Source): number {
  const { epsilon, beta } = traffic;
  const { drift, variance, honestCost, threshold } = detection;
  const normal = normalFrom(uniform);
  const deviation = Math.sqrt(variance);
  let pairs = 0;
  let log = 0;
  while (log < threshold) {
    audit(1);
    const honest = skipped(uniform, beta);
    for (let i = 0; i <= Math.min(honest, honestMax); i++) pairs += 1 + skipped(uniform, epsilon);
    // So many gaps that their sum is known well enough.
    if (honest > honestMax) pairs += (honest - honestMax) / epsilon;
    log += drift + deviation * normal() - honest * honestCost;
  }
  return pairs;
}

const honestMax = 1000;

interface MismatchTable {
  readonly forged: readonly number[];
  readonly honest: readonly number[];
  /** For each count of tokens far off: the log factor of each bettor. */
  readonly logs: readonly (readonly number[])[];
  /** P(a forged pair is caught by itself). */
  readonly alone: number;
}

type Mismatch = Extract<Detection, { kind: "mismatch" }>;

function tableOf(tokens: number, { forged, honest, nullMean, hard }: Mismatch): MismatchTable {
  return {
    forged: accumulate(binomial(tokens, forged)),
    honest: accumulate(binomial(tokens, honest)),
    logs: pairLogs(tokens, nullMean),
    alone: hardPerPair(tokens, hard),
  };
}

function byMismatch(
  traffic: Traffic,
  threshold: number,
  table: MismatchTable,
  { uniform, audit }: Source,
): number {
  const wealth = stakes.map(() => 0);
  let pairs = 0;
  do {
    audit(1);
    pairs += 1 + skipped(uniform, traffic.epsilon);
    const isForged = uniform() < traffic.beta;
    if (isForged && uniform() < table.alone) return pairs;
    const gain = table.logs[draw(isForged ? table.forged : table.honest, uniform())];
    for (let i = 0; i < wealth.length; i++) wealth[i] = (wealth[i] ?? 0) + (gain?.[i] ?? 0);
  } while (Math.max(...wealth) < threshold || logMean(wealth) < threshold);
  return pairs;
}

/**
 * Plays `runs` cheating servers until each is caught. The same seed gives the same runs. Throws
 * InvalidError `coverage.simulation` when that takes more than `limit` audits.
 */
export function simulateCoverage(
  traffic: Traffic,
  detection: Detection,
  runs: number,
  seed: number,
  limit = auditsMax,
): Runs {
  const uniform = seededUniform(seed);
  let audits = 0;
  const audit = (count: number): void => {
    audits += count;
    if (audits <= limit) return;
    throw new InvalidError(
      "coverage.simulation",
      `the simulation takes more than ${limit} audits: ask for fewer runs, or a larger share of forged pairs`,
    );
  };
  const source: Source = { uniform, audit };
  const play = (): (() => number) => {
    if (detection.kind === "power") return () => byPower(traffic, detection.power, source);
    if (detection.kind === "drift") return () => byDrift(traffic, detection, source);
    const { threshold } = detection;
    const table = tableOf(traffic.tokensPerPair, detection);
    return () => byMismatch(traffic, threshold, table, source);
  };
  const once = play();
  return Array.from({ length: runs }, once);
}

export interface Estimate {
  readonly value: number;
  readonly low: number;
  readonly high: number;
}

/** Mean of the runs with its 95% interval (normal). */
export function meanOf(runs: Runs): Estimate {
  const value = runs.reduce((sum, x) => sum + x, 0) / runs.length;
  const square = runs.reduce((sum, x) => sum + (x - value) ** 2, 0);
  const room = (1.96 * Math.sqrt(square / Math.max(1, runs.length - 1))) / Math.sqrt(runs.length);
  return { value, low: value - room, high: value + room };
}

/** Quantile of the runs with the 95% interval of its order statistics. */
export function quantileOf(runs: Runs, chance: number): Estimate {
  const sorted = [...runs].sort((a, b) => a - b);
  const room = 1.96 * Math.sqrt(runs.length * chance * (1 - chance));
  const at = (rank: number): number =>
    sorted[Math.min(sorted.length - 1, Math.max(0, Math.round(rank)))] ?? NaN;
  const middle = runs.length * chance - 0.5;
  return { value: at(middle), low: at(middle - room), high: at(middle + room) };
}

/** Share of runs caught within `pairs`, with Wilson's 95% interval. */
export function withinOf(runs: Runs, pairs: number): Estimate {
  const n = runs.length;
  const value = runs.filter((x) => x <= pairs).length / n;
  const z = 1.96;
  const centre = (value + (z * z) / (2 * n)) / (1 + (z * z) / n);
  const room =
    (z / (1 + (z * z) / n)) * Math.sqrt((value * (1 - value)) / n + (z * z) / (4 * n * n));
  return { value, low: Math.max(0, centre - room), high: Math.min(1, centre + room) };
}
