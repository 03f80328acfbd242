/** Opens and hashes chunks at once, in the thread that asks: for machines without a core to spare, and for tests. */
import type { KeyObject } from "node:crypto";
import { assert, InvalidError } from "../base/assert.ts";
import { gcmOpenInPlace } from "../base/gcm.ts";
import { leafHash } from "../base/merkle.ts";
import { decodeChunk } from "../format/depot-link.ts";
import type { ChunkHasher } from "./chunk-hasher.port.ts";

const noBytes = Buffer.alloc(0);

export function inlineHasher(): ChunkHasher {
  let current: KeyObject | null = null;
  return {
    allocate: (bytes) => Buffer.allocUnsafeSlow(bytes),
    useKey(key) {
      current = key;
    },
    open(sealed, nonce, done) {
      assert(current !== null, "chunks come after their key");
      done(opened(current, nonce, sealed));
    },
    close() {
      current = null;
    },
  };
}

function opened(key: KeyObject, nonce: Buffer, sealed: Buffer): Buffer | Error {
  try {
    return leafHash(decodeChunk(gcmOpenInPlace("aes-256-gcm", key, nonce, noBytes, sealed)).data);
  } catch (error) {
    if (error instanceof InvalidError) return error;
    throw error;
  }
}
