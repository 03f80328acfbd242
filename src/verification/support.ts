/**
 * The support of a draw and its edge, spec/verdict.md section 2: which candidates top-k and top-p
 * keep on every honest machine, and which on some. Candidates are sorted by falling logit.
 */
import type { Candidates, DrawParams } from "../format/noise.ts";

/** Which candidates a machine that differs by at most `edge` may or must keep. */
export class Support {
  /** Length of the exact top-k. */
  readonly top: number;
  readonly #logProbs: ArrayLike<number>;
  readonly #params: DrawParams;
  readonly #edge: number;
  /** before[i] = mass of the first i of the top-k, as a share of the top-k's mass. */
  readonly #before: Float64Array;

  constructor(candidates: Candidates, params: DrawParams, edge: number) {
    this.top = Math.min(params.topK, candidates.ids.length);
    this.#logProbs = candidates.logProbs;
    this.#params = params;
    this.#edge = edge;
    const before = new Float64Array(this.top + 1);
    const first = candidates.logProbs[0] ?? 0;
    for (let i = 0; i < this.top; i++) {
      const weight = Math.exp(((candidates.logProbs[i] ?? -Infinity) - first) / params.temperature);
      before[i + 1] = (before[i] ?? 0) + weight;
    }
    const total = before[this.top] ?? 1;
    for (let i = 0; i <= this.top; i++) before[i] = (before[i] ?? 0) / total;
    this.#before = before;
  }

  /** How many candidates have a log-probability above `level`; they are sorted, falling. */
  #above(level: number): number {
    let low = 0;
    let high = this.#logProbs.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#logProbs[middle] ?? -Infinity) > level) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** How far the mass of the first `count` lies above topP: a difference of log-odds; -Infinity for none. */
  #beyond(count: number): number {
    const { topP } = this.#params;
    if (topP >= 1 || count === 0) return -Infinity;
    const mass = this.#before[Math.min(count, this.top)] ?? 1;
    if (mass >= 1) return Infinity;
    return Math.log(mass / (1 - mass)) - Math.log(topP / (1 - topP));
  }

  /** Kept by some admissible machine: few enough tokens are surely in front of it. */
  mayKeep(at: number): boolean {
    const level = this.#logProbs[at] ?? -Infinity;
    const ahead = Math.min(at, this.#above(level + this.#edge));
    if (ahead >= this.#params.topK) return false;
    const beyond = this.#beyond(ahead);
    // Infinitely far beyond stays beyond, however small the temperature.
    return beyond !== Infinity && beyond <= this.#edge / this.#params.temperature;
  }

  /** Kept by every admissible machine: few enough tokens can get in front of it. */
  mustKeep(at: number): boolean {
    const level = this.#logProbs[at] ?? -Infinity;
    const ahead = Math.max(at, this.#above(level - this.#edge) - 1);
    if (ahead >= this.#params.topK) return false;
    const beyond = this.#beyond(ahead);
    // Nothing in front of it: kept, also where the temperature is so small that the edge is infinite.
    return beyond === -Infinity || beyond < -this.#edge / this.#params.temperature;
  }

  /** Where the candidate may stand: behind at least `from` others, and within the first `to`. */
  places(at: number): { readonly from: number; readonly to: number } {
    const level = this.#logProbs[at] ?? -Infinity;
    return {
      from: Math.min(at, this.#above(level + this.#edge)),
      to: Math.max(at + 1, this.#above(level - this.#edge)),
    };
  }

  /** Fewest and most candidates that admissible machines keep; the exact cut lies between. */
  lengths(): readonly [number, number] {
    let shortest = 1;
    while (shortest < this.top && this.mustKeep(shortest)) shortest++;
    let longest = shortest;
    while (longest < this.top && this.mayKeep(longest)) longest++;
    return [shortest, longest];
  }
}
