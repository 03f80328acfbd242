/**
 * One model loaded by llama.cpp through node-llama-cpp: tokenizer, template, weights. CPU only.
 * Nothing here writes a file or opens a socket: no build, no download, no logs of the library's own.
 */
import {
  getLlama,
  LlamaLogLevel,
  type ControlledEvaluateIndexOutput,
  type ControlledEvaluateInputItem,
  type Llama,
  type LlamaContext,
  type LlamaModel,
  type Token,
} from "node-llama-cpp";
import { assert, UnavailableError } from "../../base/assert.ts";
import type { Candidates } from "../../format/noise.ts";
import { metadataOf, type ModelMetadata } from "./metadata.ts";
import { ModelText } from "./model-text.ts";
import { replayBatch } from "./replay-runner.ts";

/** The pinned version of node-llama-cpp (package.json). */
const bindingVersion = "3.22.1";

let shared: Promise<Llama> | null = null;

/** The process's one llama.cpp. Throws UnavailableError `engine.no-binary` where none is installed. */
function llamaRuntime(): Promise<Llama> {
  shared ??= getLlama({
    gpu: false,
    build: "never",
    skipDownload: true,
    progressLogs: false,
    logLevel: LlamaLogLevel.disabled,
    logger: () => undefined,
    // No limit here: each context states its own number of threads.
    maxThreads: 0,
  }).catch((error: unknown) => {
    shared = null;
    throw new UnavailableError(
      "engine.no-binary",
      `llama.cpp cannot be loaded: ${why(error)}`,
      "none",
    );
  });
  return shared;
}

export function why(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** As entries of the whitelist name it: `llama.cpp/node-llama-cpp 3.22.1 v0.5.0`. */
export async function engineName(): Promise<string> {
  const llama = await llamaRuntime();
  return `llama.cpp/node-llama-cpp ${bindingVersion} ${llama.llamaCppRelease.release}`;
}

interface ContextOptions {
  /** Prompt and output together, per sequence. */
  readonly contextTokens: number;
  readonly sequences: number;
  readonly threads: number;
}

export class LoadedModel extends ModelText {
  readonly #model: LlamaModel;

  constructor(model: LlamaModel, metadata: ModelMetadata) {
    super(metadata, {
      tokenize: (text, special) => model.tokenize(text, special),
      isEndOfGeneration: (id) => model.isEogToken(asToken(id)),
    });
    this.#model = model;
  }

  /**
   * A context with room for `sequences` independent sequences. Flash attention stays off: without it
   * llama.cpp's results on a CPU do not depend on how a prefill is cut into batches.
   * Throws UnavailableError `engine.context`.
   */
  async context(options: ContextOptions): Promise<LlamaContext> {
    try {
      return await this.#model.createContext({
        sequences: options.sequences,
        // node-llama-cpp keeps one place free and would silently drop the beginning beyond that.
        contextSize: options.contextTokens + 1,
        batchSize: replayBatch,
        threads: { ideal: options.threads, min: options.threads },
        flashAttention: false,
        failedCreationRemedy: false,
      });
    } catch (error) {
      throw new UnavailableError("engine.context", `no context: ${why(error)}`, "none");
    }
  }

  async close(): Promise<void> {
    await this.#model.dispose();
  }
}

/**
 * Loads a GGUF file into memory. The file is not needed afterwards.
 * Throws UnavailableError `engine.load`, InvalidError `gguf.*`, `model.*` or `template.syntax`.
 */
export async function loadModel(path: string): Promise<LoadedModel> {
  const metadata = await metadataOf(path);
  const llama = await llamaRuntime();
  let model: LlamaModel;
  try {
    model = await llama.loadModel({ modelPath: path, gpuLayers: 0, useMmap: false });
  } catch (error) {
    throw new UnavailableError("engine.load", `"${path}" cannot be loaded: ${why(error)}`, "none");
  }
  try {
    return new LoadedModel(model, metadata);
  } catch (error) {
    await model.dispose();
    throw error;
  }
}

/** Ids are plain numbers in Weir and branded ones in node-llama-cpp. */
export function asToken(id: number): Token {
  return id as Token;
}

/**
 * Asks for the `topK` highest logits after a token. Logits rather than probabilities: exact float32
 * values, no exp and log between. The sampler options only bound the work: top-k makes llama.cpp sort
 * topK entries and not the vocabulary, temperature 1 changes nothing. All are stated, since the
 * library's defaults (top-k 40, top-p 0.95) drop candidates without a word.
 */
export function askTop(topK: number): (id: number) => ControlledEvaluateInputItem {
  const options = {
    generateNext: {
      logits: { filter: { tokens: [], includeTop: topK } },
      options: { temperature: 1, topK, topP: 1, minP: 0, seed: 0 },
    },
  };
  return (id) => [asToken(id), options];
}

/** The `wanted` candidates of one result: falling logit, ties by rising id. */
export function candidatesOf(
  result: ControlledEvaluateIndexOutput | undefined,
  wanted: number,
): Candidates {
  const logits = result?.next.logits;
  if (logits?.size !== wanted) {
    const got = logits?.size ?? 0;
    throw new UnavailableError(
      "engine.candidates",
      `${got} of ${wanted} candidates came`,
      "unknown",
    );
  }
  const ids = new Uint32Array(logits.size);
  const logProbs = new Float64Array(logits.size);
  let at = 0;
  for (const [token, logit] of logits) {
    ids[at] = token;
    logProbs[at++] = logit;
  }
  sortTies(ids, logProbs);
  return { ids, logProbs };
}

/** The library sorts by falling logit; among equal logits the ids are put in rising order. */
function sortTies(ids: Uint32Array, logProbs: Float64Array): void {
  for (let start = 0; start < ids.length;) {
    let end = start + 1;
    while (end < ids.length && logProbs[end] === logProbs[start]) end++;
    if (end - start > 1) ids.subarray(start, end).sort();
    start = end;
  }
  for (let i = 1; i < logProbs.length; i++) {
    assert((logProbs[i] ?? 0) <= (logProbs[i - 1] ?? 0), "candidates fall");
  }
}
