/** Replay through llama.cpp's C interface: logits are read where they lie. */
import { UnavailableError } from "../../base/assert.ts";
import type { Candidates } from "../../format/noise.ts";
import { metadataOf } from "./metadata.ts";
import { ModelText } from "./model-text.ts";
import { openNativeModel, type NativeContext, type NativeModel } from "./native.ts";
import { replayBatch, type Runner } from "./replay-runner.ts";
import { topOf } from "./top.ts";

export interface NativeRunnerOptions {
  readonly contextTokens: number;
  readonly threads: number;
  readonly cpuBuild?: string | undefined;
}

class NativeRunner implements Runner {
  readonly text: ModelText;
  readonly #model: NativeModel;
  readonly #context: NativeContext;
  /** One position's logits. */
  readonly #row: Float32Array;

  constructor(text: ModelText, model: NativeModel, context: NativeContext) {
    this.text = text;
    this.#model = model;
    this.#context = context;
    this.#row = new Float32Array(model.vocabSize);
  }

  async positions(
    prompt: readonly number[],
    output: readonly number[],
    wanted: number,
  ): Promise<Candidates[]> {
    // Position i follows prompt and output[0..i-1]: the last id is drawn, never evaluated.
    const ids = Int32Array.from([...prompt, ...output.slice(0, -1)]);
    const first = prompt.length - 1;
    const found: Candidates[] = [];
    this.#context.forget(0);
    for (let start = 0; start < ids.length; start += replayBatch) {
      const batch = ids.subarray(start, start + replayBatch);
      await this.#context.decode({
        ids: batch,
        positions: batch.map((_, i) => start + i),
        sequences: new Int32Array(batch.length),
        wanted: Uint8Array.from(batch, (_, i) => (start + i >= first ? 1 : 0)),
      });
      for (let row = Math.max(0, first - start); row < batch.length; row++) {
        found.push(topOf(this.#context.logits(row, this.#row), wanted));
      }
    }
    return found;
  }

  async close(): Promise<void> {
    await this.#context.close();
    this.#model.close();
  }
}

/** Throws UnavailableError `engine.*`, InvalidError `gguf.*`, `model.*`, `template.syntax`. */
export async function openNativeRunner(
  path: string,
  options: NativeRunnerOptions,
): Promise<Runner> {
  const metadata = await metadataOf(path);
  const { cpuBuild } = options;
  const model = await openNativeModel(path, cpuBuild === undefined ? {} : { cpuBuild });
  try {
    const text = new ModelText(metadata, model);
    if (text.vocabulary.size !== model.vocabSize) {
      const sizes = `${text.vocabulary.size} and ${model.vocabSize}`;
      throw new UnavailableError("engine.abi", `the vocabulary's sizes differ: ${sizes}`, "none");
    }
    const { contextTokens, threads } = options;
    const context = model.context({ contextTokens, sequences: 1, threads, batch: replayBatch });
    return new NativeRunner(text, model, context);
  } catch (error) {
    model.close();
    throw error;
  }
}
