/**
 * Randomness of an attack, from a seed, so that a run can be repeated: Philox4x32-10 in counter mode.
 * Not for secrets.
 */
import { philox4x32 } from "../format/noise.ts";

export class Dice {
  readonly #words = new Uint32Array(4);
  readonly #key0: number;
  readonly #key1: number;
  #counter = 0;
  #left = 0;

  /** Dice of different seeds are independent. */
  constructor(seed: bigint) {
    this.#key0 = Number((seed >> 32n) & 0xffff_ffffn);
    this.#key1 = Number(seed & 0xffff_ffffn);
  }

  /** A uniform whole number below 2^32. */
  word(): number {
    if (this.#left === 0) {
      philox4x32(this.#words, this.#counter++, 0, 0, 0x77656972, this.#key0, this.#key1);
      this.#left = 4;
    }
    return this.#words[--this.#left] ?? 0;
  }

  /** A uniform number in (0, 1). */
  uniform(): number {
    return (this.word() + 0.5) / 2 ** 32;
  }

  /** A uniform 64-bit number: a seed. */
  seed(): bigint {
    return (BigInt(this.word()) << 32n) | BigInt(this.word());
  }

  /** A standard normal number (Box, Muller 1958). */
  normal(): number {
    return Math.sqrt(-2 * Math.log(this.uniform())) * Math.cos(2 * Math.PI * this.uniform());
  }
}

/** A 32-bit hash of two 32-bit numbers under a key: for keyed parities and shares, not for secrets. */
export function hash32(key: number, a: number, b = 0): number {
  const out = new Uint32Array(4);
  philox4x32(out, a, b, 0, 0x68617368, key, 0);
  return out[0] ?? 0;
}
