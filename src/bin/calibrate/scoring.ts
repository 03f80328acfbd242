/** A worker's recomputer: replays pairs on its build and scores them, the real draw and further ones. */
import { candidatesBeyond } from "../../recomputer/replay.ts";
import { drawToken, noiseLaw, supportSize, type Candidates } from "../../format/noise.ts";
import {
  addNoise,
  noNoise,
  tailLevels,
  type ExpectedRatios,
  type HonestPair,
  type NoiseSums,
} from "../../verification/calibration.ts";
import { detectorsFor } from "../../verification/detectors/index.ts";
import type { Detector, DetectorScale } from "../../verification/detector.ts";
import { tokenFacts, type TokenFacts } from "../../verification/facts.ts";
import { lawOf } from "../../verification/laws/index.ts";
import type { MadePair, ScoreRequest } from "./protocol.ts";
import { pairSeed } from "./serving.ts";

/** Noise is measured on this many of the reference's best candidates: those that draws come to. */
export const noiseDepth = 16;

/** The server's candidates of one position, out of the flat arrays. */
function seenAt(pair: MadePair, at: number): Candidates {
  const [from, to] = [at * pair.width, (at + 1) * pair.width];
  return { ids: pair.serverIds.subarray(from, to), logProbs: pair.serverLogits.subarray(from, to) };
}

/** Where an id stands; -1 where it does not. Both lists are sorted alike but for near ties: look near. */
function placeOf(ids: ArrayLike<number>, id: number, near: number): number {
  for (let step = 0; step < ids.length; step++) {
    if (ids[near - step] === id) return near - step;
    if (ids[near + step] === id) return near + step;
  }
  return -1;
}

/**
 * Noise between two machines at one position: differences of the logits of those of the reference's
 * `noiseDepth` best tokens that both list, their common offset taken out (no draw depends on it).
 */
export function positionNoise(seen: Candidates, reference: Candidates): NoiseSums {
  const differences: number[] = [];
  for (let i = 0; i < Math.min(noiseDepth, reference.ids.length); i++) {
    const j = placeOf(seen.ids, reference.ids[i] ?? 0, i);
    if (j >= 0) differences.push((seen.logProbs[j] ?? 0) - (reference.logProbs[i] ?? 0));
  }
  const mean = differences.reduce((sum, d) => sum + d, 0) / Math.max(1, differences.length);
  let [squares, largest] = [0, 0];
  for (const difference of differences) {
    squares += (difference - mean) ** 2;
    largest = Math.max(largest, Math.abs(difference - mean));
  }
  const freedom = Math.max(0, differences.length - 1);
  return { squares, freedom, largest, spread: spreadOf(seen, reference) };
}

/**
 * Largest difference of logits less the least, over all candidates that the server could draw and the
 * reference's as many. One that only the server lists differs by at least its distance from the
 * reference's last; one that only the reference lists, by at most that from the server's last.
 */
function spreadOf(seen: Candidates, reference: Candidates): number {
  const depth = Math.min(seen.ids.length, reference.ids.length);
  const last = ({ logProbs }: Candidates): number => logProbs[logProbs.length - 1] ?? 0;
  let [low, high] = [Infinity, -Infinity];
  for (let i = 0; i < depth; i++) {
    const j = placeOf(seen.ids, reference.ids[i] ?? 0, i);
    const there = j < 0 ? last(seen) : (seen.logProbs[j] ?? 0);
    const difference = there - (reference.logProbs[i] ?? 0);
    low = Math.min(low, difference);
    if (j >= 0) high = Math.max(high, difference);
  }
  for (let j = 0; j < seen.ids.length; j++) {
    const i = placeOf(reference.ids, seen.ids[j] ?? 0, j);
    const here = i < 0 ? last(reference) : (reference.logProbs[i] ?? 0);
    const difference = (seen.logProbs[j] ?? 0) - here;
    high = Math.max(high, difference);
    if (i >= 0) low = Math.min(low, difference);
  }
  return Math.max(0, high - low);
}

/** Running sums over the tokens of all draws of a pair. */
class Sums {
  mismatches = 0;
  outside = 0;
  sumClipped = 0;
  sumSquares = 0;
  maxMargin = 0;
  readonly tail = tailLevels.map(() => 0);

  add({ margin, agrees }: TokenFacts, clip: number): void {
    if (agrees) return;
    this.mismatches++;
    const clipped = Math.min(margin, clip);
    this.sumClipped += clipped;
    this.sumSquares += clipped ** 2;
    if (margin === Infinity) this.outside++;
    else this.maxMargin = Math.max(this.maxMargin, margin);
    tailLevels.forEach((level, i) => {
      if (margin > level) this.tail[i] = (this.tail[i] ?? 0) + 1;
    });
  }
}

