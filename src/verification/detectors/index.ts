/** All detectors. To add one: a file here, a line below, calibrate again. */
import type { Detector } from "../detector.ts";
import type { NoiseLaw } from "../law.ts";
import { gls } from "./gls.ts";
import { interval } from "./interval.ts";
import { margin } from "./margin.ts";
import { mismatch } from "./mismatch.ts";
import { rank } from "./rank.ts";
import { surprise } from "./surprise.ts";
import { tail } from "./tail.ts";

export const detectors: readonly Detector[] = [
  margin,
  mismatch,
  rank,
  tail,
  gls,
  surprise,
  interval,
];

/**
 * Those that say something under a law: `interval` under inverse-CDF laws only; under a greedy law
 * `surprise` has nothing to weigh. The order is fixed.
 */
export function detectorsFor(law: NoiseLaw): readonly Detector[] {
  return detectors.filter(({ id }) => {
    if (id === "interval") return law.family === "inverse-cdf";
    return id !== "surprise" || law.family !== "greedy";
  });
}

/** Measured, scored and calibrated like the rest, and found nothing sooner than the others. */
const idle: ReadonlySet<string> = new Set(["margin", "mismatch", "rank"]);

/**
 * Those that bet: each takes a share of the capital, so each must find something sooner than the
 * others do (the ablations of docs/PERFORMANCE.md section 4). Under a gumbel law, whose noise is known
 * from the seed, `surprise` finds nothing that `tail` and `gls` have not found; it is what is left where
 * nobody owns the seed.
 */
export function betting(law: NoiseLaw): readonly Detector[] {
  return detectorsFor(law).filter(
    ({ id, needsSeed }) => !idle.has(id) && (needsSeed || law.family !== "gumbel"),
  );
}
