/** The recomputer's engine on llama.cpp: teacher-forced prefill of prompt and output. */
import type { LlamaContextSequence } from "node-llama-cpp";
import { InvalidError, UnavailableError } from "../../base/assert.ts";
import type { Candidates } from "../../format/noise.ts";
import type { Speller } from "../../format/output-rules.ts";
import type { Prompt } from "../../format/pair.ts";
import type { WhitelistEntry } from "../../format/whitelist.ts";
import type { OpenEngine, ReplayEngine } from "../../recomputer/engine.port.ts";
import { askTop, asToken, candidatesOf, loadModel, why, type LoadedModel } from "./runtime.ts";

export interface ReplayOptions {
  readonly threads: number;
}

class LlamaReplay implements ReplayEngine {
  readonly entry: WhitelistEntry;
  readonly #model: LoadedModel;
  readonly #sequence: LlamaContextSequence;
  /** Replays share one sequence, one after the other. */
  #queue: Promise<unknown> = Promise.resolve();
  #closed = false;

  constructor(entry: WhitelistEntry, model: LoadedModel, sequence: LlamaContextSequence) {
    this.entry = entry;
    this.#model = model;
    this.#sequence = sequence;
  }

  promptIds(prompt: Prompt): number[] {
    return this.#model.promptIds(prompt);
  }

  spell(ids: ArrayLike<number>): string {
    return this.#model.vocabulary.spell(ids);
  }

  speller(): Speller {
    return this.#model.vocabulary.speller();
  }

  isEndOfGeneration(id: number): boolean {
    return this.#model.isEndOfGeneration(id);
  }

  /** Throws InvalidError `replay.too-long`, `replay.no-prompt` or `token.unknown` for other ids. */
  replay(
    promptIds: readonly number[],
    outputIds: readonly number[],
    count: number,
  ): Promise<Candidates[]> {
    const result = this.#queue.then(() => this.#replay(promptIds, outputIds, count));
    this.#queue = result.catch(() => undefined);
    return result;
  }

  async #replay(
    prompt: readonly number[],
    output: readonly number[],
    count: number,
  ): Promise<Candidates[]> {
    if (this.#closed) throw new UnavailableError("engine.down", "the engine is closed", "none");
    if (output.length === 0) return [];
    this.#check(prompt, output);
    // Position i follows prompt and output[0..i-1]: the last id is drawn, never evaluated.
    const first = prompt.length - 1;
    const ids = [...prompt, ...output.slice(0, -1)];
    const wanted = Math.min(count, this.#model.vocabulary.size);
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

  #check(prompt: readonly number[], output: readonly number[]): void {
    if (prompt.length === 0) throw new InvalidError("replay.no-prompt", "the prompt has no tokens");
    const total = prompt.length + output.length;
    if (total > this.entry.generation.contextTokens) {
      throw new InvalidError("replay.too-long", `${total} tokens exceed the context`);
    }
    // llama.cpp would fail as a whole on an id that does not exist.
    for (const ids of [prompt, output]) for (const id of ids) this.#model.vocabulary.piece(id);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#queue;
    await this.#sequence.context.dispose();
    await this.#model.close();
  }
}

/**
 * Loads a GGUF file to replay on. The file's bytes are the caller's to check against the entry.
 * Throws UnavailableError `engine.*`, InvalidError `model.*`.
 */
export async function openReplayEngine(
  entry: WhitelistEntry,
  path: string,
  options: ReplayOptions,
): Promise<ReplayEngine> {
  const model = await loadModel(path);
  try {
    const { contextTokens } = entry.generation;
    const context = await model.context({ contextTokens, sequences: 1, threads: options.threads });
    return new LlamaReplay(entry, model, context.getSequence());
  } catch (error) {
    await model.close();
    throw error;
  }
}

/**
 * The OpenEngine of a recomputer. `pathOf` names the recomputer's own copy of an entry's weights, or
 * null where it has none (UnavailableError `engine.no-model`).
 */
export function replayEngines(
  pathOf: (entry: WhitelistEntry) => string | null,
  options: ReplayOptions,
): OpenEngine {
  return async (entry) => {
    const path = pathOf(entry);
    if (path === null) {
      throw new UnavailableError("engine.no-model", `no weights for "${entry.modelId}"`, "none");
    }
    return openReplayEngine(entry, path, options);
  };
}
