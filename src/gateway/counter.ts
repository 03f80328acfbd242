/**
 * The volatile bit counter of the weights path. It starts at zero with each power-on, counts bits
 * forwarded to the server and never lets bit S+1 through.
 */
import { assert, InvalidError } from "../base/assert.ts";

export class BitCounter {
  readonly totalBits: bigint;
  #forwarded = 0n;

  /** `sizeBytes` is S of the whitelist entry, in bytes. */
  constructor(sizeBytes: number) {
    assert(Number.isSafeInteger(sizeBytes) && sizeBytes > 0, "S is a positive size");
    this.totalBits = 8n * BigInt(sizeBytes);
  }

  get forwardedBits(): bigint {
    return this.#forwarded;
  }

  get complete(): boolean {
    return this.#forwarded === this.totalBits;
  }

  /** Counts `bytes` about to be forwarded. Throws InvalidError `upload.too-many-bits` beyond S. */
  count(bytes: number): void {
    const after = this.#forwarded + 8n * BigInt(bytes);
    if (after > this.totalBits) {
      throw new InvalidError(
        "upload.too-many-bits",
        `bit ${this.totalBits + 1n} of ${this.totalBits} was offered`,
      );
    }
    this.#forwarded = after;
  }
}
