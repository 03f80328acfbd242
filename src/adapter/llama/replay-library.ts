/** Replay through node-llama-cpp, where its libraries are not the ones that native-abi.ts describes. */
import type { LlamaContextSequence } from "node-llama-cpp";
import { UnavailableError } from "../../base/assert.ts";
import type { Candidates } from "../../format/noise.ts";
import type { Runner } from "./replay-runner.ts";
import { askTop, asToken, candidatesOf, loadModel, why, type LoadedModel } from "./runtime.ts";

class LibraryRunner implements Runner {
  readonly text: LoadedModel;
  readonly #sequence: LlamaContextSequence;

  constructor(text: LoadedModel, sequence: LlamaContextSequence) {
    this.text = text;
    this.#sequence = sequence;
  }

  async positions(
    prompt: readonly number[],
    output: readonly number[],
    wanted: number,
  ): Promise<Candidates[]> {
    // Position i follows prompt and output[0..i-1]: the last id is drawn, never evaluated.
    const first = prompt.length - 1;
    const ids = [...prompt, ...output.slice(0, -1)];
    const ask = askTop(wanted);
    const input = ids.map((id, at) => (at < first ? asToken(id) : ask(id)));
    try {
      await this.#sequence.clearHistory();
      const results = await this.#sequence.controlledEvaluate(input);
      return output.map((_, i) => candidatesOf(results[first + i], wanted));
    } catch (error) {
      if (error instanceof UnavailableError) throw error;
      throw new UnavailableError("engine.down", `llama.cpp failed: ${why(error)}`, "unknown");
    }
  }

  async close(): Promise<void> {
    await this.#sequence.context.dispose();
    await this.text.close();
  }
}

/** Throws UnavailableError `engine.*`, InvalidError `gguf.*`, `model.*`, `template.syntax`. */
export async function openLibraryRunner(
  path: string,
  options: { readonly contextTokens: number; readonly threads: number },
): Promise<Runner> {
  const model = await loadModel(path);
  try {
    const context = await model.context({ ...options, sequences: 1 });
    return new LibraryRunner(model, context.getSequence());
  } catch (error) {
    await model.close();
    throw error;
  }
}
