/** What a recomputer needs of an inference engine. adapter/llama implements it. */
import type { Candidates } from "../format/noise.ts";
import type { Speller } from "../format/output-rules.ts";
import type { Prompt } from "../format/pair.ts";
import type { WhitelistEntry } from "../format/whitelist.ts";

export interface ReplayEngine {
  readonly entry: WhitelistEntry;
  /** Tokens that the model has: what a server could have named at any position. */
  readonly vocabularySize: number;
  /** Ids of a prompt: chat template, then tokenizer. Throws InvalidError `template.*`. */
  promptIds(prompt: Prompt): number[];
  /** What these ids spell, end-of-generation tokens excluded, before any stop string is cut. */
  spell(ids: ArrayLike<number>): string;
  /** A fresh incremental detokeniser, as expectedOutput (format/output-rules) takes it. */
  speller(): Speller;
  isEndOfGeneration(id: number): boolean;
  /**
   * Teacher-forced prefill of prompt + output in one pass: the `count` most probable candidates
   * (all, where the vocabulary is smaller) at each output position (position i: distribution after
   * prompt and the first i output ids), sorted as in format/noise. `count` exceeds the entry's
   * topKMax a little, so that tokens at the very edge of the support can be told from impossible
   * ones. Throws UnavailableError when the engine is down.
   */
  replay(
    promptIds: readonly number[],
    outputIds: readonly number[],
    count: number,
  ): Promise<Candidates[]>;
  close(): Promise<void>;
}

/** Loads the engine for a model, or throws UnavailableError (`engine.no-model`, `engine.down`). */
export type OpenEngine = (entry: WhitelistEntry) => Promise<ReplayEngine>;
