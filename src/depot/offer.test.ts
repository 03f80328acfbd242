/** How a depot uses its memory and its link; tests/path/weights.test.ts has the walk to a server. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { UnavailableError } from "../base/assert.ts";
import { gcmOpen } from "../base/gcm.ts";
import { privateKeyFromSeed } from "../base/sign.ts";
import { signBootKey } from "../format/boot-key.ts";
import {
  decodeChunk,
  decodeOffer,
  encodeFetch,
  type Chunk,
  type Fetch,
} from "../format/depot-link.ts";
import { FrameDecoder, frameType, type Frame } from "../format/link.ts";
import type { Wire } from "../format/wire.ts";
import { testBoot, testDepot, testDeviceKey } from "../../tests/sealing.ts";
import { chunked, whitelisted, wirePair } from "../../tests/support.ts";
import { chunkNonce } from "../format/weights-stream.ts";
import type { WeightsFile } from "./weights.port.ts";

const chunkBytes = 4096;
const count = 9;
const weights = Buffer.from(
  Array.from({ length: count * chunkBytes - 5 }, (_, i) => ((i * 7) >> 3) ^ (i >> 12)),
);
const { chunks, tree } = chunked(weights, chunkBytes);
const { entry } = whitelisted("m", weights, chunkBytes);
const boot = testBoot(entry);
const { certificate } = boot;

/** Opens what a depot sent, as the gateway of `boot` would. */
function opened(offer: Buffer, first: number, sealed: readonly Buffer[]): Chunk[] {
  const key = boot.chunkKey(decodeOffer(offer).enc, tree.root, first);
  return sealed.map((payload, i) => {
    const nonce = chunkNonce(first + i, first + i + 1 === count);
    return decodeChunk(gcmOpen("aes-256-gcm", key, nonce, Buffer.alloc(0), payload));
  });
}

/** Weights that are read into the depot's memory, as from a file; chunk `bad` cannot be read. */
function weightsFile(bad = -1): WeightsFile & { readonly memories: Set<unknown> } {
  const memories = new Set<unknown>();
  return {
    memories,
    modelId: "m",
    sizeBytes: weights.length,
    chunkBytes,
    root: tree.root,
    chunk: async (index, into) => {
      memories.add(into.buffer);
      await turn();
      if (index === bad) throw new UnavailableError("weights.short", "it became shorter", "none");
      const data = chunks[index] ?? Buffer.alloc(0);
      data.copy(into);
      return { data: into.subarray(0, data.length), proof: tree.proof(index) };
    },
    close: () => Promise.resolve(),
  };
}

/** A gateway's link whose kernel takes bytes only when told to: it keeps views, not copies. */
class SlowGateway implements Wire {
  readonly peer = { role: "gateway", name: "g1" } as const;
  readonly backlog = 0;
  closed = false;
  readonly frames: Frame[] = [];
  readonly #waiting: { readonly view: Uint8Array; readonly taken: (() => void) | undefined }[] = [];
  readonly #decoder = new FrameDecoder();
  #handler: ((frame: Frame) => void) | null = null;
  #onClose: ((reason: string) => void) | null = null;

  ask(root: Buffer): void {
    this.#handler?.({
      type: frameType.fetch,
      id: 0n,
      payload: encodeFetch({ root, first: 0, certificate }),
    });
  }
  send(type: number, id: bigint, payload: Uint8Array = Buffer.alloc(0)): boolean {
    this.frames.push({ type, id, payload: Buffer.from(payload) });
    return true;
  }
  sendRaw(view: Uint8Array, taken?: () => void): boolean {
    this.#waiting.push({ view, taken });
    return false;
  }
  /** The kernel takes what waits, as it is in memory now. */
  take(): void {
    for (const { view, taken } of this.#waiting.splice(0)) {
      this.#decoder.push(Buffer.from(view), (frame) => {
        this.frames.push({ ...frame, payload: Buffer.from(frame.payload) });
      });
      taken?.();
    }
  }
  drained(): Promise<void> {
    return Promise.resolve();
  }
  onFrame(handler: (frame: Frame) => void): void {
    this.#handler = handler;
  }
  onClose(handler: (reason: string) => void): void {
    this.#onClose = handler;
  }
  pause(): void {
    return;
  }
  resume(): void {
    return;
  }
  close(reason: string): void {
    this.closed = true;
    this.#onClose?.(reason);
  }
}

/** A gateway that takes all at once; `ask` sends a FETCH and resolves with what came before DONE, NONE or the end. */
function wholeGateway(name: string) {
  const { left, right } = wirePair({ role: "depot", name: "d1" }, { role: "gateway", name });
  const frames: Frame[] = [];
  const end = Promise.withResolvers<Frame[]>();
  const isEnd = (type: number): boolean => type === frameType.done || type === frameType.none;
  left.onFrame((frame) => {
    frames.push({ ...frame, payload: Buffer.from(frame.payload) });
    if (isEnd(frame.type)) end.resolve(frames.slice(0, -1));
  });
  left.onClose(() => {
    end.resolve(frames);
  });
  const ask = (fetch: Fetch): Promise<Frame[]> => {
    left.send(frameType.fetch, 0n, encodeFetch(fetch));
    return end.promise;
  };
  return { right, frames, ask };
}

const payloads = (frames: readonly Frame[]): Buffer[] =>
  frames.filter(({ type }) => type === frameType.chunk).map(({ payload }) => payload);

