/** Step 2 of the pair path: a tag and a seed for each admitted input. */
import type { KeyObject } from "node:crypto";
import { assert } from "../base/assert.ts";
import { deriveKey, hmacOf } from "../base/hash.ts";
import { salterOf } from "../format/leaf.ts";
import { epochMax, makeTag, tagEpoch, type Tag } from "../format/tag.ts";

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

/** The salt of a pair's digests (format/leaf.ts), by its tag. */
export type SaltOf = (tag: Tag) => Buffer;

/** The salts of every epoch of a gateway; the keys of recent epochs are kept. */
export function saltsOf(rootKey: KeyObject): SaltOf {
  const salters = new Map<number, SaltOf>();
  return (tag) => {
    const epoch = tagEpoch(tag);
    let salter = salters.get(epoch);
    if (salter === undefined) {
      // A ring rarely spans more boots than this.
      if (salters.size >= 64) salters.clear();
      salter = salterOf(epochKeyOf(rootKey, epoch));
      salters.set(epoch, salter);
    }
    return salter(tag);
  };
}

export class Tagger {
  readonly epoch: number;
  /** The law of `seedOf` (format/noise.ts). */
  readonly #hmac: (message: Uint8Array) => Buffer;
  /** Salts of this epoch's pairs. */
  readonly saltOf: SaltOf;
  readonly #message = Buffer.alloc(8);
  #counter = 0;

  constructor(epoch: number, epochKey: KeyObject) {
    this.epoch = epoch;
    this.#hmac = hmacOf(epochKey, 8);
    this.saltOf = salterOf(epochKey);
  }

  /** The next tag, strictly above every earlier one, and its seed. */
  next(): { tag: Tag; seed: bigint } {
    this.#counter++;
    const tag = makeTag(this.epoch, this.#counter);
    this.#message.writeBigUInt64BE(tag);
    return { tag, seed: this.#hmac(this.#message).readBigUInt64BE(0) };
  }
}
