import assert from "node:assert/strict";
import { duplexPair } from "node:stream";
import { test, type TestContext } from "node:test";
import { wireOver } from "../adapter/link.ts";
import { InvalidError, UnavailableError } from "../base/assert.ts";
import type { Logger } from "../base/report.ts";
import { frameType, type Frame, type FrameType } from "../format/link.ts";
import { encodeInput, type Prompt, type SamplingParams } from "../format/pair.ts";
import {
  decodeEnd,
  decodeFailed,
  decodePrompt,
  decodeTokens,
  encodeGenerate,
  encodeLoadBegin,
} from "../format/server-link.ts";
import { runAgent, type AgentHooks } from "./agent.ts";
import type { Engine, Sequence } from "./engine.port.ts";
import type { WeightsStore } from "./weights.port.ts";

const quiet: Logger = { log: () => undefined };
const endId = 26;

/**
 * An engine of 26 letters whose most probable letter follows the last one, and which waits at each
 * step for `release` when it is `held`.
 */
class LetterEngine implements Engine {
  readonly contextTokens = 40;
  readonly parallel: number;
  readonly held: boolean;
  failing = false;
  open_ = 0;
  closed = false;
  #gates: (() => void)[] = [];
  #arrivals: (() => void)[] = [];

  constructor(parallel: number, held = false) {
    this.parallel = parallel;
    this.held = held;
  }

  promptIds(prompt: Prompt): number[] {
    if (prompt.kind === "chat") throw new InvalidError("template.none", "no template");
    if (prompt.text.length > 1000) throw new InvalidError("prompt.too-long", "far too long");
    return Array.from(prompt.text, (letter) => letter.charCodeAt(0) - 97);
  }

  isEndOfGeneration(id: number): boolean {
    return id === endId;
  }

  speller() {
    return { push: (id: number) => String.fromCharCode(97 + id), end: () => "" };
  }

