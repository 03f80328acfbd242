/**
 * HPKE (RFC 9180), base mode: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM, with the exporter.
 *
 * Base mode names no sender: who seals is shown by other means, or does not matter. `info` binds a context to its
 * use, and two contexts with different `info` share no key. A context is for one sitting: never stored, never
 * forked. AES-128-GCM is here only because the RFC's first vectors use it.
 */
import {
  createHmac,
  createPrivateKey,
  createPublicKey,
  createSecretKey,
  diffieHellman,
  type KeyObject,
} from "node:crypto";
import { assert, InvalidError } from "./assert.ts";
import { gcmNonceBytes, gcmOpen, gcmSeal, gcmTagBytes, type GcmName } from "./gcm.ts";
import { randomBytes, type RandomSource } from "./random.ts";

/** Bytes of a public key, of an encapsulated key and of a private key. */
export const hpkeKeyBytes = 32;

const spkiPrefix = Buffer.from("302a300506032b656e032100", "hex");
const pkcs8Prefix = Buffer.from("302e020100300506032b656e04220420", "hex");

const empty = Buffer.alloc(0);
const kemSuite = Buffer.from("KEM\x00\x20", "latin1");
const suites: Readonly<Record<GcmName, { readonly id: Buffer; readonly keyBytes: number }>> = {
  "aes-128-gcm": { id: Buffer.from("HPKE\x00\x20\x00\x01\x00\x01", "latin1"), keyBytes: 16 },
  "aes-256-gcm": { id: Buffer.from("HPKE\x00\x20\x00\x01\x00\x02", "latin1"), keyBytes: 32 },
};

/** An X25519 pair: the private half as an opaque key, the public half as it travels. */
export interface HpkeKeyPair {
  readonly privateKey: KeyObject;
  readonly publicKey: Buffer;
}

/** A fresh pair. */
export function generateKeyPair(random: RandomSource): HpkeKeyPair {
  const secret = randomBytes(random, hpkeKeyBytes);
  const pair = keyPairOf(secret);
  secret.fill(0);
  return pair;
}

/** The pair of a private key of 32 bytes. */
export function keyPairOf(secret: Uint8Array): HpkeKeyPair {
  assert(secret.length === hpkeKeyBytes, "X25519 private keys have 32 bytes");
  const der = Buffer.concat([pkcs8Prefix, secret]);
  const privateKey = createPrivateKey({ key: der, format: "der", type: "pkcs8" });
  der.fill(0);
  const spki = createPublicKey(privateKey).export({ format: "der", type: "spki" });
  return { privateKey, publicKey: Buffer.from(spki.subarray(spkiPrefix.length)) };
}

/** One end of a context: both ends export the same secrets. */
interface HpkeContext {
  /** `length` bytes that only the two ends know (RFC 9180 section 5.3); `context` names their use. */
  export(context: Uint8Array, length: number): Buffer;
}

export interface HpkeSender extends HpkeContext {
  /** The encapsulated key, 32 bytes, for the receiver. */
  readonly enc: Buffer;
  /** Ciphertext and tag of the next message. */
  seal(plaintext: Uint8Array, aad: Uint8Array): Buffer;
}

export interface HpkeReceiver extends HpkeContext {
  /** The next message. Throws InvalidError `hpke.open`; the number of the message due then stands. */
  open(sealed: Uint8Array, aad: Uint8Array): Buffer;
}

/**
 * SetupBaseS: a context towards the holder of `publicKey` (32 bytes). Throws InvalidError `hpke.key` for a public
 * key of another length or of small order, with which the shared secret would be no secret.
 */
export function hpkeSender(
  publicKey: Uint8Array,
  info: Uint8Array,
  random: RandomSource,
  aead: GcmName = "aes-256-gcm",
): HpkeSender {
  const ephemeral = generateKeyPair(random);
  const shared = sharedSecret(ephemeral, publicKey, ephemeral.publicKey, publicKey);
  const keys = new KeySchedule(shared, info, aead);
  return {
    enc: ephemeral.publicKey,
    seal: (plaintext, aad) => keys.seal(plaintext, aad),
    export: (context, length) => keys.export(context, length),
  };
}

/** SetupBaseR: the context that `enc` opened towards `pair`. Throws InvalidError `hpke.key` as `hpkeSender`. */
export function hpkeReceiver(
  enc: Uint8Array,
  pair: HpkeKeyPair,
  info: Uint8Array,
  aead: GcmName = "aes-256-gcm",
): HpkeReceiver {
  const keys = new KeySchedule(sharedSecret(pair, enc, enc, pair.publicKey), info, aead);
  return {
    open: (sealed, aad) => keys.open(sealed, aad),
    export: (context, length) => keys.export(context, length),
  };
}

/** One message to the holder of `publicKey`: encapsulated key, ciphertext, tag. Throws as `hpkeSender`. */
export function hpkeSeal(
  publicKey: Uint8Array,
  info: Uint8Array,
  aad: Uint8Array,
  plaintext: Uint8Array,
  random: RandomSource,
): Buffer {
  const sender = hpkeSender(publicKey, info, random);
  return Buffer.concat([sender.enc, sender.seal(plaintext, aad)]);
}

/** Opens what `hpkeSeal` made. Throws InvalidError `hpke.key` or `hpke.open`. */
export function hpkeOpen(
  pair: HpkeKeyPair,
  info: Uint8Array,
  aad: Uint8Array,
  sealed: Uint8Array,
): Buffer {
  if (sealed.length < hpkeKeyBytes + gcmTagBytes) {
    throw new InvalidError("hpke.open", "a sealed message holds at least a key and a tag");
  }
  const receiver = hpkeReceiver(sealed.subarray(0, hpkeKeyBytes), pair, info);
  return receiver.open(sealed.subarray(hpkeKeyBytes), aad);
}