const law = lawOf(noiseLaw);
/** The detectors that are calibrated. */
export const detectors = detectorsFor(law);
/** How many numbers one draw's evidence has. */
export const evidenceWidth = detectors.reduce((sum, { alternatives }) => sum + alternatives, 0);

/** One position in so many has the expectation of its ratios computed: it costs a score per candidate. */
const expectEvery = 16;

/** Natural logs of the expectations of `ratios` evidence under what the server computed. */
function expectedRatios(
  pair: MadePair,
  positions: readonly Candidates[],
  request: Pick<ScoreRequest, "seed" | "edge" | "scale">,
): ExpectedRatios {
  const sums = new Float64Array(evidenceWidth);
  const squares = new Float64Array(evidenceWidth);
  const { params } = pair;
  const seed = pairSeed(request.seed, pair.index, "real");
  let count = 0;
  // Where nothing is drawn, nothing is expected.
  const from = params.temperature === 0 ? positions.length : pair.index % expectEvery;
  for (let index = from; index < positions.length; index += expectEvery) {
    const candidates = positions[index];
    if (candidates === undefined) break;
    const seen = seenAt(pair, index);
    const means = new Float64Array(evidenceWidth);
    let total = 0;
    for (let i = 0; i < supportSize(seen, params); i++) {
      const log = ((seen.logProbs[i] ?? 0) - (seen.logProbs[0] ?? 0)) / params.temperature;
      const weight = Math.exp(log);
      total += weight;
      const position = { candidates, params, seed, index };
      const facts = tokenFacts(law, position, seen.ids[i] ?? 0, request.edge);
      evidenceOf([facts], request.scale, (column, value, kind) => {
        if (kind === "ratios") means[column] = (means[column] ?? 0) + weight * Math.exp(value);
      });
    }
    count++;
    means.forEach((mean, column) => {
      const log = mean === 0 ? 0 : Math.log(mean / total);
      sums[column] = (sums[column] ?? 0) + log;
      squares[column] = (squares[column] ?? 0) + log ** 2;
    });
  }
  return { positions: count, sums, squares };
}

/** All numbers of all detectors, each with its column. */
function evidenceOf(
  tokens: readonly TokenFacts[],
  scale: DetectorScale,
  take: (column: number, value: number, kind: Detector["kind"]) => void,
): void {
  let at = 0;
  for (const detector of detectors) {
    const found = detector.evidence({ tokens }, scale);
    const numbers = found.kind === "bounded" ? [found.value] : found.logs;
    numbers.forEach((value, i) => {
      take(at + i, value, found.kind);
    });
    at += detector.alternatives;
  }
}

/** Scores one pair against the replayed positions of one reference. */
export function scoreDraws(
  pair: MadePair,
  positions: readonly Candidates[],
  request: Pick<ScoreRequest, "seed" | "stream" | "edge" | "scale" | "redraws">,
): HonestPair {
  const { scale, edge, stream } = request;
  // At T = 0 nothing is drawn, so drawing again shows nothing new.
  const draws = pair.params.temperature === 0 ? 1 : 1 + request.redraws;
  const sums = new Sums();
  let noise = noNoise;
  const evidence = new Float64Array(draws * evidenceWidth);
  for (let round = 0; round < draws; round++) {
    const seed = pairSeed(request.seed, pair.index, round === 0 ? "real" : `${stream}/${round}`);
    const tokens = positions.map((candidates, index) => {
      const seen = seenAt(pair, index);
      if (round === 0) noise = addNoise(noise, positionNoise(seen, candidates));
      const { params } = pair;
      const claimed = round === 0 ? (pair.ids[index] ?? 0) : drawToken(seen, params, seed, index);
      const facts = tokenFacts(law, { candidates, params, seed, index }, claimed, edge);
      sums.add(facts, scale.clip);
      return facts;
    });
    const row = evidence.subarray(round * evidenceWidth);
    evidenceOf(tokens, scale, (column, value) => (row[column] = value));
  }
  const { mismatches, outside, sumClipped, sumSquares, maxMargin, tail } = sums;
  return {
    ...{ index: pair.index, tokens: pair.ids.length, draws, noise, evidence },
    expected: expectedRatios(pair, positions, request),
    ...{ mismatches, outside, sumClipped, sumSquares, maxMargin, tail },
  };
}

/** Replays and scores pairs: all at once on an engine that steps them together, else one by one. */
export async function scoreAll(
  request: ScoreRequest,
  replay: (pair: MadePair, count: number) => Promise<readonly Candidates[]>,
): Promise<HonestPair[]> {
  const one = async (pair: MadePair): Promise<HonestPair> =>
    scoreDraws(pair, await replay(pair, pair.params.topK + candidatesBeyond), request);
  if (request.replay.mode === "blind") return Promise.all(request.pairs.map(one));
  const results: HonestPair[] = [];
  for (const pair of request.pairs) results.push(await one(pair));
  return results;
}
