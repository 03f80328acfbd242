/** SHA-256 and HMAC. Keys are KeyObjects: raw keys cost 10 us more per call on Node 24. */
import { createHmac, createSecretKey, hash, hkdfSync, type KeyObject } from "node:crypto";
import { assert } from "./assert.ts";

/** SHA-256 (FIPS 180-4) of `bytes`; 32 bytes. */
export function sha256(bytes: Uint8Array): Buffer {
  return hash("sha256", bytes, "buffer");
}

/** SHA-256 as lower-case hex. */
export function sha256Hex(bytes: Uint8Array | string): string {
  return hash("sha256", bytes, "hex");
}

export function secretKey(bytes: Uint8Array): KeyObject {
  assert(bytes.length === 32, "secret keys are 32 bytes");
  return createSecretKey(bytes);
}

/** HMAC-SHA256 (RFC 2104); 32 bytes. */
export function hmacSha256(key: KeyObject, message: Uint8Array): Buffer {
  return createHmac("sha256", key).update(message).digest();
}

/** HKDF-SHA256 (RFC 5869) with `info` naming the use; 32 bytes. */
export function deriveKey(key: KeyObject, salt: Uint8Array, info: string): KeyObject {
  return createSecretKey(Buffer.from(hkdfSync("sha256", key, salt, info, 32)));
}
