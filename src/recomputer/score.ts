/** Step 5: one score per token, under the parameters and the seed that the leaf commits to. */
import { assert } from "../base/assert.ts";
import type { Candidates } from "../format/noise.ts";
import { scoreToken, type TokenScore } from "../verification/margin.ts";
import type { OpenedPair } from "./checks.ts";

/** Scores each output token of `pair` against the replayed `positions`, one per token. */
export function scorePair(pair: OpenedPair, positions: readonly Candidates[]): TokenScore[] {
  const { params } = pair.input;
  const { tokenIds } = pair.output;
  const { edge } = pair.entry.calibration;
  assert(positions.length === tokenIds.length, "there is one position per output token");
  return positions.map((candidates, index) =>
    scoreToken({ candidates, params, seed: pair.leaf.seed, index }, tokenIds[index] ?? 0, edge),
  );
}
