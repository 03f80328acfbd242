/** Ways of betting that were tried, on equal terms: the ablation behind sequential.ts. */
import { logAdd, logFactors, logMean } from "../../src/verification/bets.ts";
import { normalFrom, seededUniform } from "../../src/verification/seeded.ts";
import { cashAfter, logEntryWeight } from "../../src/verification/sequential.ts";
import { fleetBudget } from "../../src/verification/fleet.ts";
import { fleet, quantile, sizeFor } from "./delay.ts";
import { meanMargin, nullMean, shareFor } from "./streams.ts";

/** Takes one pair, gives the log e-value after it. */
type Bettor = (value: number, tokens: number) => number;

interface Way {
  readonly name: string;
  open(): Bettor;
  /** Added to the threshold: what the way needs for the same guarantee. */
  readonly extra?: number;
}

/** A fixed list of stakes, all from the start. `scaled`: in proportion to tokens/64. */
function grid(list: readonly number[], scaled: boolean): () => Bettor {
  return () => {
    const logs = list.map(() => 0);
    return (value, tokens) => {
      const length = scaled ? tokens / 64 : 1;
      list.forEach((stake, i) => {
        const factor = Math.log1p(Math.min(0.9, stake * length) * (value / nullMean - 1));
        logs[i] = (logs[i] ?? 0) + factor;
      });
      return logMean(logs);
    };
  };
}

/** The stake of Waudby-Smith and Ramdas' aGRAPA (2024), one-sided, at most 0.9. */
function agrapa(): Bettor {
  let [count, sum, squares, log] = [1, 0, 1, 0];
  return (value) => {
    const gain = value / nullMean - 1;
    const mean = sum / count;
    const stake = Math.min(0.9, Math.max(0, mean / (squares / count)));
    log += Math.log1p(stake * gain);
    count++;
    sum += gain;
    squares += gain * gain;
    return log;
  };
}

/** Online Newton step (Cutkosky and Orabona, 2018; Waudby-Smith and Ramdas, 2024), at most 0.9. */
function newton(): Bettor {
  let [stake, curvature, log] = [0.45, 1, 0];
  return (value) => {
    const gain = value / nullMean - 1;
    const slope = gain / (1 + stake * gain);
    log += Math.log1p(stake * gain);
    curvature += slope * slope;
    stake = Math.min(0.9, Math.max(0, stake + ((2 / (2 - Math.log(3))) * slope) / curvature));
    return log;
  };
}

/** The bettors of bets.ts, coming in with these weights; `rest` is what has not come in yet. */
function entering(weight: (j: number) => number, rest: (bets: number) => number): () => Bettor {
  return () => {
    let bets = 0;
    let logs: number[] = [];
    return (value, tokens) => {
      bets++;
      const factors = logFactors({ kind: "bounded", value }, nullMean, tokens);
      logs = factors.map((factor, i) => logAdd(logs[i] ?? -Infinity, weight(bets)) + factor);
      return logAdd(logMean(logs), Math.log(rest(bets)));
    };
  };
}

const stakes = (count: number, top: number): number[] =>
  Array.from({ length: count }, (_, j) => top * 2 ** -j);
/** Audited pairs that the Shiryaev-Roberts sum must be told beforehand. */
const horizon = 1e6;

const fromStart: readonly Way[] = [
  { name: "8 stakes, by tokens (chosen)", open: grid(stakes(8, 0.9), true) },
  { name: "8 stakes, length ignored", open: grid(stakes(8, 0.9), false) },
  { name: "4 stakes, by tokens", open: grid(stakes(4, 0.9), true) },
  { name: "16 stakes, by tokens", open: grid(stakes(16, 0.9), true) },
  { name: "one stake of 0.45, by tokens", open: grid([0.45], true) },
  { name: "aGRAPA", open: () => agrapa() },
  { name: "online Newton step", open: () => newton() },
];

