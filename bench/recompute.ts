/**
 * Bench 3: what recomputing a token costs against generating it, on the real engine with one thread.
 * Generation is an engine's own loop (draw, batching); recomputation is the recomputer's own path: one
 * teacher-forced prefill, the candidates of each position and their draw. Both, for both bindings of
 * llama.cpp; the server uses node-llama-cpp, the recomputer the native one.
 */
import { openServingEngine } from "../src/adapter/llama/engine.ts";
import { openNativeEngine } from "../src/adapter/llama/native-engine.ts";
import { openReplayEngine } from "../src/adapter/llama/replay.ts";
import { describeModel } from "../src/adapter/llama/describe.ts";
import { drawToken, noiseLaw } from "../src/format/noise.ts";
import { candidatesBeyond } from "../src/recomputer/replay.ts";
import type { WhitelistEntry } from "../src/format/whitelist.ts";
import type { ReplayEngine } from "../src/recomputer/engine.port.ts";
import type { Engine } from "../src/server/engine.port.ts";
import { median } from "./support.ts";

export const params = { temperature: 1, topK: 64, topP: 1 };
const tokensPerPair = 100;
const prompts = ["Tell me a story.", "What is a weir?", "Describe a river.", "How are you today?"];

export interface Pair {
  readonly promptIds: number[];
  readonly ids: number[];
}

export async function generatePair(
  engine: Engine,
  text: string,
  seed: bigint,
  tokens = tokensPerPair,
): Promise<Pair> {
  const promptIds = engine.promptIds({ kind: "chat", messages: [{ role: "user", content: text }] });
  const sequence = await engine.open();
  const ids: number[] = [];
  let next = promptIds;
  while (ids.length < tokens) {
    const id = drawToken(await sequence.next(next), params, seed, ids.length);
    ids.push(id);
    next = [id];
  }
  sequence.dispose();
  return { promptIds, ids };
}

function cpuMs(from: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(from);
  return (user + system) / 1000;
}

/** CPU milliseconds per output token of `work`, which makes or checks all of them once. */
async function perToken(work: () => Promise<unknown>): Promise<number> {
  const start = process.cpuUsage();
  await work();
  return cpuMs(start) / (prompts.length * tokensPerPair);
}

async function recompute(replay: ReplayEngine, pairs: readonly Pair[]): Promise<void> {
  for (const [i, pair] of pairs.entries()) {
    const positions = await replay.replay(pair.promptIds, pair.ids, 64 + candidatesBeyond);
    positions.forEach((candidates, at) => drawToken(candidates, params, BigInt(i + 1), at));
  }
}

export async function entryOf(model: string): Promise<WhitelistEntry> {
  const found = await describeModel(model);
  const generation = {
    temperatureMax: 2,
    topPMin: 0,
    topKMax: 64,
    maxTokens: 512,
    contextTokens: Math.min(1024, found.contextTokens),
  };
  return {
    modelId: "bench",
    weights: found,
    tokenizerDigest: found.tokenizerDigest,
    templateDigest: found.templateDigest,
    engine: found.engine,
    engineBuild: found.engineBuild,
    noiseLaw,
    generation,
    profile: Buffer.alloc(32),
    digest: Buffer.alloc(32),
  };
}

/** One interleaved round: CPU ms per token of each way. The pairs are the library's. */
async function round(engines: {
  readonly library: Engine;
  readonly native: Engine;
  readonly replays: { readonly library: ReplayEngine; readonly native: ReplayEngine };
}): Promise<number[]> {
  const { library, native, replays } = engines;
  let pairs: Pair[] = [];
  const alone = async (engine: Engine): Promise<void> => {
    pairs = [];
    for (const [i, text] of prompts.entries())
      pairs.push(await generatePair(engine, text, BigInt(i + 1)));
  };
  const four = (engine: Engine): Promise<unknown> =>
    Promise.all(prompts.map((text, i) => generatePair(engine, text, BigInt(i + 9))));
  return [
    await perToken(() => alone(native)),
    await perToken(() => alone(library)),
    await perToken(() => four(native)),
    await perToken(() => four(library)),
    await perToken(() => recompute(replays.native, pairs)),
    await perToken(() => recompute(replays.library, pairs)),
  ];
}

/** Medians of CPU milliseconds per output token, prompts included, and their ratios. */
export async function benchRecompute(
  model: string,
  reps: number,
  say: (text: string) => void,
): Promise<object[]> {
  const entry = await entryOf(model);
  const { contextTokens } = entry.generation;
  const serving = { contextTokens, topK: 64, parallel: 4, threads: 1 };
  const open = (binding: "library" | "native"): Promise<ReplayEngine> =>
    openReplayEngine(entry, model, { threads: 1, binding });
  const library = await openServingEngine(model, serving);
  const native = await openNativeEngine(model, serving);
  const replays = { library: await open("library"), native: await open("native") };
  const rounds: number[][] = [];
  for (let rep = 0; rep < reps; rep++) {
    const each = await round({ library, native, replays });
    rounds.push(each);
    say(`rep ${rep + 1}: ${each.map((ms) => ms.toFixed(3)).join(" ")}`);
  }
  for (const engine of [library, native, replays.library, replays.native]) await engine.close();
  const column = (at: number): number => median(rounds.map((each) => each[at] ?? 0));
  const [nativeAlone, alone] = [column(0), column(1)];
  const [nativeFour, four] = [column(2), column(3)];
  const [recomputed, byLibrary] = [column(4), column(5)];
  return [
    { binding: "node-llama-cpp", alone, "four at once": four, recomputation: byLibrary },
    {
      binding: "native",
      alone: nativeAlone,
      "four at once": nativeFour,
      recomputation: recomputed,
    },
    {
      binding: "native recomputation / node-llama-cpp's generation (aim <= 0.2)",
      alone: recomputed / alone,
      "four at once": recomputed / four,
    },
  ];
}
