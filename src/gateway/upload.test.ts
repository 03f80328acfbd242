/** What lies between the check of a chunk and the server: tests/path/weights.test.ts has the walk. */
import assert from "node:assert/strict";
import type { KeyObject } from "node:crypto";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import fc from "fast-check";
import { UnavailableError } from "../base/assert.ts";
import { encodeFrame, frameType } from "../format/link.ts";
import { begin, chunkBytes, chunks, count, weights } from "../../tests/upload-links.ts";
import type { ChunkHasher } from "./chunk-hasher.port.ts";
import { inlineHasher } from "./inline-hasher.ts";

/** A hasher that opens and hashes when told to, in order, what then lies in the memory. */
class LateHasher implements ChunkHasher {
  readonly waiting: (() => void)[] = [];
  #inner = inlineHasher();
  #instead: Buffer | Error | undefined;

  allocate(bytes: number): Buffer {
    return Buffer.alloc(bytes);
  }
  useKey(key: KeyObject): void {
    // What still waits was sealed under the key before.
    this.#inner = inlineHasher();
    this.#inner.useKey(key);
  }
  open(sealed: Buffer, nonce: Buffer, done: (leaf: Buffer | Error) => void): void {
    const inner = this.#inner;
    this.waiting.push(() => {
      inner.open(sealed, nonce, (leaf) => {
        done(this.#instead ?? leaf);
      });
    });
  }
  /** The next one; `instead` of its hash, it tells this. */
  hash(instead?: Buffer | Error): void {
    this.#instead = instead;
    this.waiting.shift()?.();
  }
  close(): void {
    return;
  }
}

test("upload: a slow server and a slow hasher, at any pace -> the bytes it takes are the bytes that were checked", async () => {
  const pace = fc.array(fc.tuple(fc.nat({ max: 3 }), fc.nat({ max: 3 })), {
    minLength: 8,
    maxLength: 40,
  });
  await fc.assert(
    fc.asyncProperty(pace, async (steps) => {
      const hasher = new LateHasher();
      const { far, chunkFrame, server, settled } = begin(hasher);
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
  const { far, chunkFrame, server, counter } = begin(hasher);
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
  const { far, chunkFrame, server, counter, settled } = begin(hasher);
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

test("upload: the depot is lost while the last hashes are under way -> the upload ends well", async () => {
  const hasher = new LateHasher();
  const { far, depot, chunkFrame, server, settled, dials } = begin(hasher);
  for (let index = 0; index < count; index++) {
    far.write(chunkFrame(index));
    while (hasher.waiting.length === 0) await turn();
    if (index + 1 < count) hasher.hash();
    while (server.waiting.length > 0) server.take();
  }
  depot.close("it went away");
  hasher.hash();
  far.destroy();
  assert.equal(await settled, null);
  assert.equal(dials(), 1);
});

test("upload: a hash that is not the chunk's -> it is neither forwarded nor counted", async () => {
  const hasher = new LateHasher();
  const { far, chunkFrame, server, counter, settled } = begin(hasher);
  far.write(chunkFrame(0));
  while (hasher.waiting.length === 0) await turn();
  hasher.hash(Buffer.alloc(32));
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
      const { far, chunkFrame, server, settled } = begin();
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
  const { far, chunkFrame, server } = begin();
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
  const { far, chunkFrame, server, counter } = begin();
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
  const { far, chunkFrame, server, counter, settled } = begin();
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
