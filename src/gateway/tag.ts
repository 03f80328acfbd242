/** Step 2 of the pair path: a tag and a seed for each admitted input. */
import type { KeyObject } from "node:crypto";
import { assert } from "../base/assert.ts";
import { deriveKey, hmacOf } from "../base/hash.ts";
import { epochMax, makeTag, type Tag } from "../format/tag.ts";

/**
 * The epoch key: HKDF of the device's root key, so that pairs of an earlier epoch can still be
 * proved after a restart. Trust: a thief of it knows every seed of the epoch, and with it the
 * noise of every token; it gains no text and no coin.
 */
export function epochKeyOf(rootKey: KeyObject, epoch: number): KeyObject {
  assert(epoch >= 1 && epoch <= epochMax, "epochs are counted from 1");
  const salt = Buffer.alloc(4);
  salt.writeUInt32BE(epoch);
  return deriveKey(rootKey, salt, "weir epoch key/1");
}

export class Tagger {
  readonly epoch: number;
  /** The law of `seedOf` (format/noise.ts). */
  readonly #hmac: (message: Uint8Array) => Buffer;
  readonly #message = Buffer.alloc(8);
  #counter = 0;

  constructor(epoch: number, epochKey: KeyObject) {
    this.epoch = epoch;
    this.#hmac = hmacOf(epochKey, 8);
  }

  /** The next tag, strictly above every earlier one, and its seed. */
  next(): { tag: Tag; seed: bigint } {
    this.#counter++;
    const tag = makeTag(this.epoch, this.#counter);
    this.#message.writeBigUInt64BE(tag);
    return { tag, seed: this.#hmac(this.#message).readBigUInt64BE(0) };
  }
}
