import assert from "node:assert/strict";
import { createSecretKey } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { pathToFileURL } from "node:url";
import fc from "fast-check";
import { UnavailableError } from "../base/assert.ts";
import { gcmSeal } from "../base/gcm.ts";
import { leafHash } from "../base/merkle.ts";
import { decodeChunk, encodeChunk } from "../format/depot-link.ts";
import { chunkNonce } from "../format/weights-stream.ts";
import { frameType } from "../format/link.ts";
import { testBoot, testDepot } from "../../tests/sealing.ts";
import { chunked, whitelisted, wirePair } from "../../tests/support.ts";
import { BitCounter } from "../gateway/counter.ts";
import { uploadWeights } from "../gateway/upload.ts";
import { systemClock } from "./clock.ts";
import type { ChunkHasher } from "../gateway/chunk-hasher.port.ts";
import { openChunkHasher } from "./chunk-hasher.ts";

const key = createSecretKey(Buffer.alloc(32, 3));
const nonce = chunkNonce(0, false);
const noBytes = Buffer.alloc(0);

/** What a depot would send of this chunk. */
const sealed = (data: Uint8Array, proof: readonly Buffer[] = []): Buffer =>
  gcmSeal("aes-256-gcm", key, nonce, noBytes, encodeChunk(proof, data));

/** Opens `payload`, laid into memory of the hasher's behind other bytes; its hash, and that memory. */
async function opened(
  hasher: ChunkHasher,
  payload: Buffer,
): Promise<{ result: Buffer | Error; memory: Buffer }> {
  const memory = hasher.allocate(payload.length + 33).subarray(33);
  memory.set(payload);
  const result = await new Promise<Buffer | Error>((resolve) => {
    hasher.open(memory, nonce, resolve);
  });
  return { result, memory };
}

const hashed = async (hasher: ChunkHasher, data: Uint8Array): Promise<Buffer | Error> =>
  (await opened(hasher, sealed(data))).result;

/** A hasher whose thread runs `text`. */
function hasherOf(t: TestContext, text: string): ChunkHasher {
  const dir = mkdtempSync(join(tmpdir(), "weir-test-"));
  const script = join(dir, "thread.mjs");
  writeFileSync(script, `import { parentPort } from "node:worker_threads";\n${text}`);
  const hasher = openChunkHasher(pathToFileURL(script), 1);
  t.after(() => {
    hasher.close();
    rmSync(dir, { recursive: true });
  });
  return hasher;
}

function assertLost(result: Buffer | Error, why: RegExp): void {
  assert.ok(result instanceof UnavailableError, "no hash, but an error that says so");
  assert.equal(result.code, "hasher.lost");
  assert.match(result.message, why);
}

test("chunk hasher: any sealed chunks, on any number of threads -> opened where they lie, and their leaf hashes, in the order asked for", async (t) => {
  for (const threads of [1, 2, 3]) {
    const hasher = openChunkHasher(undefined, threads);
    t.after(() => {
      hasher.close();
    });
    hasher.useKey(key);
    const hash = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes));
    const chunk = fc.record({
      data: fc.uint8Array({ maxLength: 20_000 }),
      proof: fc.array(hash, { maxLength: 4 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(chunk, { maxLength: 8 }), async (asked) => {
        const order: number[] = [];
        const results = asked.map(async ({ data, proof }, i) => {
          const { result, memory } = await opened(hasher, sealed(data, proof));
          order.push(i);
          const plain = decodeChunk(memory.subarray(0, memory.length - 16));
          assert.deepEqual({ ...plain }, { proof, data: Buffer.from(data) });
          return result;
        });
        assert.deepEqual(
          await Promise.all(results),
          asked.map(({ data }) => leafHash(data)),
        );
        assert.deepEqual(order, [...asked.keys()]);
      }),
      { numRuns: 15 },
    );
  }
});

test("chunk hasher: a wrong tag -> said so, no plaintext is left, and the next chunk still opens", async (t) => {
  const hasher = openChunkHasher();
  t.after(() => {
    hasher.close();
  });
  hasher.useKey(key);
  const bad = sealed(Buffer.alloc(5000, 0x41));
  bad[20] = (bad[20] ?? 0) ^ 1;
  const { result, memory } = await opened(hasher, bad);
  assert.equal((result as { code?: unknown }).code, "gcm.tag");
  assert.ok(memory.every((byte) => byte === 0));
  assert.deepEqual(await hashed(hasher, Buffer.of(1)), leafHash(Buffer.of(1)));
});

test("chunk hasher: what was sealed is no chunk -> said so", async (t) => {
  const hasher = openChunkHasher();
  t.after(() => {
    hasher.close();
  });
  hasher.useKey(key);
  const payload = gcmSeal("aes-256-gcm", key, nonce, noBytes, Buffer.of(9));
  const { result } = await opened(hasher, payload);
  assert.equal((result as { code?: unknown }).code, "chunk.truncated");
});

test("chunk hasher: another key from now on -> chunks asked for before still open under the one before", async (t) => {
  const hasher = openChunkHasher();
  t.after(() => {
    hasher.close();
  });
  hasher.useKey(key);
  const before = [1, 2, 3, 4].map((n) => hashed(hasher, Buffer.of(n)));
  hasher.useKey(createSecretKey(Buffer.alloc(32, 4)));
  const after = await hashed(hasher, Buffer.of(5));
  assert.deepEqual(
    await Promise.all(before),
    [1, 2, 3, 4].map((n) => leafHash(Buffer.of(n))),
  );
  assert.equal((after as { code?: unknown }).code, "gcm.tag");
});

