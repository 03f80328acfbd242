/**
 * The server's engine on llama.cpp's C interface: one decode per step for all sequences, prompts cut
 * into chunks between them. Beside the default engine (engine.ts) for what that one cannot do: another
 * CPU build, a quantised cache, a LoRA adapter, and generation without a Map per token.
 */
import { assert, UnavailableError } from "../../base/assert.ts";
import type { Candidates } from "../../format/noise.ts";
import type { Speller } from "../../format/output-rules.ts";
import type { Prompt } from "../../format/pair.ts";
import type { Engine, Sequence } from "../../server/engine.port.ts";
import type { ServingOptions } from "./engine.ts";
import { metadataOf } from "./metadata.ts";
import { ModelText } from "./model-text.ts";
import type { KvType } from "./native-abi.ts";
import { openNativeModel, type NativeContext, type NativeModel } from "./native.ts";
import { replayBatch } from "./replay-runner.ts";
import { topOf } from "./top.ts";

export interface NativeServingOptions extends ServingOptions {
  /** One of `cpuBuilds()`; the best one by default. */
  readonly cpuBuild?: string;
  /** See NativeContextOptions: the keys only, unless with flash attention. */
  readonly kvType?: KvType;
  readonly lora?: string;
  readonly flashAttention?: boolean;
}

/** Tokens to append to a sequence; the distribution after the last one is the result. */
interface Job {
  readonly slot: number;
  readonly ids: readonly number[];
  /** Position of ids[0]. */
  readonly start: number;
  /** How many ids are evaluated. */
  done: number;
  readonly resolve: (candidates: Candidates) => void;
  readonly reject: (error: unknown) => void;
}

/** A part of a job in one decode. */
interface Share {
  readonly job: Job;
  readonly count: number;
}

/** What the sequences of one context share: the queue of jobs, and the loop that runs them. */
class Stepper {
  readonly #context: NativeContext;
  readonly #topK: number;
  readonly #batch: number;
  readonly #row: Float32Array;
  #jobs: Job[] = [];
  #stale: number[] = [];
  readonly #free: number[];
  #waiting: { resolve(slot: number): void; reject(error: unknown): void }[] = [];
  #loop: Promise<void> | null = null;
  #closed = false;

  constructor(context: NativeContext, slots: number, batch: number, row: Float32Array, k: number) {
    this.#context = context;
    this.#free = Array.from({ length: slots }, (_, slot) => slot);
    this.#batch = batch;
    this.#row = row;
    this.#topK = k;
  }

  /** A free sequence, empty. Resolves once one that was given back has been emptied. */
  take(): Promise<number> {
    const slot = this.#free.shift();
    if (slot !== undefined) return Promise.resolve(slot);
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  giveBack(slot: number): void {
    this.#stale.push(slot);
    this.#kick();
  }

  run(slot: number, ids: readonly number[], start: number): Promise<Candidates> {
    if (this.#closed) return Promise.reject(down());
    return new Promise((resolve, reject) => {
      this.#jobs.push({ slot, ids, start, done: 0, resolve, reject });
      this.#kick();
    });
  }

  /** Rejects what has not begun, waits for what has. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#loop;
    for (const waiting of [...this.#jobs, ...this.#waiting]) waiting.reject(down());
    this.#jobs = [];
    this.#waiting = [];
    await this.#context.close();
  }

  #kick(): void {
    this.#loop ??= this.#work().finally(() => {
      this.#loop = null;
      if (this.#busy()) this.#kick();
    });
  }

  #busy(): boolean {
    return !this.#closed && (this.#jobs.length > 0 || this.#stale.length > 0);
  }

  async #work(): Promise<void> {
    while (this.#busy()) {
      // A turn of the event loop: those who got a token ask for the next, and are batched together.
      await new Promise((resolve) => setImmediate(resolve));
      this.#empty();
      if (this.#jobs.length > 0) await this.#step();
    }
  }

  #empty(): void {
    for (const slot of this.#stale.splice(0)) {
      this.#context.forget(slot);
      const waiting = this.#waiting.shift();
      if (waiting === undefined) this.#free.push(slot);
      else waiting.resolve(slot);
    }
  }

  /** Short jobs first, so that a long prompt holds up nobody; it has what room is left. */
  #shares(): Share[] {
    const shares: Share[] = [];
    let room = this.#batch;
    const left = (job: Job): number => job.ids.length - job.done;
    for (const job of this.#jobs.toSorted((a, b) => left(a) - left(b))) {
      const count = Math.min(left(job), room);
      if (count > 0) shares.push({ job, count });
      room -= count;
    }
    return shares;
  }

  async #step(): Promise<void> {
    const shares = this.#shares();
    const tokens = { ids: [], positions: [], sequences: [], wanted: [] } as Record<
      "ids" | "positions" | "sequences" | "wanted",
      number[]
    >;
    for (const { job, count } of shares) {
      for (let i = job.done; i < job.done + count; i++) {
        tokens.ids.push(job.ids[i] ?? 0);
        tokens.positions.push(job.start + i);
        tokens.sequences.push(job.slot);
        tokens.wanted.push(i === job.ids.length - 1 ? 1 : 0);
      }
    }
    try {
      await this.#context.decode({
        ids: Int32Array.from(tokens.ids),
        positions: Int32Array.from(tokens.positions),
        sequences: Int32Array.from(tokens.sequences),
        wanted: Uint8Array.from(tokens.wanted),
      });
      this.#answer(shares);
    } catch (error) {
      const failed = new Set(shares.map(({ job }) => job));
      this.#jobs = this.#jobs.filter((job) => !failed.has(job));
      for (const job of failed) job.reject(error);
    }
  }

  #answer(shares: readonly Share[]): void {
    let row = -1;
    for (const { job, count } of shares) {
      row += count;
      job.done += count;
      if (job.done < job.ids.length) continue;
      const top = topOf(this.#context.logits(row, this.#row), this.#topK);
      this.#jobs = this.#jobs.filter((other) => other !== job);
      job.resolve(top);
    }
  }
}

