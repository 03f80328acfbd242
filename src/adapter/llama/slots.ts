/**
 * Sequences that advance together, one token each, in one llama batch: what computes in the
 * executor. Prompts are evaluated with a sequence's first step.
 */
import { assert, UnavailableError } from "../../base/assert.ts";
import type { Candidates } from "../../format/noise.ts";
import type { Executor, Move } from "../../recomputer/executor.port.ts";
import { metadataOf } from "./metadata.ts";
import { openNativeModel, type NativeContext, type NativeModel } from "./native.ts";
import { replayBatch } from "./replay-runner.ts";
import { topOf } from "./top.ts";

export interface SlotsOptions {
  readonly slots: number;
  readonly contextTokens: number;
  readonly threads: number;
  /** One of `cpuBuilds()`; the best one by default. */
  readonly cpuBuild?: string;
}

interface Sequence {
  /** Ids that no step has evaluated yet. */
  ahead: readonly number[];
  /** Ids that were. */
  at: number;
  readonly count: number;
}

/** Tokens of one step, cut into batches. */
interface Tokens {
  readonly ids: number[];
  readonly positions: number[];
  readonly sequences: number[];
  readonly wanted: number[];
  /** Which move a wanted token answers. */
  readonly moves: number[];
}

class NativeSlots implements Executor {
  readonly slots: number;
  readonly contextTokens: number;
  readonly #model: NativeModel;
  readonly #context: NativeContext;
  readonly #batch: number;
  readonly #row: Float32Array;
  readonly #sequences = new Map<number, Sequence>();
  #running: Promise<unknown> = Promise.resolve();
  #ended = false;

  constructor(model: NativeModel, context: NativeContext, batch: number, options: SlotsOptions) {
    this.#model = model;
    this.#context = context;
    this.#batch = batch;
    this.slots = options.slots;
    this.contextTokens = options.contextTokens;
    this.#row = new Float32Array(model.vocabSize);
  }

  get vocabularySize(): number {
    return this.#model.vocabSize;
  }

  open(slot: number, promptIds: readonly number[], count: number): void {
    assert(!this.#sequences.has(slot) && slot >= 0 && slot < this.slots, "a free slot is opened");
    assert(promptIds.length > 0, "a distribution follows at least one token");
    const wanted = Math.min(count, this.vocabularySize);
    this.#sequences.set(slot, { ahead: promptIds, at: 0, count: wanted });
  }

  close(slot: number): void {
    assert(this.#sequences.delete(slot), "an open slot is closed");
    this.#context.forget(slot);
  }

  step(moves: readonly Move[]): Promise<Candidates[]> {
    const step = this.#step(moves);
    this.#running = step.catch(() => undefined);
    return step;
  }

  async #step(moves: readonly Move[]): Promise<Candidates[]> {
    if (this.#ended) throw new UnavailableError("engine.down", "the engine is closed", "none");
    const tokens = this.#tokensOf(moves);
    const found: Candidates[] = [];
    for (let start = 0; start < tokens.ids.length; start += this.#batch) {
      const part = <T>(all: readonly T[]): T[] => all.slice(start, start + this.#batch);
      const wanted = part(tokens.wanted);
      await this.#context.decode({
        ids: Int32Array.from(part(tokens.ids)),
        positions: Int32Array.from(part(tokens.positions)),
        sequences: Int32Array.from(part(tokens.sequences)),
        wanted: Uint8Array.from(wanted),
      });
      for (const [row, is] of wanted.entries()) {
        if (is === 0) continue;
        const move = tokens.moves[start + row] ?? 0;
        const { count } = this.#sequence(moves[move]?.slot ?? -1);
        found[move] = topOf(this.#context.logits(row, this.#row), count);
      }
    }
    return found;
  }

  #tokensOf(moves: readonly Move[]): Tokens {
    const tokens: Tokens = { ids: [], positions: [], sequences: [], wanted: [], moves: [] };
    for (const [move, { slot, token }] of moves.entries()) {
      const sequence = this.#sequence(slot);
      assert((token === null) === (sequence.at === 0), "a slot's first move has no token");
      const ids = token === null ? sequence.ahead : [token];
      assert(sequence.at + ids.length <= this.contextTokens, "the sequence fits its context");
      for (const [i, id] of ids.entries()) {
        tokens.ids.push(id);
        tokens.positions.push(sequence.at + i);
        tokens.sequences.push(slot);
        tokens.wanted.push(i === ids.length - 1 ? 1 : 0);
        tokens.moves.push(move);
      }
      sequence.at += ids.length;
      sequence.ahead = [];
    }
    return tokens;
  }

  #sequence(slot: number): Sequence {
    const sequence = this.#sequences.get(slot);
    assert(sequence !== undefined, "a slot is open");
    return sequence;
  }

  async end(): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    await this.#running;
    await this.#context.close();
    this.#model.close();
  }
}

/**
 * Loads a GGUF file to step sequences on. Throws UnavailableError `engine.*`, InvalidError `gguf.*`,
 * `model.*`.
 */
export async function openSlots(path: string, options: SlotsOptions): Promise<Executor> {
  const { cpuBuild, contextTokens, slots, threads } = options;
  // llama.cpp is given no file that our own reader would refuse.
  await metadataOf(path);
  const model = await openNativeModel(path, cpuBuild === undefined ? {} : { cpuBuild });
  try {
    const batch = Math.max(replayBatch, slots);
    const context = model.context({ contextTokens, sequences: slots, threads, batch });
    return new NativeSlots(model, context, batch, options);
  } catch (error) {
    model.close();
    throw error;
  }
}