  /** Resolves when `count` steps wait. */
  async waiting(count: number): Promise<void> {
    while (this.#gates.length < count) await new Promise<void>((go) => this.#arrivals.push(go));
  }

  release(): void {
    for (const gate of this.#gates.splice(0)) gate();
  }

  open(): Promise<Sequence> {
    this.open_++;
    assert.ok(this.open_ <= this.parallel, "no more sequences than the engine has");
    let disposed = false;
    return Promise.resolve({
      next: async (ids) => {
        if (this.held) {
          await new Promise<void>((go) => {
            this.#gates.push(go);
            for (const arrival of this.#arrivals.splice(0)) arrival();
          });
        }
        if (this.failing) throw new UnavailableError("engine.down", "broken", "unknown");
        const next = (ids.at(-1) ?? 0) + 1;
        return { ids: [next, (next + 1) % 26], logProbs: [-0.1, -3] };
      },
      dispose: () => {
        if (disposed) return;
        disposed = true;
        this.open_--;
      },
    });
  }

  close(): Promise<void> {
    this.closed = true;
    return Promise.resolve();
  }
}

function memoryWeights() {
  const state = { bytes: Buffer.alloc(0), discarded: false };
  const store: WeightsStore = {
    create: () =>
      Promise.resolve({
        write(bytes: Uint8Array) {
          state.bytes = Buffer.concat([state.bytes, bytes]);
          return Promise.resolve();
        },
        finish: () => Promise.resolve("/memory"),
        discard() {
          state.discarded = true;
          return Promise.resolve();
        },
      }),
  };
  return { state, store };
}

interface Setup {
  engine?: LetterEngine;
  hooks?: AgentHooks;
  queueMax?: number;
  load?: boolean;
}

async function start(t: TestContext, setup: Setup = {}) {
  const engine = setup.engine ?? new LetterEngine(2);
  const { state, store } = memoryWeights();
  const [near, far] = duplexPair();
  const loaded: string[] = [];
  const stopped = runAgent({
    wire: wireOver(far, { role: "gateway", name: "g1" }),
    weights: store,
    openEngine: (path) => {
      loaded.push(path);
      return Promise.resolve(engine);
    },
    logger: quiet,
    queueMax: setup.queueMax ?? 1,
    ...(setup.hooks === undefined ? {} : { hooks: setup.hooks }),
  });
  const wire = wireOver(near, { role: "server", name: "s1" });
  t.after(() => wire.close("the test is over"));
  const frames: Frame[] = [];
  const waiters: (() => void)[] = [];
  let closed = false;
  const wake = (): void => {
    for (const waiter of waiters.splice(0)) waiter();
  };
  wire.onFrame((frame) => {
    frames.push({ ...frame, payload: Buffer.from(frame.payload) });
    wake();
  });
  wire.onClose(() => {
    closed = true;
    wake();
  });
  /** The next frame of this type with this id, taken out; undefined when the link closed. */
  const take = async (type: FrameType, id = 0n): Promise<Frame | undefined> => {
    for (;;) {
      const at = frames.findIndex((frame) => frame.type === type && frame.id === id);
      if (at >= 0) return frames.splice(at, 1)[0];
      if (closed) return undefined;
      await new Promise<void>((go) => waiters.push(go));
    }
  };
  const begin = { gateway: "g1", modelId: "m", sizeBytes: 5n, topKMax: 2, contextTokens: 40 };
  const site = { engine, state, loaded, wire, frames, take, stopped, begin };
  if (setup.load === false) return site;
  wire.send(frameType.loadBegin, 0n, encodeLoadBegin(begin));
  wire.send(frameType.loadChunk, 0n, Buffer.from("abc"));
  wire.send(frameType.loadChunk, 1n, Buffer.from("de"));
  wire.send(frameType.loadEnd, 0n);
  assert.ok((await take(frameType.loadReady)) !== undefined);
  return site;
}

const greedy: SamplingParams = { maxTokens: 4, temperature: 0, topK: 2, topP: 1, stops: [] };

function ask(text: string, params: Partial<SamplingParams> = {}, seed = 5n): Buffer {
  const prompt: Prompt = { kind: "text", text };
  return encodeGenerate(
    seed,
    encodeInput({ modelId: "m", params: { ...greedy, ...params }, prompt }),
  );
}

test("agent: weights in chunks -> stored, loaded, deleted, ready", async (t) => {
  const { state, loaded } = await start(t);
  assert.equal(state.bytes.toString(), "abcde");
  assert.deepEqual(loaded, ["/memory"]);
  assert.ok(state.discarded);
});

test("agent: a request -> prompt ids, tokens one by one, end", async (t) => {
  const { wire, take, frames } = await start(t);
  wire.send(frameType.generate, 7n, ask("xab"));
  const prompt = await take(frameType.prompt, 7n);
  assert.deepEqual([...decodePrompt(prompt!.payload)], [23, 0, 1]);
  const end = await take(frameType.end, 7n);
  assert.equal(decodeEnd(end!.payload), "length");
  const tokens = frames.map((frame) => decodeTokens(frame.payload));
  assert.deepEqual(
    tokens.map(({ ids, text }) => [[...ids], text]),
    [
      [[2], "c"],
      [[3], "d"],
      [[4], "e"],
      [[5], "f"],
    ],
  );
});

test("agent: an end-of-generation token, a stop string -> end with stop", async (t) => {
  const { wire, take, frames } = await start(t);
  wire.send(frameType.generate, 1n, ask("y"));
  assert.equal(decodeEnd((await take(frameType.end, 1n))!.payload), "stop");
  assert.deepEqual([...decodeTokens(frames.at(-1)!.payload).ids], [endId]);
  frames.length = 0;
  wire.send(frameType.generate, 2n, ask("a", { stops: ["cd"] }));
  assert.equal(decodeEnd((await take(frameType.end, 2n))!.payload), "stop");
  const tokens = frames.filter(({ type }) => type === frameType.tokens);
  assert.deepEqual(
    tokens.map(({ payload }) => decodeTokens(payload).text),
    ["b", "", ""],
  );
});

test("agent: no room for output, no template -> FAILED says which", async (t) => {
  const { wire, take } = await start(t);
  wire.send(frameType.generate, 1n, ask("a".repeat(40)));
  assert.equal(decodeFailed((await take(frameType.failed, 1n))!.payload), "prompt-too-long");
  wire.send(frameType.generate, 4n, ask("a".repeat(2000)));
  assert.equal(decodeFailed((await take(frameType.failed, 4n))!.payload), "prompt-too-long");
  const chat: Prompt = { kind: "chat", messages: [{ role: "user", content: "hello" }] };
  const input = encodeInput({ modelId: "m", params: greedy, prompt: chat });
  wire.send(frameType.generate, 2n, encodeGenerate(1n, input));
  assert.equal(decodeFailed((await take(frameType.failed, 2n))!.payload), "template");
  // One place is left: length after one token.
  wire.send(frameType.generate, 3n, ask("a".repeat(39)));
  assert.equal(decodeEnd((await take(frameType.end, 3n))!.payload), "length");
});

test("agent: more requests than sequences -> queued in order, beyond that overloaded", async (t) => {
  const engine = new LetterEngine(2, true);
  const { wire, take } = await start(t, { engine, queueMax: 1 });
  for (const tag of [1n, 2n, 3n, 4n])
    wire.send(frameType.generate, tag, ask("a", { maxTokens: 1 }));
  assert.equal(decodeFailed((await take(frameType.failed, 4n))!.payload), "overloaded");
  await engine.waiting(2);
  engine.release();
  await Promise.all([take(frameType.end, 1n), take(frameType.end, 2n)]);
  await engine.waiting(1);
  engine.release();
  assert.ok((await take(frameType.end, 3n)) !== undefined);
});

test("agent: cancel of a running and of a waiting request -> no further frame of either", async (t) => {
  const engine = new LetterEngine(1, true);
  const { wire, take, frames } = await start(t, { engine, queueMax: 2 });
  wire.send(frameType.generate, 1n, ask("a"));
  wire.send(frameType.generate, 2n, ask("a"));
  wire.send(frameType.generate, 3n, ask("a", { maxTokens: 1 }));
  await engine.waiting(1);
  wire.send(frameType.cancel, 1n);
  wire.send(frameType.cancel, 2n);
  wire.send(frameType.cancel, 99n);
  wire.send(frameType.ping, 5n);
  await take(frameType.pong, 5n);
  engine.release();
  await engine.waiting(1);
  engine.release();
  assert.ok((await take(frameType.end, 3n)) !== undefined);
  assert.deepEqual(
    frames.filter(({ id }) => id !== 3n).map(({ type, id }) => [type, id]),
    [[frameType.prompt, 1n]],
  );
  assert.equal(engine.open_, 0);
});

test("agent: the engine fails -> FAILED internal, and the sequence is free again", async (t) => {
  const engine = new LetterEngine(1);
  engine.failing = true;
  const { wire, take } = await start(t, { engine });
  wire.send(frameType.generate, 1n, ask("a"));
  assert.equal(decodeFailed((await take(frameType.failed, 1n))!.payload), "internal");
  engine.failing = false;
  wire.send(frameType.generate, 2n, ask("a"));
  assert.ok((await take(frameType.end, 2n)) !== undefined);
});

test("agent: the link closes in the middle -> the request stops, the engine is closed", async (t) => {
  const engine = new LetterEngine(1, true);
  const { wire, stopped } = await start(t, { engine });
  wire.send(frameType.generate, 1n, ask("a"));
  await engine.waiting(1);
  wire.close("gone");
  await stopped;
  assert.ok(engine.closed);
  engine.release();
});

const misuses: [string, (site: Awaited<ReturnType<typeof start>>) => void][] = [
  ["GENERATE before the weights", ({ wire }) => wire.send(frameType.generate, 1n, ask("a"))],
  ["LOAD_CHUNK before LOAD_BEGIN", ({ wire }) => wire.send(frameType.loadChunk, 0n, Buffer.of(1))],
  [
    "a chunk out of order",
    ({ wire, begin }) => {
      wire.send(frameType.loadBegin, 0n, encodeLoadBegin(begin));
      wire.send(frameType.loadChunk, 1n, Buffer.of(1));
    },
  ],
  [
    "a byte too many",
    ({ wire, begin }) => {
      wire.send(frameType.loadBegin, 0n, encodeLoadBegin(begin));
      wire.send(frameType.loadChunk, 0n, Buffer.alloc(6));
    },
  ],
  [
    "LOAD_END with a byte missing",
    ({ wire, begin }) => {
      wire.send(frameType.loadBegin, 0n, encodeLoadBegin(begin));
      wire.send(frameType.loadChunk, 0n, Buffer.alloc(4));
      wire.send(frameType.loadEnd, 0n);
    },
  ],
  ["a frame of another link", ({ wire }) => wire.send(frameType.fetch, 0n)],
];
for (const [name, misuse] of misuses) {
  test(`agent: ${name} -> the link closes, no engine is opened`, async (t) => {
    const site = await start(t, { load: false });
    misuse(site);
    await site.stopped;
    assert.deepEqual(site.loaded, []);
  });
}

test("agent: hooks -> another model, seed, request, draw and engine; for red teams", async (t) => {
  const seen: unknown[] = [];
  const { wire, take, loaded } = await start(t, {
    hooks: {
      weights: (path) => Promise.resolve(`${path}.swapped`),
      seed: (seed, tag) => seed + tag,
      request: (request) => ({ ...request, params: { ...request.params, maxTokens: 1 } }),
      draw: (candidates, _params, seed, position) => {
        seen.push([seed, position]);
        return candidates.ids[1] ?? 0;
      },
      engine: (engine) => {
        seen.push("engine");
        return engine;
      },
    },
  });
  assert.deepEqual(loaded, ["/memory.swapped"]);
  wire.send(frameType.generate, 10n, ask("a", {}, 5n));
  const tokens = await take(frameType.tokens, 10n);
  assert.equal(decodeTokens(tokens!.payload).text, "c");
  await take(frameType.end, 10n);
  assert.deepEqual(seen, ["engine", [15n, 0]]);
});
