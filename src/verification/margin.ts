/**
 * The post-Gumbel margin of a claimed token, spec/verdict.md section 2 (Token-DiFR, arXiv
 * 2511.20621, section 4.2): z_v = l_v + T g_v over the kept support; margin = max z - z_claimed.
 * The noise is scaled by T rather than the logits divided by it, so that margins keep one scale,
 * nats of logit, at every temperature. 0 when the claimed token is the reference's own draw.
 *
 * The edge of the support is treated exactly. Two logits that differ by no more than `edge` may
 * change places between honest machines, and the mass in front of a token may move by `edge` in
 * log-odds. A token that some such change would keep is not impossible: it is scored as if kept. A
 * token that some such change would cut cannot be demanded: it does not count as a winner.
 */
import { assert } from "../base/assert.ts";
import { drawToken, gumbel, type Candidates, type DrawParams } from "../format/noise.ts";

export interface TokenScore {
  /** Nats of logit, at least 0; Infinity when the token lies outside the support. */
  readonly margin: number;
  /** Whether the token is what the reference itself draws. */
  readonly agrees: boolean;
}

/** What one position asks of the score. */
export interface Position {
  readonly candidates: Candidates;
  readonly params: DrawParams;
  readonly seed: bigint;
  /** Index among the output tokens, from 0. */
  readonly index: number;
}

const agreement: TokenScore = { margin: 0, agrees: true };
const impossible: TokenScore = { margin: Infinity, agrees: false };

/**
 * Scores `claimed` at one position. `edge` in nats. The candidates must reach past the top-k for
 * the edge to be seen; a token that is not among them is outside the support.
 */
export function scoreToken(position: Position, claimed: number, edge: number): TokenScore {
  const { candidates, params, seed, index } = position;
  assert(candidates.ids.length > 0, "a position has at least one candidate");
  if (claimed === drawToken(candidates, params, seed, index)) return agreement;
  const at = indexOf(candidates.ids, claimed);
  if (at < 0) return impossible;
  const { logProbs } = candidates;
  if (params.temperature === 0) {
    return { margin: Math.max(0, (logProbs[0] ?? 0) - (logProbs[at] ?? 0)), agrees: false };
  }
  const support = new Support(candidates, params, edge);
  if (!support.mayKeep(at)) return impossible;
  const z = (i: number): number =>
    (logProbs[i] ?? -Infinity) + params.temperature * gumbel(seed, index, candidates.ids[i] ?? 0);
  let best = z(at);
  const claimedZ = best;
  for (let i = 0; i < support.top; i++) {
    const score = z(i);
    // Only a higher score can change the answer, and the edge is the dearer question.
    if (score > best && support.mustKeep(i)) best = score;
  }
  return { margin: best - claimedZ, agrees: false };
}

function indexOf(ids: ArrayLike<number>, id: number): number {
  for (let i = 0; i < ids.length; i++) if (ids[i] === id) return i;
  return -1;
}

/** Which candidates a machine that differs by at most `edge` may or must keep. */
class Support {
  /** Length of the exact top-k. */
  readonly top: number;
  readonly #logProbs: ArrayLike<number>;
  readonly #params: DrawParams;
  readonly #edge: number;
  /** before[i] = mass of the first i of the top-k, as a share of the top-k's mass. */
  readonly #before: Float64Array;

  constructor(candidates: Candidates, params: DrawParams, edge: number) {
    this.top = Math.min(params.topK, candidates.ids.length);
    this.#logProbs = candidates.logProbs;
    this.#params = params;
    this.#edge = edge;
    const before = new Float64Array(this.top + 1);
    const first = candidates.logProbs[0] ?? 0;
    for (let i = 0; i < this.top; i++) {
      const weight = Math.exp(((candidates.logProbs[i] ?? -Infinity) - first) / params.temperature);
      before[i + 1] = (before[i] ?? 0) + weight;
    }
    const total = before[this.top] ?? 1;
    for (let i = 0; i <= this.top; i++) before[i] = (before[i] ?? 0) / total;
    this.#before = before;
  }

  /** How many candidates have a log-probability above `level`; they are sorted, falling. */
  #above(level: number): number {
    let low = 0;
    let high = this.#logProbs.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#logProbs[middle] ?? -Infinity) > level) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** How far the mass of the first `count` lies above topP: a difference of log-odds; -Infinity for none. */
  #beyond(count: number): number {
    const { topP } = this.#params;
    if (topP >= 1 || count === 0) return -Infinity;
    const mass = this.#before[Math.min(count, this.top)] ?? 1;
    if (mass >= 1) return Infinity;
    return Math.log(mass / (1 - mass)) - Math.log(topP / (1 - topP));
  }

  /** Kept by some admissible machine: few enough tokens are surely in front of it. */
  mayKeep(at: number): boolean {
    const level = this.#logProbs[at] ?? -Infinity;
    const ahead = Math.min(at, this.#above(level + this.#edge));
    if (ahead >= this.#params.topK) return false;
    const beyond = this.#beyond(ahead);
    // Infinitely far beyond stays beyond, however small the temperature.
    return beyond !== Infinity && beyond <= this.#edge / this.#params.temperature;
  }

  /** Kept by every admissible machine: few enough tokens can get in front of it. */
  mustKeep(at: number): boolean {
    const level = this.#logProbs[at] ?? -Infinity;
    const ahead = Math.max(at, this.#above(level - this.#edge) - 1);
    if (ahead >= this.#params.topK) return false;
    const beyond = this.#beyond(ahead);
    // Nothing in front of it: kept, also where the temperature is so small that the edge is infinite.
    return beyond === -Infinity || beyond < -this.#edge / this.#params.temperature;
  }
}
