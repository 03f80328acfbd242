/**
 * Inverse-CDF draws (llama.cpp's dist sampler): the token is the first whose cumulative probability,
 * in falling order of logit, reaches u. Weights are float32 and their sums double, as llama.cpp has
 * them, so a reference with the same logits draws the same token.
 *
 * The margin is the distance in log-odds, times T, from u to the claimed token's interval of
 * cumulative probability. Unit: nats of logit, as for Gumbel laws, and with the same promise: if every
 * logit of a machine is within d of ours, the log-odds of any cumulative probability are within 2d/T
 * of ours, so an honest margin is at most 2d. (A distance in probability, as in IPT of arXiv
 * 2511.02620, has no such bound that holds at all temperatures; `interval` keeps it for the IPT score.)
 *
 * The edge (spec/verdict.md section 2): tokens whose logits are within `edge` may stand in either
 * order, so the claimed token's interval is the hull over all of them; and every length of the support
 * that some admissible machine keeps is tried.
 */
import type { Position } from "./facts.ts";
import type { Support } from "./support.ts";

export interface Interval {
  readonly low: number;
  readonly high: number;
  readonly u: number;
}

/** Smallest u that a log-odds is taken of: half the smallest that 53 bits give. */
const uMin = 2 ** -54;

export class Cumulative {
  /** sums[i] = mass of the first i candidates, not normalised. */
  readonly #sums: Float64Array;
  readonly #position: Position;

  /** `count`: candidates that matter, in any admissible support. */
  constructor(position: Position, count: number) {
    const { logProbs } = position.candidates;
    const temperature = Math.fround(position.params.temperature);
    const top = Math.fround((logProbs[0] ?? 0) / temperature);
    this.#position = position;
    this.#sums = new Float64Array(count + 1);
    for (let i = 0; i < count; i++) {
      const scaled = Math.fround((logProbs[i] ?? -Infinity) / temperature);
      const weight = Math.fround(Math.exp(Math.fround(scaled - top)));
      this.#sums[i + 1] = (this.#sums[i] ?? 0) + weight;
    }
  }

  /** Mass of the first `count`. */
  #mass(count: number): number {
    return this.#sums[Math.min(count, this.#sums.length - 1)] ?? 0;
  }

  /** Index of the candidate that u draws from the first `kept`. */
  draw(u: number, kept: number): number {
    const target = this.#mass(kept) * u;
    let i = 0;
    while (i < kept - 1 && this.#mass(i + 1) < target) i++;
    return i;
  }

  /** Log-odds of the mass of the first `count` among `kept`; -Infinity for none, Infinity for all. */
  #odds(count: number, kept: number): number {
    const mass = this.#mass(count);
    return Math.log(mass) - Math.log(Math.max(0, this.#mass(kept) - mass));
  }

  /** Margin of a token whose interval lies between the first `from` and the first `to` of `kept`. */
  #margin(u: number, from: number, to: number, kept: number): number {
    const at = Math.max(u, uMin);
    const odds = Math.log(at) - Math.log1p(-at);
    const over = odds - this.#odds(to, kept);
    const under = this.#odds(from, kept) - odds;
    return this.#position.params.temperature * Math.max(0, over, under);
  }

  /** Least margin of the candidate at `at` over all admissible orders and support lengths. */
  score(u: number, at: number, support: Support): { margin: number; interval: Interval } {
    const { from, to } = support.places(at);
    const [shortest, longest] = support.lengths();
    let margin = Infinity;
    let interval = { low: 0, high: 0, u };
    for (let kept = shortest; kept <= longest; kept++) {
      // A token that took the place of the last kept one ends where that one ended.
      const [first, last] = [Math.min(from, kept - 1), Math.min(to, kept)];
      const found = this.#margin(u, first, last, kept);
      if (found >= margin) continue;
      margin = found;
      const total = this.#mass(kept);
      interval = { low: this.#mass(first) / total, high: this.#mass(last) / total, u };
    }
    return { margin, interval };
  }

  /** Margins of all `kept` candidates, had they been claimed, rising. */
  gaps(u: number, kept: number): Float64Array {
    const gaps = new Float64Array(kept);
    for (let i = 0; i < kept; i++) gaps[i] = this.#margin(u, i, i + 1, kept);
    return gaps.sort();
  }
}