test("chunk hasher: the thread crashes -> every call, open or later, is told that it is lost", async (t) => {
  const hasher = hasherOf(
    t,
    `parentPort.on("message", () => { throw new Error("the thread broke"); });`,
  );
  const open = await Promise.all([1, 2, 3].map((n) => hashed(hasher, Buffer.alloc(n))));
  for (const result of open) assertLost(result, /the thread broke/);
  assertLost(await hashed(hasher, Buffer.alloc(1)), /the thread broke/);
});

test("chunk hasher: the thread ends without a word -> lost", async (t) => {
  const hasher = hasherOf(t, `parentPort.on("message", () => process.exit(0));`);
  assertLost(await hashed(hasher, Buffer.alloc(1)), /ended with code 0/);
});

test("chunk hasher: a thread that cannot start -> lost", async (t) => {
  const hasher = hasherOf(t, `this is no program`);
  assertLost(await hashed(hasher, Buffer.alloc(1)), /lost/);
});

for (const answer of [
  "'a hash'",
  "[0, new Uint8Array(31)]",
  "[1, new Uint8Array(32)]",
  "[0, ['code']]",
  "null",
]) {
  test(`chunk hasher: the thread answers ${answer} -> lost, not a hash`, async (t) => {
    const hasher = hasherOf(
      t,
      `parentPort.on("message", () => parentPort.postMessage(${answer}));`,
    );
    assertLost(await hashed(hasher, Buffer.alloc(1)), /out of turn, or with no hash/);
  });
}

test("chunk hasher: one answer too many -> lost, never the hash of the next chunk", async (t) => {
  const twice = `parentPort.on("message", ([number]) => {
    for (const _ of [1, 2]) parentPort.postMessage([number, new Uint8Array(32)]); });`;
  const hasher = hasherOf(t, twice);
  assert.deepEqual(await hashed(hasher, Buffer.alloc(1)), Buffer.alloc(32));
  assertLost(await hashed(hasher, Buffer.alloc(1)), /out of turn/);
});

test("chunk hasher: closed while a hash is under way -> its asker hears nothing, and the thread is gone", async () => {
  const hasher = openChunkHasher();
  let told = false;
  hasher.useKey(key);
  hasher.open(hasher.allocate(1 << 20), nonce, () => (told = true));
  hasher.close();
  hasher.open(hasher.allocate(1), nonce, () => (told = true));
  // The test runner waits for the thread: were it left behind, this file would never end.
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(told, false);
});

/** Uploads weights from a depot whose chunk `bad` is not what was whitelisted; what the server got. */
async function uploadWith(hasher: ChunkHasher, bad: number): Promise<[Buffer, unknown]> {
  const chunkBytes = 4096;
  const { chunks, tree } = chunked(weights, chunkBytes);
  const chunk = (index: number) => {
    const data = Buffer.from(chunks[index] ?? "");
    if (index === bad) data[17] = 0xff & ~(data[17] ?? 0);
    return Promise.resolve({ data, proof: tree.proof(index) });
  };
  const { entry } = whitelisted("m", weights, chunkBytes);
  const file = { modelId: "m", sizeBytes: weights.length, chunkBytes, root: tree.root, chunk };
  const gateway = { role: "gateway", name: "g1" } as const;
  const depot = wirePair({ role: "depot", name: "d1" }, gateway);
  const server = wirePair({ role: "server", name: "s1" }, gateway);
  testDepot([{ ...file, close: () => Promise.resolve() }]).attachGateway(depot.right);
  const got: Buffer[] = [];
  const end = Promise.withResolvers<undefined>();
  server.right.onClose(() => {
    end.resolve(undefined);
  });
  server.right.onFrame(({ type, payload }) => {
    if (type === frameType.loadChunk) got.push(Buffer.from(payload));
    if (type === frameType.loadEnd) end.resolve(undefined);
  });
  const failure = await uploadWeights({
    ...{ gateway: "g1", entry, boot: testBoot(entry), hasher },
    connectDepot: () => Promise.resolve(depot.left),
    ...{ server: server.left, clock: systemClock, stallMs: 60_000 },
    counter: new BitCounter(weights.length),
  }).catch((error: unknown) => {
    server.left.close("power is cut");
    return error;
  });
  await end.promise;
  for (const { left } of [depot, server]) left.close("done");
  return [Buffer.concat(got), failure];
}

const weights = Buffer.from(
  Array.from({ length: 40 * 4096 + 9 }, (_, i) => ((i * 31) >> 2) ^ (i >> 12) ^ (i >> 12)),
);

test("chunk hasher: an upload through the thread -> all weights arrive", async (t) => {
  const hasher = openChunkHasher();
  t.after(() => {
    hasher.close();
  });
  const [got, failure] = await uploadWith(hasher, -1);
  assert.equal(failure, undefined);
  assert.ok(got.equals(weights), "the weights");
});

test("chunk hasher: a bad chunk of an upload through the thread -> found out, nothing of it arrives", async (t) => {
  const hasher = openChunkHasher();
  t.after(() => {
    hasher.close();
  });
  const [got, failure] = await uploadWith(hasher, 7);
  assert.equal((failure as { code?: unknown }).code, "upload.bad-chunk");
  assert.ok(got.length <= 7 * 4096);
  assert.ok(got.equals(weights.subarray(0, got.length)), "the first chunks");
});

test("chunk hasher: the thread crashes in an upload -> refused, nothing more arrives", async (t) => {
  const hasher = hasherOf(
    t,
    `parentPort.on("message", () => { throw new Error("the thread broke"); });`,
  );
  const [got, failure] = await uploadWith(hasher, -1);
  assert.equal((failure as { code?: unknown }).code, "hasher.lost");
  assert.equal(got.length, 0);
});
