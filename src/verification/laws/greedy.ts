/**
 * `greedy`: the most probable token is drawn. At a temperature above 0 it serves as the law of a
 * server whose randomness is unknown: margin and rank then are those of the bare logits.
 */
import type { GreedyLaw } from "../law.ts";

export const greedy: GreedyLaw = {
  family: "greedy",
  name: "greedy",
  source: "argmax of the logits; ties by the lower id (spec/noise-law.md, Support)",
  checkedAgainst: "engine",
  counts: "output",
  cut: "after temperature",
};
