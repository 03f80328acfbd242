/** The thread of chunk-hasher.ts: [number, bytes] in, [number, their leaf hash] out, in order. */
import { parentPort } from "node:worker_threads";
import { assert } from "../base/assert.ts";
import { leafHash } from "../base/merkle.ts";

const port = parentPort;
assert(port !== null, "this runs in a worker thread");
port.on("message", ([number, bytes]: readonly [number, Uint8Array]) => {
  // A copy with memory of its own: a pooled buffer would be passed on with its whole pool.
  port.postMessage([number, Uint8Array.from(leafHash(bytes))]);
});
