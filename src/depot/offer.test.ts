/** How a depot uses its memory and its link; tests/path/weights.test.ts has the walk to a server. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { UnavailableError } from "../base/assert.ts";
import { decodeChunk, encodeFetch } from "../format/depot-link.ts";
import { FrameDecoder, frameType, type Frame } from "../format/link.ts";
import type { Wire } from "../format/wire.ts";
import { chunked, quiet, wirePair } from "../../tests/support.ts";
import { Depot } from "./offer.ts";
import type { WeightsFile } from "./weights.port.ts";

const chunkBytes = 4096;
const count = 9;
const weights = Buffer.from(
  Array.from({ length: count * chunkBytes - 5 }, (_, i) => ((i * 7) >> 3) ^ (i >> 12)),
);
const { chunks, tree } = chunked(weights, chunkBytes);

/** Weights that are read into the depot's memory, as from a file; chunk `bad` cannot be read. */
function weightsFile(bad = -1): WeightsFile & { readonly memories: Set<Buffer> } {
  const memories = new Set<Buffer>();
  return {
    memories,
    modelId: "m",
    sizeBytes: weights.length,
    chunkBytes,
    root: tree.root,
    chunk: async (index, into) => {
      memories.add(into);
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
    this.#handler?.({ type: frameType.fetch, id: 0n, payload: encodeFetch(root) });
  }
  send(type: number, id: bigint): boolean {
    this.frames.push({ type, id, payload: Buffer.alloc(0) });
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

test("depot: a gateway that takes its bytes late -> they are the weights, out of two buffers", async () => {
  const file = weightsFile();
  const depot = new Depot("d1", [file], quiet);
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
  const got = seen().map(({ payload }) => decodeChunk(payload));
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
  const depot = new Depot("d1", [weightsFile()], {
    log: (_level, event) => failures.push(event),
  });
  const gateway = new SlowGateway();
  depot.attachGateway(gateway);
  gateway.ask(tree.root);
  for (let i = 0; i < 5; i++) await turn();
  gateway.close("gone");
  for (let tries = 0; !failures.includes("depot.upload-failed"); tries++) {
    assert.ok(tries < 1000, "the upload ends");
    await turn();
  }

  const { left, right } = wirePair({ role: "depot", name: "d1" }, { role: "gateway", name: "g2" });
  depot.attachGateway(right);
  const got: Buffer[] = [];
  const done = new Promise<void>((resolve) => {
    left.onFrame(({ type, payload }) => {
      if (type === frameType.chunk) got.push(Buffer.from(decodeChunk(payload).data));
      if (type === frameType.done) resolve();
    });
  });
  left.send(frameType.fetch, 0n, encodeFetch(tree.root));
  await done;
  assert.ok(Buffer.concat(got).equals(weights), "the weights");
});

test("depot: a chunk cannot be read -> the link is closed, nothing stands in for the chunk", async () => {
  const depot = new Depot("d1", [weightsFile(3)], quiet);
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
  left.send(frameType.fetch, 0n, encodeFetch(tree.root));
  assert.match(await closed, /became shorter|closed/);
  assert.ok(indices.every((id) => id < 3n));
});
