/**
 * `gumbel-philox/1`, Weir's own law: spec/noise-law.md and src/format/noise.ts, of which this is the
 * face towards the scores.
 */
import { gumbelOf, noiseLaw } from "../../format/noise.ts";
import type { GumbelLaw } from "../law.ts";

// Splitting a BigInt costs as much as a Philox block, and one seed serves thousands of draws.
let split = { seed: 0n, high: 0, low: 0 };

export const gumbelPhilox: GumbelLaw = {
  family: "gumbel",
  name: noiseLaw,
  source: "spec/noise-law.md; Salmon et al., SC 2011 (Philox4x32-10)",
  checkedAgainst: "engine",
  counts: "output",
  cut: "after temperature",
  column: "id",
  noise(seed, position, token) {
    if (seed !== split.seed) {
      split = { seed, high: Number(seed >> 32n), low: Number(seed & 0xffffffffn) };
    }
    return gumbelOf(split.high, split.low, position, token);
  },
};
