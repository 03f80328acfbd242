/**
 * Likelihood ratios of a server that draws at another temperature, needing no seed: for each lambda
 * of `tempers`, the law q^(1-lambda)/Z against the reference's own q, Z = sum over v of q(v)^(1-lambda).
 *
 *   log ratio of a token x = ln( q(x)^(1-lambda) / Z / q(x) ) = lambda * (-ln q(x)) - ln Z
 *
 * Its conditional expectation under the reference is exactly 1, whatever came before: given the text
 * so far x is drawn from q, so E[ratio] = sum over v of q(v) q(v)^(-lambda) / Z = Z / Z = 1. Hence the
 * product over tokens is an e-value, and over pairs a martingale. It rises when tokens are on average
 * more surprising than the reference's own entropy (lambda > 0: hotter, other weights, corrupted
 * sampling) or less (lambda < 0: colder, narrower top-p, degenerate text). In the seeded laws q is the
 * law of x because the seed is the gateway's and looks random to everyone else.
 *
 * A token outside the support, and any other token at T = 0, has q = 0 and counts as ratio 1: under the
 * reference it does not occur, so the expectation stays 1; it is a finding of its own.
 */
import type { Detector } from "../detector.ts";
import { tempers } from "../facts.ts";

export const surprise: Detector = {
  id: "surprise",
  title: "whether the text is as surprising as the model's own",
  source:
    "Wald's likelihood ratio against tempered q; surprise minus entropy as in arXiv 2511.20621 (cross-entropy)",
  kind: "ratios",
  alternatives: tempers.length,
  needsSeed: false,
  evidence({ tokens }) {
    const logs = tempers.map((lambda, j) => {
      let sum = 0;
      for (const { surprise: nats, logMoments } of tokens) {
        if (nats !== Infinity) sum += lambda * nats - (logMoments[j] ?? 0);
      }
      return sum;
    });
    return { kind: "ratios", logs };
  },
};
