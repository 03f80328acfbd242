/** The server's engine on llama.cpp: sequences of one context, batched together. */
import type { LlamaContext, LlamaContextSequence } from "node-llama-cpp";
import { assert, UnavailableError } from "../../base/assert.ts";
import type { Candidates } from "../../format/noise.ts";
import type { Speller } from "../../format/output-rules.ts";
import type { Prompt } from "../../format/pair.ts";
import type { Engine, Sequence } from "../../server/engine.port.ts";
import { askTop, asToken, candidatesOf, loadModel, why, type LoadedModel } from "./runtime.ts";

export interface ServingOptions {
  readonly contextTokens: number;
  /** Sequences that run at once. Each costs a key-value cache of `contextTokens`. */
  readonly parallel: number;
  /** Candidates per position: the whitelist entry's maximum top-k. */
  readonly topK: number;
  readonly threads: number;
}

/** What a sequence needs of its engine. */
interface Owner {
  /** Resolves when no sequence is being taken back: steps wait for that. */
  readonly settled: Promise<void>;
  takeBack(sequence: LlamaContextSequence, running: Promise<unknown>): void;
}

class LlamaSequence implements Sequence {
  readonly #sequence: LlamaContextSequence;
  readonly #topK: number;
  readonly #ask: ReturnType<typeof askTop>;
  readonly #owner: Owner;
  #running: Promise<unknown> = Promise.resolve();
  #disposed = false;

  constructor(sequence: LlamaContextSequence, topK: number, owner: Owner) {
    this.#sequence = sequence;
    this.#topK = topK;
    this.#ask = askTop(topK);
    this.#owner = owner;
  }

  next(ids: readonly number[]): Promise<Candidates> {
    const step = this.#next(ids);
    this.#running = step.catch(() => undefined);
    return step;
  }

  async #next(ids: readonly number[]): Promise<Candidates> {
    assert(!this.#disposed, "a disposed sequence is not used");
    assert(ids.length > 0, "a distribution follows at least one token");
    const free = this.#sequence.contextSize - 1 - this.#sequence.nextTokenIndex;
    assert(ids.length <= free, "the sequence fits its context");
    await this.#owner.settled;
    const last = ids.length - 1;
    const input = ids.map((id, i) => (i < last ? asToken(id) : this.#ask(id)));
    try {
      return candidatesOf((await this.#sequence.controlledEvaluate(input))[last], this.#topK);
    } catch (error) {
      if (error instanceof UnavailableError) throw error;
      throw new UnavailableError("engine.down", `llama.cpp failed: ${why(error)}`, "unknown");
    }
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#owner.takeBack(this.#sequence, this.#running);
  }
}

class LlamaEngine implements Engine, Owner {
  readonly contextTokens: number;
  readonly parallel: number;
  readonly #model: LoadedModel;
  readonly #context: LlamaContext;
  readonly #topK: number;
  #open = 0;
  #closed = false;
  settled: Promise<void> = Promise.resolve();

  constructor(model: LoadedModel, context: LlamaContext, options: ServingOptions) {
    this.#model = model;
    this.#context = context;
    this.contextTokens = options.contextTokens;
    this.parallel = options.parallel;
    this.#topK = Math.min(options.topK, model.vocabulary.size);
  }

  promptIds(prompt: Prompt): number[] {
    return this.#model.promptIdsWithin(prompt, this.contextTokens);
  }

  isEndOfGeneration(id: number): boolean {
    return this.#model.isEndOfGeneration(id);
  }

  speller(): Speller {
    return this.#model.vocabulary.speller();
  }

  async open(): Promise<Sequence> {
    if (this.#open >= this.parallel) {
      throw new UnavailableError("engine.full", "all sequences are taken", "none");
    }
    this.#open++;
    await this.settled;
    if (this.#closed) throw new UnavailableError("engine.down", "the engine is closed", "none");
    return new LlamaSequence(this.#context.getSequence(), this.#topK, this);
  }

  /**
   * The context frees a sequence only between two runs of its decode loop, and that loop goes on
   * while any sequence has work: so new steps wait until the cells are free.
   */
  takeBack(sequence: LlamaContextSequence, running: Promise<unknown>): void {
    const earlier = this.settled;
    // A step of this very sequence may itself be waiting for `settled`: it is awaited outside of it.
    const freed = running.then(() => sequence.dispose()).catch(() => undefined);
    this.settled = earlier.then(() => freed).then(() => undefined);
    this.#open--;
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.settled;
    await this.#context.dispose();
    await this.#model.close();
  }
}

/**
 * Loads a GGUF file to serve from it. Throws UnavailableError `engine.*`, InvalidError `model.*`,
 * `template.syntax`.
 */
export async function openServingEngine(path: string, options: ServingOptions): Promise<Engine> {
  const model = await loadModel(path);
  try {
    const context = await model.context({ ...options, sequences: options.parallel });
    return new LlamaEngine(model, context, options);
  } catch (error) {
    await model.close();
    throw error;
  }
}
