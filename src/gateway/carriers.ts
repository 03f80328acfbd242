/**
 * Counts what leaves beside the tokens (format/carriers.ts): by the release ticks that only a gateway
 * sees. It counts signs, whoever's choice they were; what they may have told is not for it to say.
 */
import { noCarriers, type CarrierCounts } from "../format/carriers.ts";
import type { OpenPair } from "./open-pair.ts";

export class Carriers {
  readonly #whole: boolean;
  readonly #counts = { ...noCarriers } as { -readonly [K in keyof CarrierCounts]: number };

  /** `whole`: each reply leaves at one tick, and has one place for ticks to pass. */
  constructor(whole: boolean) {
    this.#whole = whole;
  }

  /** Something of a pair leaves at this tick: its admission when it is the first, and bytes of text. */
  sign(pair: OpenPair, tick: number, bytes: number): void {
    const counts = this.#counts;
    counts.ticks += Math.max(0, tick - pair.signTick);
    pair.signTick = Math.max(pair.signTick, tick);
    if (!this.#whole) counts.places += bytes + (pair.announced ? 0 : 2);
    else if (!pair.announced) counts.places += 1;
  }

  /** It is over, with all of its text that ever leaves. */
  over({ over, assembler, released }: OpenPair): void {
    if (over === null) return;
    const counts = this.#counts;
    const tokens = assembler.tokenCount;
    counts.pairs++;
    counts.tokens += tokens;
    if (over.abort !== null) {
      counts.failed++;
      counts.failedBytes += released;
    } else if (over.finish !== "cut-off") {
      counts.ended++;
      counts.endedTokens += tokens;
    }
  }

  /** All since the start; `ms`: how long that is. */
  counts(ms: number): CarrierCounts {
    return { ...this.#counts, ms: Math.round(ms) };
  }
}
