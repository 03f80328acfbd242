/** Step 5: facts about each token, under the parameters and the seed that the leaf commits to. */
import { assert } from "../base/assert.ts";
import type { Candidates } from "../format/noise.ts";
import { tokenFacts, type TokenFacts } from "../verification/facts.ts";
import { lawOf, positionOf } from "../verification/laws/index.ts";
import type { OpenedPair } from "./checks.ts";

/** Compares each output token of `pair` with the replayed `positions`. `edge`: nats, of the profile. */
export function scorePair(
  pair: OpenedPair,
  positions: readonly Candidates[],
  edge: number,
): TokenFacts[] {
  const { params } = pair.input;
  const { tokenIds, promptIds } = pair.output;
  const { seed } = pair.leaf;
  const law = lawOf(pair.entry.noiseLaw);
  assert(positions.length === tokenIds.length, "there is one position per output token");
  return positions.map((candidates, i) => {
    const index = positionOf(law, promptIds.length, i);
    return tokenFacts(law, { candidates, params, seed, index }, tokenIds[i] ?? 0, edge);
  });
}