function down(): UnavailableError {
  return new UnavailableError("engine.down", "the engine is closed", "none");
}

class NativeSequence implements Sequence {
  readonly #slot: number;
  readonly #stepper: Stepper;
  readonly #contextTokens: number;
  readonly #onDispose: () => void;
  #at = 0;
  #running: Promise<unknown> = Promise.resolve();
  #disposed = false;

  constructor(slot: number, stepper: Stepper, contextTokens: number, onDispose: () => void) {
    this.#slot = slot;
    this.#stepper = stepper;
    this.#contextTokens = contextTokens;
    this.#onDispose = onDispose;
  }

  async next(ids: readonly number[]): Promise<Candidates> {
    assert(!this.#disposed, "a disposed sequence is not used");
    assert(ids.length > 0, "a distribution follows at least one token");
    assert(this.#at + ids.length <= this.#contextTokens, "the sequence fits its context");
    const step = this.#stepper.run(this.#slot, ids, this.#at);
    this.#at += ids.length;
    this.#running = step.catch(() => undefined);
    return step;
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#onDispose();
    void this.#running.then(() => {
      this.#stepper.giveBack(this.#slot);
    });
  }
}

class NativeEngine implements Engine {
  readonly contextTokens: number;
  readonly parallel: number;
  readonly #text: ModelText;
  readonly #model: NativeModel;
  readonly #stepper: Stepper;
  #open = 0;
  #closed = false;

  constructor(text: ModelText, model: NativeModel, stepper: Stepper, options: ServingOptions) {
    this.#text = text;
    this.#model = model;
    this.#stepper = stepper;
    this.contextTokens = options.contextTokens;
    this.parallel = options.parallel;
  }

  promptIds(prompt: Prompt): number[] {
    return this.#text.promptIdsWithin(prompt, this.contextTokens);
  }

  isEndOfGeneration(id: number): boolean {
    return this.#text.isEndOfGeneration(id);
  }

  speller(): Speller {
    return this.#text.vocabulary.speller();
  }

  async open(): Promise<Sequence> {
    if (this.#closed) throw down();
    if (this.#open >= this.parallel) {
      throw new UnavailableError("engine.full", "all sequences are taken", "none");
    }
    this.#open++;
    const slot = await this.#stepper.take();
    return new NativeSequence(slot, this.#stepper, this.contextTokens, () => {
      this.#open--;
    });
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#stepper.close();
    this.#model.close();
  }
}

/**
 * Loads a GGUF file to serve from it. Throws UnavailableError `engine.*`, InvalidError `model.*`,
 * `template.syntax`.
 */
export async function openNativeEngine(
  path: string,
  options: NativeServingOptions,
): Promise<Engine> {
  const { cpuBuild, parallel, topK } = options;
  const metadata = await metadataOf(path);
  const model = await openNativeModel(path, cpuBuild === undefined ? {} : { cpuBuild });
  try {
    const text = new ModelText(metadata, model);
    const batch = Math.max(replayBatch, parallel);
    const context = model.context({ ...options, sequences: parallel, batch });
    const row = new Float32Array(model.vocabSize);
    const stepper = new Stepper(context, parallel, batch, row, Math.min(topK, model.vocabSize));
    return new NativeEngine(text, model, stepper, options);
  } catch (error) {
    model.close();
    throw error;
  }
}
