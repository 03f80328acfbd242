/**
 * The thread of chunk-hasher.ts. In: a key, which is used from then on, or [number, sealed chunk, nonce]. Out, in
 * order: [number, leaf hash], or [number, code and message of what was wrong with the bytes].
 */
import { KeyObject } from "node:crypto";
import { parentPort } from "node:worker_threads";
import { assert, InvalidError } from "../base/assert.ts";
import { gcmOpenInPlace } from "../base/gcm.ts";
import { leafHash } from "../base/merkle.ts";
import { decodeChunk } from "../format/depot-link.ts";

type Job = readonly [number: number, sealed: Uint8Array, nonce: Uint8Array];

const noBytes = Buffer.alloc(0);
const port = parentPort;
assert(port !== null, "this runs in a worker thread");
let key: KeyObject | null = null;

port.on("message", (message: KeyObject | Job) => {
  if (message instanceof KeyObject) {
    key = message;
    return;
  }
  const [number, bytes, nonce] = message;
  assert(key !== null, "chunks come after their key");
  const sealed = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  try {
    const { data } = decodeChunk(gcmOpenInPlace("aes-256-gcm", key, nonce, noBytes, sealed));
    // A copy with memory of its own: a pooled buffer would be passed on with its whole pool.
    port.postMessage([number, Uint8Array.from(leafHash(data))]);
  } catch (error) {
    if (!(error instanceof InvalidError)) throw error;
    port.postMessage([number, [error.code, error.message]]);
  }
});
