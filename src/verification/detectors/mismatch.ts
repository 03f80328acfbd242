/**
 * Share of tokens that are not the recomputed draw.
 *
 *   value = min(1, share / 0.2)
 *
 * Full at 20%: above what requantised weights and a temperature off by a tenth give (3 to 7%), below
 * another seed (27 to 56%).
 */
import type { Detector } from "../detector.ts";
import { saturated } from "./bounded.ts";

const full = 0.2;

export const mismatch: Detector = {
  id: "mismatch",
  title: "share of tokens that differ from the recomputed draw",
  source: "Token-DiFR, arXiv 2511.20621 (exact match)",
  kind: "bounded",
  alternatives: 1,
  needsSeed: true,
  evidence: (pair) => saturated(pair, full, (token) => (token.agrees ? 0 : 1)),
};
