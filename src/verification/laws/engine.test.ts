/** `llama-mt19937/1` against the engine that it describes: its own sampling, token by token. */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import {
  getLlama,
  LlamaLogLevel,
  type ControlledEvaluateIndexOutput,
  type LlamaContextSequence,
  type Token,
} from "node-llama-cpp";
import { askTop, candidatesOf } from "../../adapter/llama/runtime.ts";
import type { DrawParams } from "../../format/noise.ts";
import { tokenFacts } from "../facts.ts";
import { llamaMt19937 } from "./llama-mt19937.ts";

const llama = await getLlama({
  gpu: false,
  build: "never",
  skipDownload: true,
  progressLogs: false,
  logLevel: LlamaLogLevel.disabled,
});
const model = await llama.loadModel({ modelPath: "models/weir-demo.gguf", gpuLayers: 0 });
const context = await model.createContext({
  contextSize: 256,
  threads: { ideal: 1, min: 1 },
  flashAttention: false,
});
after(() => context.dispose().then(() => model.dispose()));
const sequence = context.getSequence();
const prompt = model.tokenize("Once upon a time there was a river", false);
const beyond = 16;

/** What llama.cpp itself samples. */
async function sampled(seed: number, params: DrawParams, count: number): Promise<Token[]> {
  await sequence.clearHistory();
  const tokens: Token[] = [];
  const options = { ...params, minP: 0, seed, yieldEogToken: true } as const;
  for await (const token of sequence.evaluate(prompt, options)) {
    if (tokens.push(token) === count) break;
  }
  return tokens;
}

/** Its logits before each of these tokens, decoded one by one as they were when it sampled. */
async function decoded(of: LlamaContextSequence, tokens: readonly Token[], topK: number) {
  const ask = askTop(topK + beyond);
  await of.clearHistory();
  const last = prompt.length - 1;
  const first = await of.controlledEvaluate(prompt.map((id, i) => (i < last ? id : ask(id))));
  const results: (ControlledEvaluateIndexOutput | undefined)[] = [first[last]];
  for (const token of tokens.slice(0, -1)) {
    results.push((await of.controlledEvaluate([ask(token)]))[0]);
  }
  return results.map((result) => candidatesOf(result, topK + beyond));
}

test("laws: what llama.cpp samples under a seed -> the law draws it from the same logits, every token", async () => {
  const cases: [number, DrawParams][] = [
    [1, { temperature: 1, topK: 64, topP: 1 }],
    [0xfffffffe, { temperature: 0.7, topK: 40, topP: 1 }],
    [9, { temperature: 1.3, topK: 64, topP: 0.9 }],
    [11, { temperature: 0.8, topK: 64, topP: 0.5 }],
  ];
  for (const [seed, params] of cases) {
    const tokens = await sampled(seed, params, 64);
    const positions = await decoded(sequence, tokens, params.topK);
    const wrong = tokens.filter((token, index) => {
      const position = { candidates: positions[index] ?? assert.fail(), params, index };
      return !tokenFacts(llamaMt19937, { ...position, seed: BigInt(seed) }, token, 0).agrees;
    });
    assert.equal(tokens.length, 64);
    assert.equal(wrong.length, 0, `seed ${seed}, T = ${params.temperature}, p = ${params.topP}`);
    const other = tokens.filter((token, index) => {
      const position = { candidates: positions[index] ?? assert.fail(), params, index };
      return !tokenFacts(llamaMt19937, { ...position, seed: BigInt(seed ^ 1) }, token, 0).agrees;
    });
    assert.ok(other.length > 8, `another seed draws another text: ${other.length}`);
  }
});
