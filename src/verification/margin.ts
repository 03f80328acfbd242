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
import { Support } from "./support.ts";

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
