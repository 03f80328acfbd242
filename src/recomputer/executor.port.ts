/**
 * The engine as the recomputer's instructor sees it: prompts, tokens one at a time, distributions.
 * What is claimed is told too late to be of use. adapter/llama/slots.ts computes, adapter/executor/
 * puts a process between.
 */
import type { Candidates } from "../format/noise.ts";

/** One slot goes on: with the token drawn at the position whose distribution came last. */
export interface Move {
  readonly slot: number;
  /** null in the first move of a slot: the distribution after the prompt is asked for. */
  readonly token: number | null;
}

export interface Executor {
  /** Sequences at once, numbered from 0. */
  readonly slots: number;
  /** Tokens that the model has. */
  readonly vocabularySize: number;
  /** Prompt and output together, per sequence. */
  readonly contextTokens: number;
  /**
   * Begins a sequence in a slot that is not in use; nothing is computed yet. Its candidates will be the
   * `count` most probable ones, or all where the vocabulary is smaller.
   */
  open(slot: number, promptIds: readonly number[], count: number): void;
  /**
   * Candidates of the next position of each moved slot, in the order of `moves`, sorted as in
   * format/noise. One step at a time, no slot twice in it. Rejects with UnavailableError `engine.*`:
   * the executor is then of no further use.
   */
  step(moves: readonly Move[]): Promise<Candidates[]>;
  /** Ends a sequence; between steps. */
  close(slot: number): void;
  /** Ends the executor; a step under way fails. Resolves when nothing of it is left. Idempotent. */
  end(): Promise<void>;
}
