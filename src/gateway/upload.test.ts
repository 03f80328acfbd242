/** What lies between the check of a chunk and the server: tests/path/weights.test.ts has the walk. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { duplexPair } from "node:stream";
import fc from "fast-check";
import { wireOver } from "../adapter/link.ts";
import { UnavailableError } from "../base/assert.ts";
import type { Clock } from "../base/clock.ts";
import { leafHash } from "../base/merkle.ts";
import { encodeChunk, encodeOffer } from "../format/depot-link.ts";
import { encodeFrame, frameType } from "../format/link.ts";
import type { Peer, Wire } from "../format/wire.ts";
import { chunked, whitelisted } from "../../tests/support.ts";
import type { ChunkHasher } from "./chunk-hasher.port.ts";
import { BitCounter } from "./counter.ts";
import { uploadWeights } from "./upload.ts";

const chunkBytes = 4096;
const count = 24;
const weights = Buffer.from(
  Array.from({ length: count * chunkBytes - 5 }, (_, i) => ((i * 7) >> 3) ^ (i >> 12)),
);
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

/** A hasher that hashes when told to, in order, what then lies in the memory. */
class LateHasher implements ChunkHasher {
  readonly waiting: { readonly data: Buffer; readonly done: (leaf: Buffer | Error) => void }[] = [];

  allocate(bytes: number): Buffer {
    return Buffer.alloc(bytes);
  }
  leafHash(data: Buffer, done: (leaf: Buffer | Error) => void): void {
    this.waiting.push({ data, done });
  }
  hash(error?: Error): void {
    const next = this.waiting.shift();
    next?.done(error ?? leafHash(next.data));
  }
  close(): void {
    return;
  }
}

function begin(hasher?: ChunkHasher) {
  const [near, far] = duplexPair({ highWaterMark: 8192 });
  const depot = wireOver(near, { role: "depot", name: "d1" });
  const server = new SlowServer();
  const counter = new BitCounter(weights.length);
  const upload = uploadWeights({
    gateway: "g1",
    entry,
    depot,
    server,
    counter,
    clock: still,
    stallMs: 1,
    ...(hasher === undefined ? {} : { hasher }),
  });
  const settled = upload.then(
    () => null,
    (error: unknown) => error,
  );
  far.resume();
  const offer = encodeOffer({ sizeBytes: BigInt(weights.length), chunkBytes });
  far.write(encodeFrame(frameType.offer, 0n, offer));
  return { far, depot, server, counter, settled };
}

const chunkFrame = (index: number, data = chunks[index] ?? Buffer.alloc(0)): Buffer =>
  encodeFrame(frameType.chunk, BigInt(index), encodeChunk(tree.proof(index), data));

test("upload: a slow server and a slow hasher, at any pace -> the bytes it takes are the bytes that were checked", async () => {
  const pace = fc.array(fc.tuple(fc.nat({ max: 3 }), fc.nat({ max: 3 })), {
    minLength: 8,
    maxLength: 40,
  });
  await fc.assert(
    fc.asyncProperty(pace, async (steps) => {
      const hasher = new LateHasher();
      const { far, server, settled } = begin(hasher);
      for (let index = 0; index + 1 < count; index++) far.write(chunkFrame(index));
      // DONE is in before the last chunk was checked.
      far.end(Buffer.concat([chunkFrame(count - 1), encodeFrame(frameType.done, 0n)]));
      for (let i = 0; server.got.length < count; i++) {
        assert.ok(i < 10_000, "all chunks come");
        const [hashes, takes] = steps[i % steps.length] ?? [1, 1];
        for (let n = hashes + (i % steps.length === 0 ? 1 : 0); n > 0; n--) hasher.hash();
        for (let n = takes + (i % steps.length === 0 ? 1 : 0); n > 0; n--) server.take();
        await turn();
      }
      assert.equal(await settled, null);
      assert.ok(Buffer.concat(server.got).equals(weights), "the bytes of the weights");
      far.destroy();
    }),
    { numRuns: 40 },
  );
});

test("upload: hashes are under way -> nothing was forwarded, and the depot is stopped", async () => {
  const hasher = new LateHasher();
  const { far, server, counter } = begin(hasher);
  let written = 0;
  for (let index = 0; index < count; index++) far.write(chunkFrame(index), () => written++);
  for (let i = 0; i < 200; i++) await turn();
  assert.ok(hasher.waiting.length > 0 && hasher.waiting.length < count / 2);
  assert.ok(written < count, "the depot's link is full");
  assert.equal(server.waiting.length, 0);
  assert.equal(counter.forwardedBits, 0n);
  hasher.hash();
  assert.equal(server.waiting.length, 1);
  assert.equal(counter.forwardedBits, BigInt(8 * chunkBytes));
  far.destroy();
});

test("upload: the hasher is lost -> the upload fails, and chunks without a hash are never forwarded", async () => {
  const hasher = new LateHasher();
  const { far, server, counter, settled } = begin(hasher);
  far.write(Buffer.concat([chunkFrame(0), chunkFrame(1), chunkFrame(2)]));
  while (hasher.waiting.length < 3) await turn();
  hasher.hash();
  hasher.hash(new UnavailableError("hasher.lost", "it broke", "none"));
  assert.equal(((await settled) as { code?: unknown }).code, "hasher.lost");
  // Even a hash that comes after all changes nothing.
  hasher.hash();
  while (server.waiting.length > 0) server.take();
  assert.deepEqual(server.got, chunks.slice(0, 1));
  assert.equal(counter.forwardedBits, BigInt(8 * chunkBytes));
  far.destroy();
});

test("upload: the depot is lost while the last hashes are under way -> the upload ends well; earlier -> it fails", async () => {
  for (const sent of [count, count - 1]) {
    const hasher = new LateHasher();
    const { far, depot, server, settled } = begin(hasher);
    for (let index = 0; index < sent; index++) {
      far.write(chunkFrame(index));
      while (hasher.waiting.length === 0) await turn();
      if (index + 1 < sent) hasher.hash();
      while (server.waiting.length > 0) server.take();
    }
    depot.close("it went away");
    hasher.hash();
    far.destroy();
    const error = (await settled) as { code?: unknown } | null;
    assert.equal(error?.code, sent === count ? undefined : "upload.lost");
  }
});

test("upload: a hash that is not the chunk's -> it is neither forwarded nor counted", async () => {
  const hasher = new LateHasher();
  const { far, server, counter, settled } = begin(hasher);
  far.write(chunkFrame(0));
  while (hasher.waiting.length === 0) await turn();
  hasher.waiting[0]?.done(Buffer.alloc(32));
  assert.equal(((await settled) as { code?: unknown }).code, "upload.bad-chunk");
  assert.equal(server.waiting.length, 0);
  assert.equal(counter.forwardedBits, 0n);
  far.destroy();
});

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
        assert.ok(i < 10_000, "all chunks come");
        for (let n = steps[i % steps.length] ?? 0; n > 0; n--) server.take();
        if (i % steps.length === 0) server.take();
        await turn();
      }
      assert.equal(await settled, null);
      assert.ok(Buffer.concat(server.got).equals(weights), "the bytes of the weights");
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
