/**
 * Bench 3: what recomputing a token costs against generating it, on the real engine with one thread.
 * Generation is the server's own loop (agent, draw, batching); recomputation is the recomputer's own
 * path: one teacher-forced prefill and the score of each token.
 */
import { openServingEngine } from "../src/adapter/llama/engine.ts";
import { openReplayEngine } from "../src/adapter/llama/replay.ts";
import { describeModel } from "../src/adapter/llama/describe.ts";
import { drawToken, noiseLaw } from "../src/format/noise.ts";
import { candidatesBeyond } from "../src/recomputer/replay.ts";
import type { Engine } from "../src/server/engine.port.ts";
import { defaultCalibration } from "../src/verification/calibration.ts";
import { median } from "./support.ts";

const params = { temperature: 1, topK: 64, topP: 1 };
const tokensPerPair = 100;
const prompts = ["Tell me a story.", "What is a weir?", "Describe a river.", "How are you today?"];

interface Pair {
  readonly promptIds: number[];
  readonly ids: number[];
}

async function generatePair(engine: Engine, text: string, seed: bigint): Promise<Pair> {
  const promptIds = engine.promptIds({ kind: "chat", messages: [{ role: "user", content: text }] });
  const sequence = await engine.open();
  const ids: number[] = [];
  let next = promptIds;
  while (ids.length < tokensPerPair) {
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

/** CPU milliseconds per token of generation alone, four at once, and of recomputation; with ratios. */
export async function benchRecompute(
  model: string,
  reps: number,
  say: (text: string) => void,
): Promise<object[]> {
  const found = await describeModel(model);
  const generation = {
    temperatureMax: 2,
    topPMin: 0,
    topKMax: 64,
    maxTokens: 512,
    contextTokens: Math.min(1024, found.contextTokens),
  };
  const entry = {
    modelId: "bench",
    weights: found,
    tokenizerDigest: found.tokenizerDigest,
    templateDigest: found.templateDigest,
    engine: found.engine,
    noiseLaw,
    generation,
    calibration: defaultCalibration,
    digest: Buffer.alloc(32),
  };
  const { contextTokens } = generation;
  const server = await openServingEngine(model, {
    contextTokens,
    topK: 64,
    parallel: 4,
    threads: 1,
  });
  const replay = await openReplayEngine(entry, model, { threads: 1 });
  const [single, four, again]: [number[], number[], number[]] = [[], [], []];
  for (let rep = 0; rep < reps; rep++) {
    let start = process.cpuUsage();
    const pairs: Pair[] = [];
    for (const [i, text] of prompts.entries())
      pairs.push(await generatePair(server, text, BigInt(i + 1)));
    const count = prompts.length * tokensPerPair;
    single.push(cpuMs(start) / count);
    start = process.cpuUsage();
    await Promise.all(prompts.map((text, i) => generatePair(server, text, BigInt(i + 9))));
    four.push(cpuMs(start) / count);
    start = process.cpuUsage();
    for (const [i, pair] of pairs.entries()) {
      const positions = await replay.replay(pair.promptIds, pair.ids, 64 + candidatesBeyond);
      positions.forEach((candidates, at) => drawToken(candidates, params, BigInt(i + 1), at));
    }
    again.push(cpuMs(start) / count);
    say(
      `rep ${rep + 1}: alone ${single.at(-1)}, four at once ${four.at(-1)}, recomputed ${again.at(-1)}`,
    );
  }
  await server.close();
  await replay.close();
  const [alone, batched, recomputed] = [median(single), median(four), median(again)];
  return [
    {
      "generation alone, CPU ms/token": alone,
      "generation four at once": batched,
      recomputation: recomputed,
      "recomputation / alone (aim <= 0.2)": recomputed / alone,
      "recomputation / four at once": recomputed / batched,
    },
  ];
}
