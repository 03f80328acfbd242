/**
 * Inverse-CDF laws: the inverse-probability-transform score, with the convolved Gaussian of its paper.
 *
 *   CGS(t) = ln( Phi((high - u)/s) - Phi((low - u)/s) + 1e-12 )     (low, high] the claimed interval
 *   best   = ln( 2 Phi((high - low)/2s) - 1 + 1e-12 )               what u in the middle would give
 *   value  = min(1, mean over tokens of min(1, (best - CGS)/5) / 0.1), 0 where u lies inside
 *
 * `best` takes out what the width of the interval alone costs: an honest rare token has a narrow one.
 * s = sigma/2 in probability, at T = 1: independent logit noise of standard deviation sigma moves a
 * cumulative probability F by at most sigma sqrt(F (1 - F)) <= sigma/2. The paper has s = 0.01.
 */
import type { Detector } from "../detector.ts";
import type { TokenFacts } from "../facts.ts";
import { phiBetween } from "../normal.ts";
import { saturated } from "./bounded.ts";

const full = 0.1;
const span = 5;
const least = 1e-12;

function deficit({ interval, margin, agrees }: TokenFacts, s: number): number {
  if (margin === Infinity) return 1;
  if (interval === null || agrees) return 0;
  const { low, high, u } = interval;
  if (low < u && u <= high) return 0;
  const half = (high - low) / (2 * s);
  const best = Math.log(phiBetween(-half, half) + least);
  const score = Math.log(phiBetween((low - u) / s, (high - u) / s) + least);
  return Math.min(1, Math.max(0, best - score) / span);
}

export const interval: Detector = {
  id: "interval",
  title: "how far the random number lies from the claimed token's interval",
  source: "arXiv 2511.02620 (IPT-LS, convolved Gaussian score), centred, with a calibrated sigma",
  kind: "bounded",
  alternatives: 1,
  needsSeed: true,
  evidence: (pair, { sigma }) => saturated(pair, full, (token) => deficit(token, sigma / 2)),
};
