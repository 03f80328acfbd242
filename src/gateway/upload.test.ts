/** What lies between the check of a chunk and the server: tests/path/weights.test.ts has the walk. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { duplexPair } from "node:stream";
import fc from "fast-check";
import { wireOver } from "../adapter/link.ts";
import type { Clock } from "../base/clock.ts";
import { encodeChunk, encodeOffer } from "../format/depot-link.ts";
import { encodeFrame, frameType } from "../format/link.ts";
import type { Peer, Wire } from "../format/wire.ts";
import { chunked, whitelisted } from "../../tests/support.ts";
import { BitCounter } from "./counter.ts";
import { uploadWeights } from "./upload.ts";

const chunkBytes = 4096;
const count = 24;
const weights = Buffer.from(Array.from({ length: count * chunkBytes - 5 }, (_, i) => (i * 7) >> 3));
const { entry } = whitelisted("m", weights, chunkBytes);
const { chunks, tree } = chunked(weights, chunkBytes);
const still: Clock = {
  wallMs: () => 0,
  monotonicMs: () => 0,
  after: () => ({ cancel: () => undefined }),
  every: () => ({ cancel: () => undefined }),
};

/** A server's link whose kernel takes bytes only when told to: it keeps views, not copies. */
class SlowServer implements Wire {
  readonly peer: Peer = { role: "server", name: "s1" };
  readonly backlog = 0;
  readonly closed = false;
  readonly waiting: { readonly view: Uint8Array; readonly taken: () => void }[] = [];
  readonly got: Buffer[] = [];

  send(): boolean {
    return true;
  }
  sendRaw(view: Uint8Array, taken?: () => void): boolean {
    if (taken !== undefined) this.waiting.push({ view, taken });
    return false;
  }
  /** The kernel takes the oldest chunk as it is in memory now. */
  take(): void {
    const next = this.waiting.shift();
    if (next === undefined) return;
    this.got.push(Buffer.from(next.view));
    next.taken();
  }
  drained(): Promise<void> {
    return Promise.resolve();
  }
  onFrame(): void {
    return;
  }
  onClose(): void {
    return;
  }
  pause(): void {
    return;
  }
  resume(): void {
    return;
  }
  close(): void {
    return;
  }
}

function begin() {
  const [near, far] = duplexPair({ highWaterMark: 8192 });
  const server = new SlowServer();
  const counter = new BitCounter(weights.length);
  const upload = uploadWeights({
    gateway: "g1",
    entry,
    depot: wireOver(near, { role: "depot", name: "d1" }),
    server,
    counter,
    clock: still,
    stallMs: 1,
  });
  const settled = upload.then(
    () => null,
    (error: unknown) => error,
  );
  far.resume();
  const offer = encodeOffer({ sizeBytes: BigInt(weights.length), chunkBytes });
  far.write(encodeFrame(frameType.offer, 0n, offer));
  return { far, server, counter, upload, settled };
}

const chunkFrame = (index: number, data = chunks[index] ?? Buffer.alloc(0)): Buffer =>
  encodeFrame(frameType.chunk, BigInt(index), encodeChunk(tree.proof(index), data));

test("upload: a slow server, at any pace -> the bytes it takes are the bytes that were checked", async () => {
  const pace = fc.array(fc.nat({ max: 3 }), { minLength: 8, maxLength: 40 });
  const cuts = fc.array(fc.integer({ min: 1, max: 14_000 }), { minLength: 1, maxLength: 20 });
  await fc.assert(
    fc.asyncProperty(pace, cuts, async (steps, sizes) => {
      const { far, server, settled } = begin();
      const stream = Buffer.concat(chunks.map((_, index) => chunkFrame(index)));
      for (let at = 0, i = 0; at < stream.length; i++) {
        const end = at + (sizes[i % sizes.length] ?? 1);
        far.write(stream.subarray(at, end));
        at = end;
      }
      for (let i = 0; server.got.length < count; i++) {
        for (let n = steps[i % steps.length] ?? 0; n > 0; n--) server.take();
        if (i % steps.length === 0) server.take();
        await turn();
      }
      assert.equal(await settled, null);
      assert.deepEqual(Buffer.concat(server.got), weights);
      far.destroy();
    }),
    { numRuns: 40 },
  );
});

test("upload: a chunk changes in the depot's memory after it was checked -> the server never sees it", async () => {
  const { far, server } = begin();
  // The link is in memory: without a copy of its own the gateway would share these bytes.
  const frame = chunkFrame(0);
  far.write(frame);
  while (server.waiting.length === 0) await turn();
  frame.fill(0xff);
  server.take();
  assert.deepEqual(server.got, [chunks[0]]);
  far.destroy();
});

test("upload: a server that takes nothing -> the depot is stopped, and memory stays bounded", async () => {
  const { far, server, counter } = begin();
  let written = 0;
  for (let index = 0; index < count; index++) {
    far.write(chunkFrame(index), () => written++);
  }
  for (let i = 0; i < 200; i++) await turn();
  assert.ok(server.waiting.length < count / 2, `${server.waiting.length} chunks wait`);
  assert.ok(written < count, "the depot's link is full");
  assert.equal(counter.complete, false);
  far.destroy();
});

test("upload: a bad chunk while good ones wait for the server -> it is not forwarded nor counted", async () => {
  const { far, server, counter, settled } = begin();
  const bad = Buffer.from(chunks[2] ?? Buffer.alloc(0));
  bad[9] = (bad[9] ?? 0) ^ 1;
  far.write(Buffer.concat([chunkFrame(0), chunkFrame(1), chunkFrame(2, bad), chunkFrame(3)]));
  const error = await settled;
  assert.equal((error as { code?: unknown }).code, "upload.bad-chunk");
  while (server.waiting.length > 0) server.take();
  assert.deepEqual(server.got, chunks.slice(0, 2));
  assert.equal(counter.forwardedBits, BigInt(8 * 2 * chunkBytes));
  far.destroy();
});
