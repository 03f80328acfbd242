/** The recomputer's engine on llama.cpp: teacher-forced prefill of prompt and output. */
import { InvalidError, UnavailableError } from "../../base/assert.ts";
import type { Logger } from "../../base/report.ts";
import type { Candidates } from "../../format/noise.ts";
import type { Speller } from "../../format/output-rules.ts";
import type { Prompt } from "../../format/pair.ts";
import type { WhitelistEntry } from "../../format/whitelist.ts";
import type { OpenEngine, ReplayEngine } from "../../recomputer/engine.port.ts";
import { openLibraryRunner } from "./replay-library.ts";
import type { Runner } from "./replay-runner.ts";

export interface ReplayOptions {
  readonly threads: number;
  /**
   * native: llama.cpp's C interface; library: node-llama-cpp, a little slower. By default
   * native, and library where the binding does not fit the installed libraries.
   */
  readonly binding?: "native" | "library";
  /** One of `cpuBuilds()`; the best one by default. Not with the library. */
  readonly cpuBuild?: string;
  /** Hears `engine.binding` when the library has to be used. */
  readonly logger?: Logger;
}

class LlamaReplay implements ReplayEngine {
  readonly entry: WhitelistEntry;
  readonly #runner: Runner;
  /** One replay after the other. */
  #queue: Promise<unknown> = Promise.resolve();
  #closed = false;

  constructor(entry: WhitelistEntry, runner: Runner) {
    this.entry = entry;
    this.#runner = runner;
  }

  get vocabularySize(): number {
    return this.#runner.text.vocabulary.size;
  }

  promptIds(prompt: Prompt): number[] {
    return this.#runner.text.promptIds(prompt);
  }

  spell(ids: ArrayLike<number>): string {
    return this.#runner.text.vocabulary.spell(ids);
  }

  speller(): Speller {
    return this.#runner.text.vocabulary.speller();
  }

  isEndOfGeneration(id: number): boolean {
    return this.#runner.text.isEndOfGeneration(id);
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
    const wanted = Math.min(count, this.#runner.text.vocabulary.size);
    return this.#runner.positions(prompt, output, wanted);
  }

  #check(prompt: readonly number[], output: readonly number[]): void {
    if (prompt.length === 0) throw new InvalidError("replay.no-prompt", "the prompt has no tokens");
    const total = prompt.length + output.length;
    if (total > this.entry.generation.contextTokens) {
      throw new InvalidError("replay.too-long", `${total} tokens exceed the context`);
    }
    // llama.cpp would fail as a whole on an id that does not exist.
    for (const ids of [prompt, output]) {
      for (const id of ids) this.#runner.text.vocabulary.piece(id);
    }
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#queue;
    await this.#runner.close();
  }
}

/** Loaded when needed, so that a system without koffi's binary still has the library. */
export const nativeLoader = {
  load: (): Promise<typeof import("./replay-native.ts")> => import("./replay-native.ts"),
};

async function runnerFor(
  contextTokens: number,
  path: string,
  options: ReplayOptions,
): Promise<Runner> {
  const { threads, binding, cpuBuild, logger } = options;
  if (binding !== "library") {
    try {
      const { openNativeRunner } = await nativeLoader.load();
      return await openNativeRunner(path, { contextTokens, threads, cpuBuild });
    } catch (error) {
      if (binding === "native" || cpuBuild !== undefined || !unfit(error)) throw error;
      const why = error instanceof Error ? error.message : String(error);
      logger?.log("warn", "engine.binding", { binding: "node-llama-cpp", slower: true, why });
    }
  }
  return openLibraryRunner(path, { contextTokens, threads });
}

/** Whether an error says that the binding does not fit this system, rather than the model. */
function unfit(error: unknown): boolean {
  if (error instanceof InvalidError) return false;
  if (!(error instanceof UnavailableError)) return true;
  return error.code === "engine.abi" || error.code === "engine.no-binary";
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
  return new LlamaReplay(entry, await runnerFor(entry.generation.contextTokens, path, options));
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
