/**
 * What comparison with the reference tells about one claimed token: computed once per position, read
 * by every detector and by the capacity meter. q is the reference's own distribution over the kept
 * support (temperature, top-k, top-p), renormalised.
 */
import { assert } from "../base/assert.ts";
import type { Candidates, DrawParams } from "../format/noise.ts";
import { cutParams, distributionOf, type Distribution } from "./distribution.ts";
import { Cumulative } from "./inverse-cdf.ts";
import type { GumbelLaw, InverseCdfLaw, NoiseLaw } from "./law.ts";
import { Support } from "./support.ts";

/** One position, as the reference computed it, and how the server was told to draw there. */
export interface Position {
  readonly candidates: Candidates;
  readonly params: DrawParams;
  readonly seed: bigint;
  /** As the law counts (`positionOf` in laws/index.ts): for Weir's own, among the output tokens from 0. */
  readonly index: number;
}

export interface TokenFacts {
  /** Nats of logit, at least 0; Infinity when the token lies outside the support (spec/verdict.md section 2). */
  readonly margin: number;
  /** Whether the token is what the reference itself draws. */
  readonly agrees: boolean;
  /**
   * Kept candidates that beat the claimed token, noise included; 0 when it agrees. Infinity outside.
   * Inverse-CDF laws: how many intervals lie from the claimed token's to the one that holds u.
   */
  readonly rank: number;
  /**
   * -ln q(claimed); Infinity outside. A token that only another machine's rounding keeps has the q it
   * would have if kept. At T = 0, 0 for the reference's token and Infinity for any other.
   */
  readonly surprise: number;
  /** Entropy of q; nats. */
  readonly entropy: number;
  /** ln sum over v of q(v)^(1 - lambda), for each of `tempers` (facts.ts): what tempering tests need. */
  readonly logMoments: ArrayLike<number>;
  /**
   * z_max - z_v of the kept candidates, rising, the first `gapsMax`; nats of logit. The first is 0.
   * Inverse-CDF laws: the margins they would have had. At T = 0: of the whole top-k, since near ties
   * there carry bits too.
   */
  readonly gaps: ArrayLike<number>;
  /**
   * Inverse-CDF laws: the claimed token's interval of cumulative probability (low, high], and u that
   * drew; with the ties that the edge allows, the hull of its places. Null elsewhere, and outside.
   */
  readonly interval: { readonly low: number; readonly high: number; readonly u: number } | null;
}

/** What the rule for a single pair reads (threshold.ts). */
export type TokenScore = Pick<TokenFacts, "margin" | "agrees">;

/** lambda of the tempering alternatives: q^(1-lambda) renormalised. Positive is hotter. */
export const tempers = [-0.5, -0.2, -0.1, -0.05, 0.05, 0.1, 0.2, 0.5] as const;
export const gapsMax = 32;

type Verdict = Pick<TokenFacts, "margin" | "agrees" | "rank" | "gaps" | "interval">;

/** Noisy scores of one position; grows to the largest support seen. */
let scores = new Float64Array(256);

function firstGaps(gaps: Float64Array): Float64Array {
  return gaps.length > gapsMax ? gaps.subarray(0, gapsMax) : gaps;
}

/**
 * Distances from the highest of the first `count` scores, rising: the least `gapsMax`, by insertion,
 * since most scores are turned away by one comparison once the list is full of better ones.
 */
function gapsOf(count: number): number[] {
  let best = -Infinity;
  for (let i = 0; i < count; i++) {
    const score = scores[i] ?? -Infinity;
    if (score > best) best = score;
  }
  const gaps: number[] = [];
  for (let i = 0; i < count; i++) {
    const gap = best - (scores[i] ?? -Infinity);
    if (gaps.length < gapsMax) gaps.push(gap);
    else if (gap >= (gaps[gapsMax - 1] ?? 0)) continue;
    let at = gaps.length - 1;
    for (; at > 0 && (gaps[at - 1] ?? 0) > gap; at--) gaps[at] = gaps[at - 1] ?? 0;
    gaps[at] = gap;
  }
  return gaps;
}

function indexOf(ids: ArrayLike<number>, id: number): number {
  for (let i = 0; i < ids.length; i++) if (ids[i] === id) return i;
  return -1;
}

/** z of the candidate at `at` if it stands at place `rank`; nats of logit. */
function noisy(law: GumbelLaw, position: Position, at: number, rank: number): number {
  const { candidates, params, seed, index } = position;
  const column = law.column === "id" ? (candidates.ids[at] ?? 0) : rank;
  return (
    (candidates.logProbs[at] ?? -Infinity) + params.temperature * law.noise(seed, index, column)
  );
}

/** Fills `scores` with z of the kept candidates and returns the place of the drawn one, as drawToken. */
function drawAt(law: GumbelLaw, position: Position, kept: number): number {
  const { candidates, params, seed, index } = position;
  const { ids, logProbs } = candidates;
  const { temperature } = params;
  if (scores.length < kept) scores = new Float64Array(2 * kept);
  const byId = law.column === "id";
  const highest = logProbs[0] ?? 0;
  let best = 0;
  let bestScore = -Infinity;
  for (let i = 0; i < kept; i++) {
    const id = ids[i] ?? 0;
    const noise = law.noise(seed, index, byId ? id : i);
    const logit = logProbs[i] ?? -Infinity;
    scores[i] = logit + temperature * noise;
    const score = (logit - highest) / temperature + noise;
    if (score > bestScore || (score === bestScore && id < (ids[best] ?? 0))) {
      best = i;
      bestScore = score;
    }
  }
  return best;
}

