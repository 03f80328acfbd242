/**
 * What a detector is. A detector looks at one audited pair, already compared with the reference
 * token by token, and states its evidence in one of two forms that a bet can be placed on:
 *
 * - `bounded`: a number in [0, 1] whose mean over honest pairs does not exceed `nullMean` of the
 *   calibration profile, whatever came before. Larger means more suspicious.
 * - `ratios`: natural logs of e-values, one per alternative: under an honest server each has a
 *   conditional expectation of at most exp(slack per token x tokens), slack from the profile.
 *
 * One bet per pair, so that dependence between the tokens of a pair does no harm.
 * To add one: write `detectors/NAME.ts`, add it to `detectors/index.ts`, calibrate again (docs/RESEARCH.md).
 */
import type { TokenFacts } from "./facts.ts";

/** One audited pair, compared token by token with the reference. */
export interface ScoredPair {
  readonly tokens: readonly TokenFacts[];
}

export type PairEvidence =
  | { readonly kind: "bounded"; readonly value: number }
  | { readonly kind: "ratios"; readonly logs: readonly number[] };

export interface Detector {
  /** Stable, as profiles and stored evidence name it: `margin`. */
  readonly id: string;
  /** For people: what it looks at, in a few words. */
  readonly title: string;
  /** Paper or specification of the score. */
  readonly source: string;
  readonly kind: PairEvidence["kind"];
  /** How many alternatives a `ratios` detector states; 1 for `bounded`. */
  readonly alternatives: number;
  /** Whether it needs to know the server's randomness. */
  readonly needsSeed: boolean;
  /** Evidence of a pair of at least one token. `sigma`: nats of logit noise, from the profile. */
  evidence(pair: ScoredPair, scale: DetectorScale): PairEvidence;
}

/** What calibration tells all detectors of a model and engine pair. */
export interface DetectorScale {
  /** Margins are clipped here; nats. */
  readonly clip: number;
  /** Standard deviation of honest logit noise between server and reference; nats. Never 0. */
  readonly sigma: number;
}
