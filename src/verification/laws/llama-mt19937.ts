/**
 * `llama-mt19937/1`: the `dist` sampler of llama.cpp (src/llama-sampler.cpp, llama_sampler_dist_apply),
 * as node-llama-cpp and llama-server run it on a CPU.
 *
 * - Generator: std::mt19937, seeded with the low 32 bits of the seed (Matsumoto and Nishimura, ACM
 *   TOMACS 8(1), 1998). One std::uniform_real_distribution<double> per draw; in libstdc++ and libc++
 *   that is two words a, b and u = (a + b 2^32) / 2^64, in double precision.
 * - Draw: weights float32 exp(l - l_max) over the candidates, sorted by falling logit; summed in
 *   double; the first candidate whose running sum is >= u x total. (>=, not >,
 *   by its source: no run can tell.)
 * - Chain: top-k, top-p, min-p, then temperature: so top-p measures mass at temperature 1.
 * - Every token draws one number, also where a single candidate is kept: so it is in the release that
 *   is installed here. Later sources return before drawing then (commit 00efb3e); under them this law
 *   holds only while two candidates are kept at every position (top-p 1, top-k at least 2).
 */
import { assert } from "../../base/assert.ts";
import type { InverseCdfLaw } from "../law.ts";

const size = 624;
const middle = 397;

/** The Mersenne Twister MT19937 with std::mt19937's seeding. */
class Mt19937 {
  readonly #state = new Uint32Array(size);
  #at = size;

  constructor(seed: number) {
    this.#state[0] = seed;
    for (let i = 1; i < size; i++) {
      const last = this.#state[i - 1] ?? 0;
      this.#state[i] = Math.imul(1812433253, last ^ (last >>> 30)) + i;
    }
  }

  #twist(): void {
    const state = this.#state;
    for (let i = 0; i < size; i++) {
      const y = ((state[i] ?? 0) & 0x80000000) | ((state[(i + 1) % size] ?? 0) & 0x7fffffff);
      const bit = (y & 1) === 0 ? 0 : 0x9908b0df;
      state[i] = (state[(i + middle) % size] ?? 0) ^ (y >>> 1) ^ bit;
    }
    this.#at = 0;
  }

  /** The next word, from 0 to 2^32 - 1. */
  next(): number {
    if (this.#at === size) this.#twist();
    let y = this.#state[this.#at++] ?? 0;
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    y ^= y >>> 18;
    return y >>> 0;
  }
}

/** As libstdc++ does it: in the one case where rounding would give 1, the double just below. */
function canonical(generator: Mt19937): number {
  const low = generator.next();
  const u = (low + generator.next() * 4294967296) / 18446744073709551616;
  return u < 1 ? u : 1 - Number.EPSILON / 2;
}

/** Draws of one seed are taken in order, so the last generator is kept with what it gave. */
let kept = { seed: -1, generator: new Mt19937(0), given: new Float64Array(256), count: 0 };

/** Positions of a stream are computed from its beginning: bounded, since a claim may name any. */
const positionMax = 1 << 24;

export const llamaMt19937: InverseCdfLaw = {
  family: "inverse-cdf",
  name: "llama-mt19937/1",
  source: "ggml-org/llama.cpp src/llama-sampler.cpp (dist); ISO C++ [rand.predef] mt19937",
  checkedAgainst: "engine",
  counts: "output",
  cut: "before temperature",
  uniform(seed, position) {
    assert(position >= 0 && position < positionMax, "a position within the stream");
    const word = Number(seed & 0xffffffffn);
    if (word !== kept.seed) {
      kept = { seed: word, generator: new Mt19937(word), given: kept.given, count: 0 };
    }
    if (position >= kept.given.length) {
      const longer = new Float64Array(2 * position);
      longer.set(kept.given);
      kept.given = longer;
    }
    while (kept.count <= position) kept.given[kept.count++] = canonical(kept.generator);
    return kept.given[position] ?? 0;
  },
};
