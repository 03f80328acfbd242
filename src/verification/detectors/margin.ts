/**
 * Mean of the margins, clipped: how far the claimed tokens lie from the reference's, in nats of logit.
 *
 *   value = min(1, mean over tokens of min(m, clip) / 0.02)
 *
 * Full at 0.02 nats: twice the mean of Q4_0 weights at T = 1 on the models tried (0.0104), twenty times
 * the floor that honest machines are granted (0.001, spec/verdict.md section 5).
 */
import type { Detector } from "../detector.ts";
import { saturated } from "./bounded.ts";

const full = 0.02;

export const margin: Detector = {
  id: "margin",
  title: "how far the tokens lie from the recomputed draw",
  source: "Token-DiFR, arXiv 2511.20621, section 4.2 (post-Gumbel margin, clipped)",
  kind: "bounded",
  alternatives: 1,
  needsSeed: true,
  evidence: (pair, { clip }) => saturated(pair, full, (token) => Math.min(token.margin, clip)),
};
