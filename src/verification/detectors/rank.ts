/**
 * How many candidates beat the claimed token, beyond the first: honest rounding makes the two best
 * change places, and hardly ever more; a sampler that picks among the top few goes deeper.
 *
 *   value = min(1, mean over tokens of (1 - 1/max(1, rank)) / 0.05)
 *
 * A rank of 0 or 1 counts nothing, 2 a half, 3 two thirds, outside the support 1.
 */
import type { Detector } from "../detector.ts";
import { saturated } from "./bounded.ts";

const full = 0.05;

export const rank: Detector = {
  id: "rank",
  title: "how many candidates beat a claimed token",
  source: "Token-DiFR, arXiv 2511.20621 (Gumbel rank); the transform is Weir's own",
  kind: "bounded",
  alternatives: 1,
  needsSeed: true,
  evidence: (pair) => saturated(pair, full, (token) => 1 - 1 / Math.max(1, token.rank)),
};
