/**
 * Gumbel-max likelihood score: how likely honest logit noise of standard deviation sigma, drawn
 * independently for the two tokens, would make the claimed token win.
 *
 *   GLS(t) = ln Phi(-m / (sigma sqrt 2))       m the margin; ln 1/2 where the tokens agree
 *   value  = min(1, mean over tokens of min(1, (ln 1/2 - GLS) / (5 - ln 2)) / 0.1)
 *
 * A token counts in full where GLS reaches -5, the paper's threshold, that is m = 3.494 sigma. sigma is
 * the profile's: at the published default of 1 the score sees nothing below 3.5 nats.
 */
import type { Detector } from "../detector.ts";
import { logPhi } from "../normal.ts";
import { saturated } from "./bounded.ts";

/** Share of tokens far off at which a pair says all it can. */
export const full = 0.1;
const span = 5 - Math.LN2;

export const gls: Detector = {
  id: "gls",
  title: "how unlikely the tokens are under honest rounding",
  source: "arXiv 2511.02620 (GM-LS), with a calibrated sigma",
  kind: "bounded",
  alternatives: 1,
  needsSeed: true,
  evidence: (pair, { sigma }) =>
    saturated(pair, full, ({ margin }) => {
      if (margin === 0) return 0;
      if (margin === Infinity) return 1;
      return Math.min(1, (-Math.LN2 - logPhi(-margin / (sigma * Math.SQRT2))) / span);
    }),
};
