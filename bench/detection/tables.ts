/** From scored pairs to figures: AUC over buckets, delays at the fleet's threshold, ablations. */
import { seededUniform } from "../../src/verification/seeded.ts";
import {
  addPair,
  emptyEvidence,
  logChange,
  logE,
  type DetectorNullMean,
  type EvidenceState,
} from "../../src/verification/sequential.ts";
import { quantile } from "../support.ts";
import type { Scorer, ScoredPair, Server } from "./measure.ts";

type Uniform = () => number;

function pick<T>(list: readonly T[], uniform: Uniform): T {
  const one = list[Math.floor(uniform() * list.length)];
  if (one === undefined) throw new RangeError("a list to pick from has entries");
  return one;
}

/** P(a > b) + P(a = b)/2: the area under the ROC curve (Mann, Whitney 1947), by ranks. */
export function auc(dishonest: readonly number[], honest: readonly number[]): number {
  const all = [
    ...dishonest.map((value) => ({ value, bad: true })),
    ...honest.map((value) => ({ value, bad: false })),
  ].sort((a, b) => a.value - b.value);
  let sum = 0;
  for (let from = 0; from < all.length;) {
    let to = from;
    while (to < all.length && all[to]?.value === all[from]?.value) to++;
    const rank = (from + 1 + to) / 2;
    for (let i = from; i < to; i++) if (all[i]?.bad === true) sum += rank;
    from = to;
  }
  const [m, n] = [dishonest.length, honest.length];
  return (sum - (m * (m + 1)) / 2) / (m * n);
}

/** Means of disjoint buckets of `size` tokens, in the order given; what is left over is dropped. */
export function bucketMeans(margins: readonly number[], size: number): number[] {
  const count = Math.floor(margins.length / size);
  return Array.from({ length: count }, (_, i) => {
    const bucket = margins.slice(i * size, (i + 1) * size);
    return bucket.reduce((sum, margin) => sum + margin, 0) / size;
  });
}

function shuffled(values: readonly number[], uniform: Uniform): number[] {
  const out = [...values];
  for (let i = out.length - 1; i > 0; i--) {
    const j = Math.floor(uniform() * (i + 1));
    [out[i], out[j]] = [out[j] ?? 0, out[i] ?? 0];
  }
  return out;
}

const flat = (pairs: readonly ScoredPair[]): number[] =>
  pairs.flatMap(({ margins }) => Array.from(margins));

export interface AucRow {
  readonly cheat: string;
  readonly "tokens per bucket": number;
  /** shuffled: tokens of all prompts mixed, as published; in order: as they were served. */
  readonly buckets: string;
  readonly "honest / cheat buckets": string;
  readonly AUC: number;
  readonly "95% low": number;
  readonly "95% high": number;
  readonly "TPR at FPR 1e-3": number;
}

const resamples = 500;
const drawnBuckets = 10_000;

/**
 * AUC of the mean clipped margin over disjoint buckets, with a bootstrap interval over buckets. TPR at
 * FPR 1e-3: over 10,000 buckets per class whose tokens are drawn with replacement, since fewer than
 * 1,000 disjoint ones cannot show it.
 */
export function aucRow(
  cheat: string,
  dishonest: readonly ScoredPair[],
  honest: readonly ScoredPair[],
  size: number,
  order: "shuffled" | "in order",
  seed: number,
): AucRow {
  const uniform = seededUniform(seed);
  const arranged = (pairs: readonly ScoredPair[]): number[] =>
    order === "shuffled" ? shuffled(flat(pairs), uniform) : flat(pairs);
  const [bad, good] = [bucketMeans(arranged(dishonest), size), bucketMeans(arranged(honest), size)];
  const again = (values: readonly number[]): number[] => values.map(() => pick(values, uniform));
  const spread = Array.from({ length: resamples }, () => auc(again(bad), again(good)));
  const drawn = (pairs: readonly ScoredPair[]): number[] => {
    const margins = flat(pairs);
    return Array.from({ length: drawnBuckets }, () => {
      let sum = 0;
      for (let i = 0; i < size; i++) sum += pick(margins, uniform);
      return sum / size;
    });
  };
  const limit = quantile(drawn(honest), 0.999);
  const over = drawn(dishonest).filter((value) => value > limit).length;
  return {
    cheat,
    "tokens per bucket": size,
    buckets: order,
    "honest / cheat buckets": `${good.length} / ${bad.length}`,
    AUC: auc(bad, good),
    "95% low": quantile(spread, 0.025),
    "95% high": quantile(spread, 0.975),
    "TPR at FPR 1e-3": over / drawnBuckets,
  };
}

