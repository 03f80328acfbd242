import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { pathToFileURL } from "node:url";
import fc from "fast-check";
import { UnavailableError } from "../base/assert.ts";
import { leafHash } from "../base/merkle.ts";
import { Depot } from "../depot/offer.ts";
import { frameType } from "../format/link.ts";
import { chunked, quiet, whitelisted, wirePair } from "../../tests/support.ts";
import { BitCounter } from "../gateway/counter.ts";
import { uploadWeights } from "../gateway/upload.ts";
import { systemClock } from "./clock.ts";
import type { ChunkHasher } from "../gateway/chunk-hasher.port.ts";
import { openChunkHasher } from "./chunk-hasher.ts";

const hashed = (hasher: ChunkHasher, data: Buffer): Promise<Buffer | Error> =>
  new Promise((resolve) => {
    hasher.leafHash(data, resolve);
  });

/** A hasher whose thread runs `text`. */
function hasherOf(t: TestContext, text: string): ChunkHasher {
  const dir = mkdtempSync(join(tmpdir(), "weir-test-"));
  const script = join(dir, "thread.mjs");
  writeFileSync(script, `import { parentPort } from "node:worker_threads";\n${text}`);
  const hasher = openChunkHasher(pathToFileURL(script));
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

test("chunk hasher: any bytes, shared or not -> their leaf hashes, in the order asked for", async (t) => {
  const hasher = openChunkHasher();
  t.after(() => {
    hasher.close();
  });
  const bytes = fc.record({ data: fc.uint8Array({ maxLength: 20_000 }), own: fc.boolean() });
  await fc.assert(
    fc.asyncProperty(fc.array(bytes, { maxLength: 8 }), async (asked) => {
      const order: number[] = [];
      const results = asked.map(async ({ data, own }, i) => {
        // Behind other bytes, as a chunk lies behind its proof.
        const whole = own ? Buffer.alloc(data.length + 33, 7) : hasher.allocate(data.length + 33);
        whole.set(data, 33);
        const result = await hashed(hasher, whole.subarray(33));
        order.push(i);
        return result;
      });
      assert.deepEqual(
        await Promise.all(results),
        asked.map(({ data }) => leafHash(data)),
      );
      assert.deepEqual(order, [...asked.keys()]);
    }),
    { numRuns: 30 },
  );
});

test("chunk hasher: the thread crashes -> every call, open or later, is told that it is lost", async (t) => {
  const hasher = hasherOf(
    t,
    `parentPort.on("message", () => { throw new Error("the thread broke"); });`,
  );
  const open = await Promise.all([1, 2, 3].map((n) => hashed(hasher, hasher.allocate(n))));
  for (const result of open) assertLost(result, /the thread broke/);
  assertLost(await hashed(hasher, hasher.allocate(1)), /the thread broke/);
});

test("chunk hasher: the thread ends without a word -> lost", async (t) => {
  const hasher = hasherOf(t, `parentPort.on("message", () => process.exit(0));`);
  assertLost(await hashed(hasher, hasher.allocate(1)), /ended with code 0/);
});

test("chunk hasher: a thread that cannot start -> lost", async (t) => {
  const hasher = hasherOf(t, `this is no program`);
  assertLost(await hashed(hasher, hasher.allocate(1)), /lost/);
});

for (const answer of ["'a hash'", "[0, new Uint8Array(31)]", "[1, new Uint8Array(32)]", "null"]) {
  test(`chunk hasher: the thread answers ${answer} -> lost, not a hash`, async (t) => {
    const hasher = hasherOf(
      t,
      `parentPort.on("message", () => parentPort.postMessage(${answer}));`,
    );
    assertLost(await hashed(hasher, hasher.allocate(1)), /out of turn, or with no hash/);
  });
}

test("chunk hasher: one answer too many -> lost, never the hash of the next chunk", async (t) => {
  const twice = `parentPort.on("message", ([number]) => {
    for (const _ of [1, 2]) parentPort.postMessage([number, new Uint8Array(32)]); });`;
  const hasher = hasherOf(t, twice);
  assert.deepEqual(await hashed(hasher, hasher.allocate(1)), Buffer.alloc(32));
  assertLost(await hashed(hasher, hasher.allocate(1)), /out of turn/);
});

test("chunk hasher: closed while a hash is under way -> its asker hears nothing, and the thread is gone", async () => {
  const hasher = openChunkHasher();
  let told = false;
  hasher.leafHash(hasher.allocate(1 << 20), () => (told = true));
  hasher.close();
  hasher.leafHash(hasher.allocate(1), () => (told = true));
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
  const file = { modelId: "m", sizeBytes: weights.length, chunkBytes, root: tree.root, chunk };
  const gateway = { role: "gateway", name: "g1" } as const;
  const depot = wirePair({ role: "depot", name: "d1" }, gateway);
  const server = wirePair({ role: "server", name: "s1" }, gateway);
  new Depot("d1", [{ ...file, close: () => Promise.resolve() }], quiet).attachGateway(depot.right);
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
    ...{ gateway: "g1", entry: whitelisted("m", weights, chunkBytes).entry, hasher },
    ...{ depot: depot.left, server: server.left, clock: systemClock, stallMs: 60_000 },
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