/**
 * Least score by which the claimed token is beaten, T times the noise added to the logits (Token-DiFR,
 * arXiv 2511.20621, section 4.2), so that margins keep one scale at every temperature. Where noise goes by
 * rank, rounding may move a token to a neighbour's rank: the claimed token is taken at the best of
 * its possible ranks, and a rival at the worst of its.
 */
function gumbelMargin(
  law: GumbelLaw,
  position: Position,
  at: number,
  support: Support,
  kept: number,
): number {
  const z = (i: number, pick: (a: number, b: number) => number): number => {
    if (law.column === "id") return i < kept ? (scores[i] ?? 0) : noisy(law, position, i, i);
    const { from, to } = support.places(i);
    let found = noisy(law, position, i, from);
    for (let rank = from + 1; rank < to; rank++) found = pick(found, noisy(law, position, i, rank));
    return found;
  };
  const claimed = z(at, Math.max);
  let best = claimed;
  for (let i = 0; i < support.top; i++) {
    if (i === at) continue;
    const score = z(i, Math.min);
    // Only a higher score can change the answer, and the edge is the dearer question.
    if (score > best && support.mustKeep(i)) best = score;
  }
  return best - claimed;
}

function beaten(count: number, score: number): number {
  let rank = 0;
  for (let i = 0; i < count; i++) if ((scores[i] ?? -Infinity) > score) rank++;
  return rank;
}

function byGumbel(
  law: GumbelLaw,
  position: Position,
  at: number,
  edge: number,
  kept: number,
): Verdict {
  const drawn = drawAt(law, position, kept);
  const gaps = gapsOf(kept);
  if (at === drawn) return { margin: 0, agrees: true, rank: 0, gaps, interval: null };
  const support = new Support(position.candidates, cutParams(law, position.params), edge);
  if (at < 0 || !support.mayKeep(at)) return { ...outside, gaps };
  const rank = beaten(kept, noisy(law, position, at, at));
  const margin = gumbelMargin(law, position, at, support, kept);
  return { margin, agrees: false, rank, gaps, interval: null };
}

function byInverse(
  law: InverseCdfLaw,
  position: Position,
  at: number,
  edge: number,
  kept: number,
): Verdict {
  const { candidates, params, seed, index } = position;
  const cumulative = new Cumulative(position, Math.min(params.topK, candidates.ids.length));
  const u = law.uniform(seed, index);
  const drawn = cumulative.draw(u, kept);
  const gaps = firstGaps(cumulative.gaps(u, kept));
  const support = new Support(candidates, cutParams(law, params), edge);
  if (at < 0 || !support.mayKeep(at)) return { ...outside, gaps };
  const { margin, interval } = cumulative.score(u, at, support);
  const agrees = at === drawn;
  return { margin: agrees ? 0 : margin, agrees, rank: Math.abs(at - drawn), gaps, interval };
}

/** The bare logits: T = 0 under any law, and a server whose randomness is unknown. */
function byLogit(
  law: NoiseLaw,
  position: Position,
  at: number,
  edge: number,
  kept: number,
): Verdict {
  const { candidates, params } = position;
  const greedy = params.temperature === 0;
  const count = greedy ? Math.min(params.topK, candidates.ids.length) : kept;
  if (scores.length < count) scores = new Float64Array(2 * count);
  for (let i = 0; i < count; i++) scores[i] = candidates.logProbs[i] ?? -Infinity;
  const gaps = gapsOf(count);
  const reachable =
    at >= 0 && (greedy || new Support(candidates, cutParams(law, params), edge).mayKeep(at));
  if (!reachable) return { ...outside, gaps };
  const margin = Math.max(0, (candidates.logProbs[0] ?? 0) - (candidates.logProbs[at] ?? 0));
  return { margin, agrees: at === 0, rank: at, gaps, interval: null };
}

const outside = { margin: Infinity, agrees: false, rank: Infinity, interval: null };

function surpriseOf(position: Position, at: number, q: Distribution): number {
  const { candidates, params } = position;
  if (params.temperature === 0) return at === 0 ? 0 : Infinity;
  const { logProbs } = candidates;
  const log = ((logProbs[at] ?? -Infinity) - (logProbs[0] ?? 0)) / params.temperature;
  return Math.log(at < q.kept ? q.total : q.total + Math.exp(log)) - log;
}

/**
 * Compares `claimed` with what the reference computed at one position. `edge`: nats of logit by which
 * two logits may change places between honest machines (spec/verdict.md section 2).
 * A candidate list that is not sorted or reaches not past the top-k gives a wrong edge, not an error.
 */
export function tokenFacts(
  law: NoiseLaw,
  position: Position,
  claimed: number,
  edge: number,
): TokenFacts {
  const { candidates, params } = position;
  assert(candidates.ids.length > 0, "a position has at least one candidate");
  const at = indexOf(candidates.ids, claimed);
  const q = distributionOf(law, position);
  const bare = law.family === "greedy" || params.temperature === 0;
  const verdict = bare
    ? byLogit(law, position, at, edge, q.kept)
    : law.family === "gumbel"
      ? byGumbel(law, position, at, edge, q.kept)
      : byInverse(law, position, at, edge, q.kept);
  const surprise = verdict.margin === Infinity ? Infinity : surpriseOf(position, at, q);
  return { ...verdict, surprise, entropy: q.entropy, logMoments: q.logMoments };
}
