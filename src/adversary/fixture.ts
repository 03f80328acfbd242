/** For tests: an owned server with a real engine, asked over a link in memory. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { duplexPair } from "node:stream";
import type { TestContext } from "node:test";
import { systemClock } from "../adapter/clock.ts";
import { diskWeights } from "../adapter/disk-weights.ts";
import { wireOver } from "../adapter/link.ts";
import { openNativeEngine } from "../adapter/llama/native-engine.ts";
import { furtherEngine } from "../bin/adversary/further-engine.ts";
import type { Clock } from "../base/clock.ts";
import { frameType } from "../format/link.ts";
import { encodeInput, type Prompt, type SamplingParams } from "../format/pair.ts";
import {
  decodeEnd,
  decodeFailed,
  decodePrompt,
  decodeTokens,
  encodeGenerate,
  encodeLoadBegin,
} from "../format/server-link.ts";
import { runAgent } from "../server/agent.ts";
import type { Engine } from "../server/engine.port.ts";
import { turncoat, type Turncoat } from "./agent.ts";
import type { Observed, Receiver, Walls } from "./attack.ts";

export const tiny: Uint8Array = readFileSync(
  new URL("../../models/weir-tiny.gguf", import.meta.url),
);
const contextTokens = 384;
const topK = 64;

export const chat = (text: string): Prompt => ({
  kind: "chat",
  messages: [{ role: "user", content: text }],
});

/** What the gateway gets for one request. */
export interface Answer {
  readonly tag: bigint;
  readonly seed: bigint;
  readonly prompt: Prompt;
  readonly params: SamplingParams;
  promptIds: number[];
  readonly ids: number[];
  text: string;
  end: string;
  readonly chunks: { text: string; atMs: number }[];
}

/** A clock that jumps to each timer when nothing else is left to do at once. */
export function jumpingClock(): Clock {
  let now = 0;
  return {
    wallMs: () => now,
    monotonicMs: () => now,
    after(delayMs, action) {
      const due = now + delayMs;
      return systemClock.after(1, () => {
        now = Math.max(now, due);
        action();
      });
    },
    every: () => ({ cancel: () => undefined }),
  };
}

export interface Owned {
  readonly server: Turncoat;
  /** The whitelisted engine, for receivers and comparisons. */
  readonly reference: Engine;
  readonly receiver: Receiver;
  readonly ask: (
    prompt: Prompt,
    params?: Partial<SamplingParams>,
    seed?: bigint,
  ) => Promise<Answer>;
}

export interface OwnedOptions {
  readonly model?: Uint8Array;
  readonly clock?: Clock;
  readonly walls?: Walls;
}

const settings = { contextTokens, topK, parallel: 4, threads: 1 };

async function openReference(folder: string, model: Uint8Array): Promise<Engine> {
  return furtherEngine(folder, model, settings);
}

/** Boots an owned server; it goes with the test. */
export async function own(t: TestContext, options: OwnedOptions = {}): Promise<Owned> {
  const { model = tiny, clock = jumpingClock() } = options;
  const folder = mkdtempSync(join(tmpdir(), "weir-owned-"));
  const reference = await openReference(folder, model);
  const server = turncoat({
    readWeights: (path) => Promise.resolve(readFileSync(path)),
    openWeights: (gguf, _begin, more) => furtherEngine(folder, gguf, { ...settings, ...more }),
    clock,
    logger: { log: () => undefined },
    walls: options.walls ?? null,
    seed: 7n,
  });
  const [near, far] = duplexPair();
  const stopped = runAgent({
    wire: wireOver(far, { role: "gateway", name: "g1" }),
    weights: diskWeights(folder),
    openEngine: (path) => openNativeEngine(path, settings),
    logger: { log: () => undefined },
    queueMax: 64,
    hooks: server.hooks,
  });
  const gateway = new FakeGateway(wireOver(near, { role: "server", name: "s1" }), clock);
  t.after(async () => {
    gateway.close();
    await stopped;
    await reference.close();
    rmSync(folder, { recursive: true, force: true });
  });
  await gateway.load(model);
  return {
    server,
    reference,
    receiver: {
      engine: reference,
      weights: model,
      tokenise: (text) => (text === "" ? [] : reference.promptIds({ kind: "text", text })),
    },
    ask: (prompt, params = {}, seed) => gateway.ask(prompt, params, seed),
  };
}

/** The gateway's end of the link, without the gateway: frames reach the client as they come. */
class FakeGateway {
  readonly #wire: ReturnType<typeof wireOver>;
  readonly #open = new Map<bigint, { answer: Answer; done: () => void }>();
  readonly #ready = Promise.withResolvers<undefined>();
  #tag = 0n;

  constructor(wire: ReturnType<typeof wireOver>, clock: Clock) {
    this.#wire = wire;
    wire.onFrame(({ type, id, payload }) => {
      if (type === frameType.loadReady) this.#ready.resolve(undefined);
      const open = this.#open.get(id);
      if (open === undefined) return;
      const { answer, done } = open;
      if (type === frameType.prompt) answer.promptIds = [...decodePrompt(payload)];
      if (type === frameType.tokens) {
        const { ids, text } = decodeTokens(payload);
        answer.ids.push(...ids);
        answer.text += text;
        if (text !== "") answer.chunks.push({ text, atMs: clock.monotonicMs() });
      }
      if (type !== frameType.end && type !== frameType.failed) return;
      answer.end = type === frameType.end ? decodeEnd(payload) : decodeFailed(payload);
      this.#open.delete(id);
      done();
    });
  }

  async load(model: Uint8Array): Promise<void> {
    const begin = { gateway: "g1", modelId: "m", topKMax: topK, contextTokens };
    const sizeBytes = BigInt(model.length);
    this.#wire.send(frameType.loadBegin, 0n, encodeLoadBegin({ ...begin, sizeBytes }));
    const chunk = 1_048_576;
    for (let at = 0; at < model.length; at += chunk) {
      this.#wire.send(frameType.loadChunk, BigInt(at / chunk), model.subarray(at, at + chunk));
    }
    this.#wire.send(frameType.loadEnd, 0n);
    await this.#ready.promise;
  }

  ask(prompt: Prompt, some: Partial<SamplingParams>, seed?: bigint): Promise<Answer> {
    const params = { maxTokens: 48, temperature: 1, topK, topP: 1, stops: [], ...some };
    const tag = ++this.#tag;
    const given = seed ?? (tag * 0x9e3779b97f4a7c15n) & 0xffff_ffff_ffff_ffffn;
    const empty = { promptIds: [], ids: [], text: "", end: "", chunks: [] };
    const answer: Answer = { tag, seed: given, prompt, params, ...empty };
    const input = encodeInput({ modelId: "m", params, prompt });
    return new Promise((resolve) => {
      this.#open.set(tag, {
        answer,
        done: () => {
          resolve(answer);
        },
      });
      this.#wire.send(frameType.generate, tag, encodeGenerate(given, input));
    });
  }

  close(): void {
    this.#wire.close("the test is over");
  }
}

/** What a client sees of answers; those that failed are not there. */
export function seen(answers: readonly Answer[]): Observed[] {
  return answers.flatMap(({ end, ...answer }) =>
    end === "stop" || end === "length" ? [{ ...answer, finish: end }] : [],
  );
}
