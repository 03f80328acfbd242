/**
 * The secret of one boot: a fresh X25519 key that weights are sealed to, certified by the device key. It is made at
 * power-on, held in memory only, and forgotten with the power cycle.
 *
 * Trust: its thief can read the weights of this boot off the depot's link. It gives him no other boot's.
 */
import type { KeyObject } from "node:crypto";
import { fromHex } from "../base/bytes.ts";
import { generateKeyPair, hpkeReceiver, type HpkeKeyPair } from "../base/hpke.ts";
import type { RandomSource } from "../base/random.ts";
import { publicKeyHex } from "../base/sign.ts";
import { signBootKey, type BootKey } from "../format/boot-key.ts";
import { chunkKeyOf, weightsInfo } from "../format/weights-stream.ts";

export interface BootSecretOptions {
  readonly gateway: string;
  readonly epoch: number;
  readonly boot: number;
  readonly entryDigest: Buffer;
  /** Ed25519, private (identity.ts). */
  readonly deviceKey: KeyObject;
  readonly random: RandomSource;
}

export class BootSecret {
  readonly bootKey: BootKey;
  /** spec/boot-key.md */
  readonly certificate: Buffer;
  readonly #pair: HpkeKeyPair;
  readonly #deviceKey: Uint8Array;

  constructor({ gateway, epoch, boot, entryDigest, deviceKey, random }: BootSecretOptions) {
    this.#pair = generateKeyPair(random);
    this.#deviceKey = fromHex(publicKeyHex(deviceKey), 32);
    this.bootKey = { gateway, epoch, boot, entryDigest, publicKey: this.#pair.publicKey };
    this.certificate = signBootKey(this.bootKey, deviceKey);
  }

  /**
   * The key of the chunks of a stream that begins at chunk `first` of the tree with this root, from the depot's
   * encapsulated key. Throws InvalidError `hpke.key`.
   */
  chunkKey(enc: Uint8Array, root: Uint8Array, first: number): KeyObject {
    const { bootKey } = this;
    const info = weightsInfo({ deviceKey: this.#deviceKey, bootKey, root, first });
    return chunkKeyOf(hpkeReceiver(enc, this.#pair, info));
  }
}
