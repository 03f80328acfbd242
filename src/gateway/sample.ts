/**
 * The coin of a pair: kept with probability epsilon, drawn only after the pair's leaf is in the log,
 * from the tested OS generator. Trust: who can predict it can choose which pairs to fake.
 * (The joint draw of both parties' secrets replaces `draw`; the order of events stays.)
 */
import { InvalidError } from "../base/assert.ts";
import type { RandomSource } from "../base/random.ts";

const scale = 2 ** 53;

export class Sampler {
  /** The epsilon that the gateway was started with. */
  readonly own: number;
  /** What orders ask for at least. */
  floor = 0;
  readonly #random: RandomSource;
  readonly #bytes = Buffer.alloc(8);

  /** `epsilon` is a probability in [0, 1]. */
  constructor(epsilon: number, random: RandomSource) {
    if (!(epsilon >= 0 && epsilon <= 1)) {
      throw new InvalidError("sample.epsilon", `epsilon must be from 0 to 1, not ${epsilon}`);
    }
    this.own = epsilon;
    this.#random = random;
  }

  /** The epsilon in force. */
  get epsilon(): number {
    return Math.max(this.own, this.floor);
  }

  /** `count` coins from one call of the generator. */
  draw(count: number): boolean[] {
    const bytes = Buffer.alloc(8 * count);
    if (count > 0) this.#random.fill(bytes);
    return Array.from({ length: count }, (_, i) => this.#keeps(bytes.readBigUInt64BE(8 * i)));
  }

  /** True: the pair goes to the recomputer. 53 random bits, so epsilon is met to 2^-53. */
  keep(): boolean {
    this.#random.fill(this.#bytes);
    return this.#keeps(this.#bytes.readBigUInt64BE(0));
  }

  #keeps(bits: bigint): boolean {
    return Number(bits >> 11n) < this.epsilon * scale;
  }
}
