/**
 * AES-GCM (NIST SP 800-38D) with 96-bit nonces and tags of 16 bytes, never shorter. Two traps of node:crypto are
 * closed here: without `authTagLength` a decipher takes tags of 4 bytes, and `update` hands out plaintext
 * before the tag is checked. What leaves `gcmOpen` and `gcmOpenInPlace` has passed its tag.
 */
import { createCipheriv, createDecipheriv, type KeyObject } from "node:crypto";
import { assert, InvalidError } from "./assert.ts";

export type GcmName = "aes-128-gcm" | "aes-256-gcm";

/** Bytes of a tag and of a nonce. */
export const gcmTagBytes = 16;
export const gcmNonceBytes = 12;

/** Bytes that are en- or decrypted at one time: short enough to come from a pool again and again. */
const pieceBytes = 16_384;

const options = { authTagLength: gcmTagBytes } as const;

/** Ciphertext, as long as `plaintext`, and then the tag. `nonce` is 12 bytes and used once under `key`. */
export function gcmSeal(
  name: GcmName,
  key: KeyObject,
  nonce: Uint8Array,
  aad: Uint8Array,
  plaintext: Uint8Array,
): Buffer {
  const sealed = Buffer.allocUnsafe(plaintext.length + gcmTagBytes);
  sealed.set(plaintext);
  gcmSealInPlace(name, key, nonce, aad, sealed);
  return sealed;
}

/** As `gcmSeal`, but over the plaintext itself: `memory` ends in 16 bytes of room for the tag. */
export function gcmSealInPlace(
  name: GcmName,
  key: KeyObject,
  nonce: Uint8Array,
  aad: Uint8Array,
  memory: Buffer,
): void {
  assert(nonce.length === gcmNonceBytes, "nonces have 12 bytes");
  assert(memory.length >= gcmTagBytes, "the memory has room for the tag");
  const end = memory.length - gcmTagBytes;
  const cipher = createCipheriv(name, key, nonce, options);
  cipher.setAAD(aad);
  for (let at = 0; at < end; at += pieceBytes) {
    memory.set(cipher.update(memory.subarray(at, Math.min(end, at + pieceBytes))), at);
  }
  memory.set(cipher.final(), end);
  memory.set(cipher.getAuthTag(), end);
}

/** The plaintext of what `gcmSeal` made. Throws InvalidError `gcm.tag` unless the tag is right. */
export function gcmOpen(
  name: GcmName,
  key: KeyObject,
  nonce: Uint8Array,
  aad: Uint8Array,
  sealed: Uint8Array,
): Buffer {
  if (sealed.length < gcmTagBytes) throw badTag();
  return gcmOpenInPlace(name, key, nonce, aad, Buffer.from(sealed));
}

/**
 * As `gcmOpen`, over the ciphertext itself; returns the part of `memory` that now holds the plaintext. When
 * the tag is wrong, `memory` is all zeros before the InvalidError is thrown.
 */
export function gcmOpenInPlace(
  name: GcmName,
  key: KeyObject,
  nonce: Uint8Array,
  aad: Uint8Array,
  memory: Buffer,
): Buffer {
  assert(nonce.length === gcmNonceBytes, "nonces have 12 bytes");
  if (memory.length < gcmTagBytes) throw badTag();
  const end = memory.length - gcmTagBytes;
  const decipher = createDecipheriv(name, key, nonce, options);
  decipher.setAAD(aad);
  decipher.setAuthTag(memory.subarray(end));
  for (let at = 0; at < end; at += pieceBytes) {
    memory.set(decipher.update(memory.subarray(at, Math.min(end, at + pieceBytes))), at);
  }
  try {
    decipher.final();
  } catch {
    memory.fill(0);
    throw badTag();
  }
  return memory.subarray(0, end);
}

function badTag(): InvalidError {
  return new InvalidError("gcm.tag", "the bytes are not what was sealed under this key and nonce");
}
