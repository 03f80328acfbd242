/**
 * The coin of a pair: kept with probability epsilon, drawn only after the pair's leaf is in the log. In a round of the
 * joint draw (spec/draw.md) the coin follows from three committed secrets and the tag, so it is the same whenever it is
 * drawn; without parties it comes from the tested OS generator.
 * Trust: who can predict it can choose which pairs to fake.
 */
import { InvalidError } from "../base/assert.ts";
import type { RandomSource } from "../base/random.ts";
import { epsilonOf } from "../format/draw.ts";
import type { Tag } from "../format/tag.ts";
import { keepsPair, type Rounds } from "./rounds.ts";

const scale = 2 ** 53;

/** A pair whose leaf stands in the log. */
export interface DrawnPair {
  readonly tag: Tag;
  readonly index: bigint;
}

export class Sampler {
  /** The epsilon that the gateway was started with. */
  readonly own: number;
  /** What orders ask for at least. */
  floor = 0;
  /** Rounds of the joint draw; null where the gateway draws alone. */
  rounds: Rounds | null = null;
  readonly #random: RandomSource;

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

  /** The coins of these pairs, from one call of the generator at most. True: the pair goes to the recomputer. */
  draw(pairs: readonly DrawnPair[]): boolean[] {
    const bytes = Buffer.alloc(8 * pairs.length);
    if (pairs.length > 0) this.#random.fill(bytes);
    return pairs.map((pair, i) => this.#keeps(pair, bytes.readBigUInt64BE(8 * i)));
  }

  keep(tag: Tag, index: bigint): boolean {
    return this.draw([{ tag, index }])[0] === true;
  }

  /**
   * `bits` are the local coin's: 53 of them, so epsilon is met to 2^-53. In a round they only add what an order asks
   * for beyond the round's epsilon, until the next round has it: more than the round's coins say is never a lie.
   */
  #keeps({ tag, index }: DrawnPair, bits: bigint): boolean {
    const round = this.rounds?.at(index) ?? null;
    if (round === null) return Number(bits >> 11n) < this.epsilon * scale;
    if (keepsPair(round, tag)) return true;
    const agreed = epsilonOf(round.threshold);
    if (this.epsilon <= agreed) return false;
    return Number(bits >> 11n) < ((this.epsilon - agreed) / (1 - agreed)) * scale;
  }
}
