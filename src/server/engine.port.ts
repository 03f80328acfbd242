/** What the server's agent needs of an inference engine. adapter/llama implements it. */
import type { Candidates } from "../format/noise.ts";
import type { Speller } from "../format/output-rules.ts";
import type { Prompt } from "../format/pair.ts";

/** One sequence of the engine: a KV cache with a single writer. */
export interface Sequence {
  /**
   * Appends `ids` and returns the distribution of the next token: the `topK` most probable,
   * sorted by falling probability, ties by rising id. Throws UnavailableError when the engine is down.
   */
  next(ids: readonly number[]): Promise<Candidates>;
  /** Frees the sequence for another request. Idempotent. */
  dispose(): void;
}

export interface Engine {
  readonly contextTokens: number;
  /** Sequences that may be open at once; they are batched together. */
  readonly parallel: number;
  /**
   * Ids of a prompt: chat template, then tokenizer. Throws InvalidError `template.*`; `prompt.too-long`
   * where it is plain without tokenising that the context is too small.
   */
  promptIds(prompt: Prompt): number[];
  isEndOfGeneration(id: number): boolean;
  speller(): Speller;
  /** Throws UnavailableError `engine.full` (effect none) when all sequences are taken. */
  open(): Promise<Sequence>;
  close(): Promise<void>;
}
