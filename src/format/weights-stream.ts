/**
 * How weights are sealed on their way from a depot to a gateway, spec/weights-stream.md: one HPKE context for
 * each FETCH, from which one AES-256-GCM key is exported; each chunk with its audit path is sealed whole.
 */
import { createSecretKey, type KeyObject } from "node:crypto";
import { assert } from "../base/assert.ts";
import { Writer } from "../base/bytes.ts";
import { gcmNonceBytes, gcmTagBytes } from "../base/gcm.ts";
import { limits } from "../base/limits.ts";
import type { BootKey } from "./boot-key.ts";

const infoLabel = Buffer.from("weir weights/1", "ascii");
const keyContext = Buffer.from("weir weights chunk key/1", "ascii");

/** Bytes before a chunk's data at the most: the number of hashes, and the hashes. */
export const chunkHeadMax = 1 + 32 * limits.chunkProof;

/** Bytes of the longest CHUNK payload of chunks of `chunkBytes`. */
export function sealedChunkMax(chunkBytes: number): number {
  return chunkHeadMax + chunkBytes + gcmTagBytes;
}

/** All that a stream is for: whoever differs in one field of it derives other keys. */
export interface StreamBinding {
  /** The gateway's device key, public, 32 raw bytes. */
  readonly deviceKey: Uint8Array;
  readonly bootKey: BootKey;
  /** Root of the chunk tree that was asked for; 32 bytes. */
  readonly root: Uint8Array;
  /** Index of the first chunk of this stream. */
  readonly first: number;
}

/** The `info` of the stream's HPKE context. */
export function weightsInfo({ deviceKey, bootKey, root, first }: StreamBinding): Buffer {
  assert(deviceKey.length === 32 && root.length === 32, "keys and roots have 32 bytes");
  const out = new Writer(256).raw(infoLabel).raw(deviceKey).text(bootKey.gateway);
  out.u32(bootKey.epoch).u32(bootKey.boot).raw(bootKey.entryDigest).raw(bootKey.publicKey);
  return out.raw(root).u32(first).bytes();
}

/** The key of a stream's chunks, the same at both ends of its HPKE context. */
export function chunkKeyOf(context: {
  export(context: Uint8Array, length: number): Buffer;
}): KeyObject {
  const raw = context.export(keyContext, 32);
  const key = createSecretKey(raw);
  raw.fill(0);
  return key;
}

/** The nonce of chunk `index`: its number among all chunks of the model, and whether it is the last one. */
export function chunkNonce(index: number, last: boolean): Buffer {
  const nonce = Buffer.alloc(gcmNonceBytes);
  nonce.writeUInt32BE(index, 4);
  nonce.writeUInt8(last ? 1 : 0, gcmNonceBytes - 1);
  return nonce;
}
