/**
 * Noise laws: how an engine turns a seed, a position and (for Gumbel laws) a token into randomness,
 * so that anybody can draw the token again. One file per law in `laws/`; `laws/index.ts` lists them.
 *
 * - Gumbel laws draw argmax over the kept support of logit/T + noise(seed, position, token).
 * - Inverse-CDF laws draw the first token, in falling order of logit, whose cumulative probability
 *   reaches uniform(seed, position).
 * - Greedy needs no randomness.
 */

interface LawBase {
  /** As whitelist entries name it: `gumbel-philox/1`. */
  readonly name: string;
  /** Paper, specification or source file that defines it. */
  readonly source: string;
  /** Against what its vectors were checked: the engine itself, or only its published source. */
  readonly checkedAgainst: "engine" | "published source" | "known answers";
  /**
   * What a position counts: `output` tokens from 0, or the index in the whole sequence of the token
   * `fed` last (prompt tokens - 1 for the first output token). See `positionOf` in laws/index.ts.
   */
  readonly counts: "output" | "fed";
  /** Whether top-p measures the mass after dividing by the temperature, or before. */
  readonly cut: "after temperature" | "before temperature";
}

export interface GumbelLaw extends LawBase {
  readonly family: "gumbel";
  /** What the noise is bound to: the token's `id`, or its `rank` among the candidates (from 0). */
  readonly column: "id" | "rank";
  /** Gumbel noise at `position` of a token: of its id or of its rank, as `column` says. */
  noise(seed: bigint, position: number, token: number): number;
}

export interface InverseCdfLaw extends LawBase {
  readonly family: "inverse-cdf";
  /** The uniform number in [0, 1) that draws `position`. */
  uniform(seed: bigint, position: number): number;
}

export interface GreedyLaw extends LawBase {
  readonly family: "greedy";
}

export type NoiseLaw = GumbelLaw | InverseCdfLaw | GreedyLaw;
