/**
 * The gateway's two signing keys, each with one use, both derived from its root key: whoever has the root key has
 * them, and nobody else does. They are never written down; only their public halves leave the gateway.
 *
 *   device key   certifies boot keys and boots (format/boot-key.ts)
 *   log key      signs checkpoints of the gateway's log, as a C2SP note key (spec/checkpoint.md)
 *
 * Two keys and not one, because a signature of the one must never be readable as a signature of the other.
 */
import type { KeyObject } from "node:crypto";
import { deriveKey } from "../base/hash.ts";
import { privateKeyFromSeed } from "../base/sign.ts";

const noSalt = new Uint8Array(0);

/** The Ed25519 key whose seed is HKDF-SHA256 (RFC 5869) of the root key, without salt, with `info`. */
function signingKeyOf(rootKey: KeyObject, info: string): KeyObject {
  const seed = deriveKey(rootKey, noSalt, info).export();
  const key = privateKeyFromSeed(seed);
  seed.fill(0);
  return key;
}

/** The device key of a gateway: Ed25519, private. `rootKey` is its 32-byte root key. */
export function deviceKeyOf(rootKey: KeyObject): KeyObject {
  return signingKeyOf(rootKey, "weir device key/1");
}

/** The key that signs the checkpoints of a gateway's log: Ed25519, private. `rootKey` as for `deviceKeyOf`. */
export function logKeyOf(rootKey: KeyObject): KeyObject {
  return signingKeyOf(rootKey, "weir log key/1");
}
