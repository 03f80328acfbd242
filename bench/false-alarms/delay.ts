/** How long it takes to catch a simulated cheat at a fleet's threshold. */
import { fleetBudget } from "../../src/verification/fleet.ts";
import { seededUniform } from "../../src/verification/seeded.ts";
import {
  addPair,
  emptyEvidence,
  logChange,
  logE,
  type EvidenceState,
} from "../../src/verification/sequential.ts";
import { meanMargin, nullMean, shareFor } from "./streams.ts";

/** What one token of a cheat does: off with probability `share`, by `mean` over all tokens (0 to 1). */
export interface Cheat {
  readonly name: string;
  readonly share: number;
  readonly mean: number;
  readonly nullMean: number;
}

const tight = 0.0002;

/** The first four are shaped after a trial on one small model: shares and means of clipped margins. */
export const cheats: readonly Cheat[] = [
  { name: "like Q4_0: 5.65% of tokens off", share: 0.0565, mean: 0.0208, nullMean },
  { name: "like temperature 1.1: 6.85% off", share: 0.0685, mean: 0.0172, nullMean },
  { name: "like Q8_0: 0.85% off", share: 0.0085, mean: 0.0014, nullMean },
  { name: "like Q8_0, null mean a tenth", share: 0.0085, mean: 0.0014, nullMean: tight },
  { name: "4 x the null", share: shareFor(4 * nullMean, 0.3), mean: 4 * nullMean, nullMean },
  { name: "2 x the null", share: shareFor(2 * nullMean, 0.3), mean: 2 * nullMean, nullMean },
  { name: "1.5 x the null", share: shareFor(1.5 * nullMean, 0.3), mean: 1.5 * nullMean, nullMean },
];

export const fleet = { servers: 250_000, alpha: 0.01, years: 10, pairsPerYear: 30_000 };
export const tokensPerPair = 64;
const pairsMax = 5000;
const detectors = ["a", "b", "c", "d", "e", "margin"].map((id) => ({
  id,
  kind: "bounded" as const,
  alternatives: 1,
}));

/** The parameter of a clipped exponential that has this mean; NaN if there is none. */
export function sizeFor(mean: number): number {
  let [low, high] = [0, 1e6];
  for (let i = 0; i < 200; i++) {
    const middle = (low + high) / 2;
    if (middle * -Math.expm1(-1 / middle) < mean) low = middle;
    else high = middle;
  }
  return low;
}

export function quantile(values: readonly number[], p: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.ceil(p * sorted.length) - 1] ?? NaN;
}

function addMargin(state: EvidenceState, value: number, mean: number): EvidenceState {
  const evidence = [{ id: "margin", evidence: { kind: "bounded", value } as const }];
  return addPair(state, evidence, tokensPerPair, [{ id: "margin", nullMean: mean }]);
}

/** Evidence after `pairs` honest pairs at half of the null mean. */
function past(uniform: () => number, pairs: number, mean: number): EvidenceState {
  const share = shareFor(mean / 2, 0.3);
  let state = emptyEvidence(detectors);
  for (let i = 0; i < pairs; i++) {
    state = addMargin(state, meanMargin(uniform, tokensPerPair, share, 0.3), mean);
  }
  return state;
}

function pairsUntil(
  from: EvidenceState,
  cheat: Cheat,
  uniform: () => number,
  threshold: number,
): number {
  const size = sizeFor(cheat.mean / cheat.share);
  let state = from;
  for (let at = 1; at <= pairsMax; at++) {
    const value = meanMargin(uniform, tokensPerPair, cheat.share, size);
    state = addMargin(state, value, cheat.nullMean);
    if (Math.max(logE(state), logChange(state)) >= threshold) return at;
  }
  return Infinity;
}

/** Pairs and tokens until either account crosses, from the start and after `honestPairs`. */
export function simulateDelay(seed: number, runs: number, honestPairs: number): object[] {
  const threshold = fleetBudget(fleet).logE;
  const starts = [0, honestPairs].flatMap((before) =>
    [nullMean, tight].map((mean) => ({
      before,
      mean,
      states: Array.from({ length: runs }, (_, run) =>
        past(seededUniform(seed + 7919 * run), before, mean),
      ),
    })),
  );
  return cheats.flatMap((cheat, i) =>
    starts
      .filter(({ mean }) => mean === cheat.nullMean)
      .map(({ before, states }) => {
        const delays = states.map((state, run) =>
          pairsUntil(state, cheat, seededUniform(seed + 104_729 * run + i), threshold),
        );
        return {
          cheat: cheat.name,
          "null mean": cheat.nullMean,
          mean: cheat.mean,
          "honest pairs before": before,
          caught: delays.filter((delay) => delay < Infinity).length / runs,
          "pairs, median": quantile(delays, 0.5),
          "pairs, 90%": quantile(delays, 0.9),
          "tokens, median": quantile(delays, 0.5) * tokensPerPair,
          "tokens, 90%": quantile(delays, 0.9) * tokensPerPair,
        };
      }),
  );
}
