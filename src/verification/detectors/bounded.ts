/** What the bounded detectors share: averaging over the tokens of a pair, and saturation. */
import type { PairEvidence, ScoredPair } from "../detector.ts";
import type { TokenFacts } from "../facts.ts";

/**
 * min(1, mean over tokens of `score` / `full`), score >= 0. `full` is the mean at which a pair says all
 * it can. Bets grow with (mean of a cheat) / (mean of honest pairs): dividing both by `full` changes
 * nothing, cutting at 1 costs power only against cheats whose pairs exceed it, and those are caught
 * within a few pairs anyway. A small `full` keeps one wild honest pair from costing more than the
 * profile's confidence bound on the mean of a variable in [0, 1] allows for: its width is `full` wide.
 */
export function saturated(
  pair: ScoredPair,
  full: number,
  score: (token: TokenFacts) => number,
): PairEvidence {
  let sum = 0;
  for (const token of pair.tokens) sum += score(token);
  return { kind: "bounded", value: Math.min(1, sum / (full * pair.tokens.length)) };
}