const afterChange: readonly Way[] = [
  { name: "w = 1/(1+ln j) - 1/(1+ln(j+1)) (chosen)", open: entering(logEntryWeight, cashAfter) },
  {
    name: "w = 1/(j(j+1))",
    open: entering(
      (j) => -Math.log(j) - Math.log1p(j),
      (bets) => 1 / (bets + 1),
    ),
  },
  {
    name: "Shiryaev-Roberts, horizon 10^6 pairs",
    open: entering(
      () => 0,
      () => 0,
    ),
    extra: Math.log(horizon),
  },
  { name: "none: all from the start", open: grid(stakes(8, 0.9), true) },
];

interface Effect {
  readonly name: string;
  readonly share: number;
  readonly size: number;
}

const effects: readonly Effect[] = [
  { name: "like Q4_0", share: 0.0565, size: sizeFor(0.0208 / 0.0565) },
  { name: "2 x the null", share: shareFor(2 * nullMean, 0.3), size: 0.3 },
  { name: "1.5 x the null", share: shareFor(1.5 * nullMean, 0.3), size: 0.3 },
];

const pairsMax = 6000;

function pairsUntil(way: Way, effect: Effect, before: number, seed: number): number {
  const uniform = seededUniform(seed);
  const normal = normalFrom(uniform);
  const bettor = way.open();
  const threshold = fleetBudget(fleet).logE + (way.extra ?? 0);
  const half = shareFor(nullMean / 2, 0.3);
  for (let at = 1; at <= before + pairsMax; at++) {
    const tokens = Math.min(512, Math.max(1, Math.round(64 * Math.exp(normal() - 0.5))));
    const bad = at > before;
    const share = bad ? effect.share : half;
    const log = bettor(meanMargin(uniform, tokens, share, bad ? effect.size : 0.3), tokens);
    if (bad && log >= threshold) return at - before;
  }
  return Infinity;
}

/** Median pairs until the fleet threshold, replies of 1 to 512 tokens; one detector alone. */
export function simulateChoices(seed: number, runs: number, honestPairs: number): object[] {
  const row = (way: Way, before: number): object => {
    const delays = effects.map((effect) => {
      const each = Array.from({ length: runs }, (_, run) =>
        pairsUntil(way, effect, before, seed + 15_485_863 * run),
      );
      return [`pairs, ${effect.name}`, quantile(each, 0.5)] as const;
    });
    return { way: way.name, "honest pairs before": before, ...Object.fromEntries(delays) };
  };
  return [
    ...fromStart.map((way) => row(way, 0)),
    ...[100, honestPairs].flatMap((before) => afterChange.map((way) => row(way, before))),
  ];
}

/**
 * Length of runs until the change account, and the Shiryaev-Roberts sum, of one detector reach
 * `level` on a server at its null mean. The first promises P(ever) <= 1/level; the second a mean of at least `level`.
 */
export function simulateRunLength(seed: number, runs: number, pairs: number): object[] {
  const level = 100;
  const share = shareFor(nullMean, 0.3);
  return [afterChange[0], afterChange[2]].flatMap((way) => {
    if (way === undefined) return [];
    const lengths = Array.from({ length: runs }, (_, run) => {
      const uniform = seededUniform(seed + 32_452_843 * run);
      const bettor = way.open();
      for (let at = 1; at <= pairs; at++) {
        if (bettor(meanMargin(uniform, 64, share, 0.3), 64) >= Math.log(level)) return at;
      }
      return Infinity;
    });
    const stopped = lengths.filter((length) => length < Infinity).length;
    return [
      {
        statistic: way.name,
        level,
        "pairs looked at": pairs,
        "share that reached it": stopped / runs,
        "mean run, cut there": lengths.reduce((sum, n) => sum + Math.min(n, pairs), 0) / runs,
        promise: way.extra === undefined ? `P(ever) <= ${1 / level}` : `mean run >= ${level}`,
      },
    ];
  });
}