test("depot: a FETCH from the middle -> the chunks from there on, under a key of their own", async () => {
  const depot = testDepot([weightsFile()]);
  const [whole, part] = [wholeGateway("g1"), wholeGateway("g1")];
  for (const { right } of [whole, part]) depot.attachGateway(right);
  const first = await whole.ask({ root: tree.root, first: 0, certificate });
  const second = await part.ask({ root: tree.root, first: 5, certificate });
  const got = opened(second[0]?.payload ?? Buffer.alloc(0), 5, payloads(second));
  assert.ok(Buffer.concat(got.map(({ data }) => data)).equals(weights.subarray(5 * chunkBytes)));
  // The same chunk, sealed twice: nothing of one stream can stand in the other.
  assert.notDeepEqual(payloads(first)[5], payloads(second)[0]);
  assert.throws(() => opened(second[0]?.payload ?? Buffer.alloc(0), 5, payloads(first).slice(5)));
});

const otherDevice = privateKeyFromSeed(Buffer.alloc(32, 0x0d));

/** FETCHes that get no weights, and what the depot logs of each. */
const refusals: readonly [what: string, name: string, fetch: Fetch, code: string][] = [
  [
    "a name that it has no device key of",
    "g9",
    { root: tree.root, first: 0, certificate },
    "depot.device",
  ],
  [
    "a boot key of another gateway",
    "g2",
    { root: tree.root, first: 0, certificate },
    "depot.device",
  ],
  [
    "a boot key that another device signed",
    "g1",
    { root: tree.root, first: 0, certificate: testBoot(entry, 1, otherDevice).certificate },
    "boot-key.signature",
  ],
  [
    "a boot key of small order",
    "g1",
    {
      ...{ root: tree.root, first: 0 },
      certificate: signBootKey({ ...boot.bootKey, publicKey: Buffer.alloc(32) }, testDeviceKey),
    },
    "hpke.key",
  ],
  [
    "no certificate",
    "g1",
    { root: tree.root, first: 0, certificate: Buffer.alloc(0) },
    "boot-key.truncated",
  ],
  [
    "a chunk that the model does not have",
    "g1",
    { root: tree.root, first: count, certificate },
    "depot.first",
  ],
];

for (const [what, name, fetch, code] of refusals) {
  test(`depot: ${what} -> the link is closed, and nothing is sent`, async () => {
    const codes: unknown[] = [];
    const logger = {
      log: (_level: string, _event: string, fields?: Readonly<Record<string, unknown>>) =>
        codes.push(fields?.["code"]),
    };
    const depot = testDepot([weightsFile()], { logger });
    const { right, ask } = wholeGateway(name);
    depot.attachGateway(right);
    assert.deepEqual(await ask(fetch), []);
    assert.deepEqual(codes, [code]);
  });
}

test("depot: a gateway that takes its bytes late -> they are the weights, out of two buffers", async () => {
  const file = weightsFile();
  const depot = testDepot([file]);
  const gateway = new SlowGateway();
  depot.attachGateway(gateway);
  gateway.ask(tree.root);
  const seen = (): Frame[] => gateway.frames.filter(({ type }) => type === frameType.chunk);
  for (let tries = 0; seen().length < count; tries++) {
    assert.ok(tries < 1000, "all chunks come");
    // Time enough to read ahead into whatever the depot believes to be free.
    for (let i = 0; i < 5; i++) await turn();
    gateway.take();
  }
  const offer = gateway.frames[0]?.payload ?? Buffer.alloc(0);
  const got = opened(
    offer,
    0,
    seen().map(({ payload }) => payload),
  );
  assert.ok(Buffer.concat(got.map(({ data }) => data)).equals(weights), "the weights");
  got.forEach(({ proof }, index) => {
    assert.deepEqual(proof, tree.proof(index));
  });
  assert.equal(gateway.frames.at(-1)?.type, frameType.chunk);
  assert.equal(file.memories.size, 2);
  assert.equal(depot.status().bytesSent, weights.length);
});

test("depot: its link is lost in the middle -> that upload ends, and the next gateway is served", async () => {
  const failures: unknown[] = [];
  const logger = { log: (_level: string, event: string) => failures.push(event) };
  const depot = testDepot([weightsFile()], { logger });
  const gateway = new SlowGateway();
  depot.attachGateway(gateway);
  gateway.ask(tree.root);
  for (let i = 0; i < 5; i++) await turn();
  gateway.close("gone");
  for (let tries = 0; !failures.includes("depot.upload-failed"); tries++) {
    assert.ok(tries < 1000, "the upload ends");
    await turn();
  }

  const { right, frames, ask } = wholeGateway("g1");
  depot.attachGateway(right);
  const [offer, ...sealed] = await ask({ root: tree.root, first: 0, certificate });
  assert.ok(offer !== undefined);
  const got = opened(offer.payload, 0, payloads(sealed));
  assert.equal(frames.at(-1)?.type, frameType.done);
  assert.ok(Buffer.concat(got.map(({ data }) => data)).equals(weights), "the weights");
});

test("depot: a chunk cannot be read -> the link is closed, nothing stands in for the chunk", async () => {
  const depot = testDepot([weightsFile(3)]);
  const { left, right } = wirePair({ role: "depot", name: "d1" }, { role: "gateway", name: "g1" });
  depot.attachGateway(right);
  const indices: bigint[] = [];
  left.onFrame(({ type, id }) => {
    if (type === frameType.chunk) indices.push(id);
  });
  const closed = new Promise<string>((resolve) => {
    left.onClose(resolve);
    right.onClose(resolve);
  });
  left.send(frameType.fetch, 0n, encodeFetch({ root: tree.root, first: 0, certificate }));
  assert.match(await closed, /became shorter|closed/);
  assert.ok(indices.every((id) => id < 3n));
});