/** Which detectors bet. */
interface Bettors {
  readonly ids: ReadonlySet<string>;
  /** Hard findings of single pairs end a stream too. */
  readonly hard: boolean;
}

/** Tokens until a stream of pairs drawn with replacement is stopped; Infinity beyond `max`. */
function tokensUntil(
  pairs: readonly ScoredPair[],
  scorer: Scorer,
  bettors: Bettors,
  max: number,
  uniform: Uniform,
): number {
  const shapes = scorer.detectors.filter(({ id }) => bettors.ids.has(id));
  const nulls: readonly DetectorNullMean[] = scorer.model.profile.profile.detectors;
  const { threshold } = scorer.model.ladder;
  let state: EvidenceState = emptyEvidence(shapes);
  let tokens = 0;
  while (tokens < max) {
    const pair = pick(pairs, uniform);
    tokens += pair.tokens;
    if (bettors.hard && pair.hard) return tokens;
    if (bettors.ids.size === 0) continue;
    const evidence = pair.evidence.filter(({ id }) => bettors.ids.has(id));
    state = addPair(state, evidence, pair.tokens, nulls);
    if (Math.max(logE(state), logChange(state)) >= threshold) return tokens;
  }
  return Infinity;
}

const shown = (tokens: number, max: number): number | string =>
  Number.isFinite(tokens) ? tokens : `> ${max}`;

/** Median and 90% over `runs` streams. */
function delay(
  pairs: readonly ScoredPair[],
  scorer: Scorer,
  bettors: Bettors,
  sizes: StreamSizes,
): readonly [number | string, number | string] {
  const uniform = seededUniform(sizes.seed);
  const tokens = Array.from({ length: sizes.runs }, () =>
    tokensUntil(pairs, scorer, bettors, sizes.max, uniform),
  );
  return [shown(quantile(tokens, 0.5), sizes.max), shown(quantile(tokens, 0.9), sizes.max)];
}

export interface StreamSizes {
  readonly seed: number;
  readonly runs: number;
  /** Tokens after which a stream counts as not caught. */
  readonly max: number;
}

export interface Measured {
  readonly server: Server;
  readonly pairs: readonly ScoredPair[];
}

/** Tokens until the fleet's threshold, by everything that bets or fails a pair, and by bets alone. */
export function delayRow({ server, pairs }: Measured, scorer: Scorer, sizes: StreamSizes): object {
  const ids = new Set(scorer.betting.map(({ id }) => id));
  const tokens = pairs.reduce((sum, pair) => sum + pair.tokens, 0);
  const off = pairs.reduce((sum, pair) => sum + pair.mismatches, 0);
  const hard = pairs.filter((pair) => pair.hard).length;
  const [all, all90] = delay(pairs, scorer, { ids, hard: true }, sizes);
  const [alone, alone90] = delay(pairs, scorer, { ids, hard: false }, sizes);
  return {
    cheat: server.name,
    tokens,
    "tokens off %": (100 * off) / tokens,
    "pairs failed alone %": (100 * hard) / pairs.length,
    "tokens to alarm": all,
    "90%": all90,
    "evidence only": alone,
    "evidence 90%": alone90,
  };
}

/** Median tokens to the alarm for each set of detectors: each alone, all, all but one, hard findings. */
export function ablationRows(
  cheats: readonly Measured[],
  scorer: Scorer,
  sizes: StreamSizes,
  say: (text: string) => void,
): object[] {
  const ids = scorer.detectors.map(({ id }) => id);
  const sets: (readonly [string, Bettors])[] = [
    ["hard findings alone", { ids: new Set(), hard: true }],
    ...ids.map((id) => [`${id} alone`, { ids: new Set([id]), hard: false }] as const),
    ["those that bet", { ids: new Set(scorer.betting.map(({ id }) => id)), hard: false }],
    ["all, no hard findings", { ids: new Set(ids), hard: false }],
    ...ids.map((id) => {
      return [`all but ${id}`, { ids: new Set(ids.filter((x) => x !== id)), hard: false }] as const;
    }),
  ];
  return sets.map(([name, bettors]) => {
    say(`ablation: ${name}`);
    const medians = cheats.map(({ server, pairs }) => {
      return [server.name, delay(pairs, scorer, bettors, sizes)[0]] as const;
    });
    return { detectors: name, ...Object.fromEntries(medians) };
  });
}
