/** Ed25519 (RFC 8032) signatures. Public keys travel as 32 raw bytes in lower-case hex. */
import {
  createPrivateKey,
  createPublicKey,
  sign as nodeSign,
  verify as nodeVerify,
  type KeyObject,
} from "node:crypto";
import { InvalidError } from "./assert.ts";
import { fromHex, toHex } from "./bytes.ts";

const spkiPrefix = Buffer.from("302a300506032b6570032100", "hex");
const pkcs8Prefix = Buffer.from("302e020100300506032b657004220420", "hex");

/** Builds a verifying key from 64 hex digits. Throws InvalidError `sign.key`. */
export function publicKeyFromHex(hex: string): KeyObject {
  const raw = fromHex(hex, 32);
  try {
    const der = Buffer.concat([spkiPrefix, raw]);
    return createPublicKey({ key: der, format: "der", type: "spki" });
  } catch {
    throw new InvalidError("sign.key", "not an Ed25519 public key");
  }
}

/** Builds a signing key from a 32-byte seed. */
export function privateKeyFromSeed(seed: Uint8Array): KeyObject {
  if (seed.length !== 32) throw new InvalidError("sign.seed", "an Ed25519 seed has 32 bytes");
  const der = Buffer.concat([pkcs8Prefix, seed]);
  return createPrivateKey({ key: der, format: "der", type: "pkcs8" });
}

/** The 64-hex-digit public key of a private or public key. */
export function publicKeyHex(key: KeyObject): string {
  const publicKey = key.type === "public" ? key : createPublicKey(key);
  const spki = publicKey.export({ format: "der", type: "spki" });
  return toHex(spki.subarray(spkiPrefix.length));
}

/** 64-byte signature of `message`. */
export function sign(privateKey: KeyObject, message: Uint8Array): Buffer {
  return nodeSign(null, message, privateKey);
}

/** Whether `signature` is `publicKey`'s over `message`. */
export function verify(publicKey: KeyObject, message: Uint8Array, signature: Uint8Array): boolean {
  return signature.length === 64 && nodeVerify(null, message, publicKey, signature);
}
