/**
 * The reference's own distribution q at one position: what top-k and top-p keep at this temperature,
 * renormalised, with its entropy and the moments that tempering tests need.
 */
import { supportSize, type DrawParams } from "../format/noise.ts";
import type { NoiseLaw } from "./law.ts";
import type { Position } from "./facts.ts";

export interface Distribution {
  /** Candidates kept by the exact cut. */
  readonly kept: number;
  /** Sum of exp((l - l_max)/T) over the kept. */
  readonly total: number;
  /** Nats. */
  readonly entropy: number;
  /** ln of the sum over v of q(v)^(1 - lambda), lambda = -0.5 -0.2 -0.1 -0.05 0.05 0.1 0.2 0.5. */
  readonly logMoments: readonly number[];
}

/** The parameters that decide the cut: a law that cuts before temperature measures mass at T = 1. */
export function cutParams(law: NoiseLaw, params: DrawParams): DrawParams {
  const before = law.cut === "before temperature" && params.temperature > 0;
  return before ? { ...params, temperature: 1 } : params;
}

let weights = new Float64Array(256);

/** q at temperature 0: all of it on the first candidate. */
function certain(): Distribution {
  return { kept: 1, total: 1, entropy: 0, logMoments: [0, 0, 0, 0, 0, 0, 0, 0] };
}

/** Computes q. One pass for the weights, one for the sums; two exponentials per kept candidate. */
export function distributionOf(law: NoiseLaw, position: Position): Distribution {
  const { candidates, params } = position;
  if (params.temperature === 0) return certain();
  const { logProbs } = candidates;
  const kept = supportSize(candidates, cutParams(law, params));
  if (weights.length < kept) weights = new Float64Array(2 * kept);
  const top = logProbs[0] ?? 0;
  let total = 0;
  for (let i = 0; i < kept; i++) {
    const weight = Math.exp(((logProbs[i] ?? -Infinity) - top) / params.temperature);
    weights[i] = weight;
    total += weight;
  }
  return { kept, total, ...momentsOf(logProbs, params.temperature, kept, total) };
}

/**
 * Entropy and moments: each q^(1 - lambda) is a product of q and powers of q^0.05. Sums stand in
 * variables of their own because this runs for every audited token.
 */
function momentsOf(
  logProbs: ArrayLike<number>,
  temperature: number,
  kept: number,
  total: number,
): Pick<Distribution, "entropy" | "logMoments"> {
  const top = logProbs[0] ?? 0;
  const logTotal = Math.log(total);
  let entropy = 0;
  let [cold50, cold20, cold10, cold5] = [0, 0, 0, 0];
  let [hot5, hot10, hot20, hot50] = [0, 0, 0, 0];
  for (let i = 0; i < kept; i++) {
    const q = (weights[i] ?? 0) / total;
    // Underflowed: it adds less than 1e-150 to any of the sums.
    if (q === 0) continue;
    const log = ((logProbs[i] ?? -Infinity) - top) / temperature - logTotal;
    entropy -= q * log;
    const down = Math.exp(0.05 * log);
    const up = 1 / down;
    const down2 = down * down;
    const down4 = down2 * down2;
    const up2 = up * up;
    const up4 = up2 * up2;
    cold5 += q * down;
    cold10 += q * down2;
    cold20 += q * down4;
    cold50 += q * (down4 * down4 * down2);
    hot5 += q * up;
    hot10 += q * up2;
    hot20 += q * up4;
    hot50 += q * (up4 * up4 * up2);
  }
  // A plain array: typed ones cost several times as much to allocate, and there is one per token.
  const logMoments = [
    Math.log(cold50),
    Math.log(cold20),
    Math.log(cold10),
    Math.log(cold5),
    Math.log(hot5),
    Math.log(hot10),
    Math.log(hot20),
    Math.log(hot50),
  ];
  return { entropy: Math.max(0, entropy), logMoments };
}