/** Encap and Decap of RFC 9180 section 4.1: of our pair and their public key, in the context enc || receiver. */
function sharedSecret(
  ours: HpkeKeyPair,
  theirs: Uint8Array,
  enc: Uint8Array,
  receiver: Uint8Array,
): Buffer {
  const dh = x25519(ours.privateKey, theirs);
  const prk = labeledExtract(kemSuite, empty, "eae_prk", dh);
  dh.fill(0);
  return labeledExpand(kemSuite, prk, "shared_secret", Buffer.concat([enc, receiver]), 32);
}

/** X25519 (RFC 7748) of `privateKey` and 32 bytes; 32 bytes, never all zeros. Throws InvalidError `hpke.key`. */
export function x25519(privateKey: KeyObject, publicKey: Uint8Array): Buffer {
  if (publicKey.length !== hpkeKeyBytes) {
    throw new InvalidError("hpke.key", "an X25519 public key has 32 bytes");
  }
  const der = Buffer.concat([spkiPrefix, publicKey]);
  let dh: Buffer | null = null;
  try {
    const key = createPublicKey({ key: der, format: "der", type: "spki" });
    dh = diffieHellman({ privateKey, publicKey: key });
  } catch {
    // OpenSSL refuses the all-zero result itself; the check below holds without it.
  }
  if (dh === null || dh.every((byte) => byte === 0)) {
    throw new InvalidError("hpke.key", "the public key is of small order");
  }
  return dh;
}

/** KeySchedule of RFC 9180 section 5.1 in base mode, and what its keys do. */
class KeySchedule {
  readonly #aead: GcmName;
  readonly #suite: Buffer;
  readonly #key: KeyObject;
  readonly #baseNonce: Buffer;
  readonly #exporter: Buffer;
  #sequence = 0;

  constructor(shared: Buffer, info: Uint8Array, aead: GcmName) {
    const { id, keyBytes } = suites[aead];
    this.#aead = aead;
    this.#suite = id;
    const context = Buffer.concat([
      Buffer.of(0), // mode_base
      labeledExtract(id, empty, "psk_id_hash", empty),
      labeledExtract(id, empty, "info_hash", info),
    ]);
    const secret = labeledExtract(id, shared, "secret", empty);
    shared.fill(0);
    const key = labeledExpand(id, secret, "key", context, keyBytes);
    this.#key = createSecretKey(key);
    key.fill(0);
    this.#baseNonce = labeledExpand(id, secret, "base_nonce", context, gcmNonceBytes);
    this.#exporter = labeledExpand(id, secret, "exp", context, 32);
    secret.fill(0);
  }

  seal(plaintext: Uint8Array, aad: Uint8Array): Buffer {
    const sealed = gcmSeal(this.#aead, this.#key, this.#nonce(), aad, plaintext);
    this.#sequence++;
    return sealed;
  }

  open(sealed: Uint8Array, aad: Uint8Array): Buffer {
    try {
      const plaintext = gcmOpen(this.#aead, this.#key, this.#nonce(), aad, sealed);
      this.#sequence++;
      return plaintext;
    } catch (error) {
      if (!(error instanceof InvalidError)) throw error;
      throw new InvalidError("hpke.open", "the message was not sealed to this key for this use");
    }
  }

  export(context: Uint8Array, length: number): Buffer {
    return labeledExpand(this.#suite, this.#exporter, "sec", context, length);
  }

  /** base nonce xor number of the message. */
  #nonce(): Buffer {
    assert(this.#sequence < 2 ** 32, "a context does not seal that many messages");
    const nonce = Buffer.from(this.#baseNonce);
    nonce.writeUInt32BE((nonce.readUInt32BE(8) ^ this.#sequence) >>> 0, 8);
    return nonce;
  }
}

/** HMAC-SHA256 under a raw key of any length: what HKDF is made of. */
function hmac(key: Uint8Array, message: Uint8Array): Buffer {
  return createHmac("sha256", key).update(message).digest();
}

/** HKDF-Extract (RFC 5869 section 2.2) with HPKE's labels. */
function labeledExtract(
  suite: Uint8Array,
  salt: Uint8Array,
  label: string,
  ikm: Uint8Array,
): Buffer {
  return hmac(salt, Buffer.concat([Buffer.from("HPKE-v1"), suite, Buffer.from(label), ikm]));
}

/** HKDF-Expand (RFC 5869 section 2.3) of `prk`, with HPKE's labels. `length` is at most 255 * 32. */
function labeledExpand(
  suite: Uint8Array,
  prk: Uint8Array,
  label: string,
  info: Uint8Array,
  length: number,
): Buffer {
  assert(length >= 0 && length <= 255 * 32, "HKDF expands to at most 255 blocks");
  const size = Buffer.alloc(2);
  size.writeUInt16BE(length);
  const labeled = Buffer.concat([size, Buffer.from("HPKE-v1"), suite, Buffer.from(label), info]);
  const out = Buffer.alloc(length);
  let block: Buffer = empty;
  for (let at = 0, count = 1; at < length; at += 32, count++) {
    block = hmac(prk, Buffer.concat([block, labeled, Buffer.of(count)]));
    block.copy(out, at);
  }
  return out;
}
