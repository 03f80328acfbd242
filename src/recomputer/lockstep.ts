/**
 * Step 4, blind: the instructor. Pairs are replayed side by side, one position of each per step, and
 * **token i of a pair is revealed only after the distribution at position i came back**. So whatever
 * the executor runs, it has answered before it knows what was claimed; the last token of a pair it
 * never learns. This file is where that is kept (docs/decisions/0015-blind-executor.md).
 *
 * An executor that fails once is ended, and all its pairs fail with it: one that has seen a part of a
 * pair shall not be asked about that pair again.
 */
import { assert, InvalidError, UnavailableError } from "../base/assert.ts";
import type { Clock } from "../base/clock.ts";
import type { Candidates } from "../format/noise.ts";
import type { WhitelistEntry } from "../format/whitelist.ts";
import type { ReplayEngine } from "./engine.port.ts";
import type { Executor, Move } from "./executor.port.ts";

/** A step that takes longer than `baseMs + tokens * perTokenMs` has hung. */
export interface StepDeadline {
  readonly baseMs: number;
  readonly perTokenMs: number;
}

interface Pair {
  readonly promptIds: readonly number[];
  readonly outputIds: readonly number[];
  readonly count: number;
  /** One for each position that was answered. */
  readonly positions: Candidates[];
  readonly resolve: (positions: Candidates[]) => void;
  readonly reject: (error: unknown) => void;
}

export class Lockstep {
  readonly #executor: Executor;
  readonly #clock: Clock;
  readonly #deadline: StepDeadline;
  readonly #free: number[];
  readonly #active = new Map<number, Pair>();
  #waiting: Pair[] = [];
  #running = false;
  #failure: UnavailableError | null = null;

  constructor(executor: Executor, clock: Clock, deadline: StepDeadline) {
    this.#executor = executor;
    this.#clock = clock;
    this.#deadline = deadline;
    this.#free = Array.from({ length: executor.slots }, (_, slot) => slot);
  }

  /** Why it can replay no more; null while it can. */
  get failure(): UnavailableError | null {
    return this.#failure;
  }

  /**
   * The `count` best candidates at each output position. Throws InvalidError `replay.no-prompt`,
   * `replay.too-long`, `token.unknown`; UnavailableError `engine.*`.
   */
  async replay(
    promptIds: readonly number[],
    outputIds: readonly number[],
    count: number,
  ): Promise<Candidates[]> {
    if (this.#failure !== null) throw this.#failure;
    if (outputIds.length === 0) return [];
    this.#check(promptIds, outputIds);
    return new Promise((resolve, reject) => {
      this.#waiting.push({ promptIds, outputIds, count, positions: [], resolve, reject });
      if (!this.#running) void this.#run();
    });
  }

  #check(promptIds: readonly number[], outputIds: readonly number[]): void {
    const { contextTokens, vocabularySize } = this.#executor;
    if (promptIds.length === 0) {
      throw new InvalidError("replay.no-prompt", "the prompt has no tokens");
    }
    const total = promptIds.length + outputIds.length;
    if (total > contextTokens) {
      throw new InvalidError("replay.too-long", `${total} tokens exceed the context`);
    }
    for (const ids of [promptIds, outputIds]) {
      const unknown = ids.find((id) => id >= vocabularySize);
      if (unknown === undefined) continue;
      throw new InvalidError("token.unknown", `there is no token ${unknown}`);
    }
  }

  async #run(): Promise<void> {
    this.#running = true;
    try {
      // A turn first: pairs that are handed over together begin together.
      await Promise.resolve();
      while (this.#failure === null && this.#active.size + this.#waiting.length > 0) {
        this.#admit();
        await this.#step();
      }
    } catch (error) {
      if (!(error instanceof UnavailableError)) throw error;
      this.fail(error);
    } finally {
      this.#running = false;
    }
  }

  #admit(): void {
    while (this.#waiting.length > 0) {
      const slot = this.#free.shift();
      if (slot === undefined) return;
      const pair = this.#waiting.shift();
      assert(pair !== undefined, "a pair waits");
      this.#executor.open(slot, pair.promptIds, pair.count);
      this.#active.set(slot, pair);
    }
  }

  async #step(): Promise<void> {
    const slots = [...this.#active];
    const moves: Move[] = slots.map(([slot, { positions, outputIds }]) => {
      // positions.length distributions are here: the token drawn from the last of them may go.
      const token = positions.length === 0 ? null : (outputIds[positions.length - 1] ?? 0);
      return { slot, token };
    });
    const tokens = slots.reduce((sum, [, { positions, promptIds }]) => {
      return sum + (positions.length === 0 ? promptIds.length : 1);
    }, 0);
    const answers = await this.#within(tokens, this.#executor.step(moves));
    if (this.#failure !== null) return;
    if (answers.length !== moves.length) {
      throw new UnavailableError("engine.broken", "the engine left positions out", "none");
    }
    for (const [at, [slot, pair]] of slots.entries()) {
      const answer = answers[at];
      assert(answer !== undefined, "there is an answer for each move");
      pair.positions.push(answer);
      if (pair.positions.length < pair.outputIds.length) continue;
      this.#executor.close(slot);
      this.#active.delete(slot);
      this.#free.push(slot);
      pair.resolve(pair.positions);
    }
  }

  #within<T>(tokens: number, work: Promise<T>): Promise<T> {
    const { baseMs, perTokenMs } = this.#deadline;
    const ms = baseMs + tokens * perTokenMs;
    return new Promise((resolve, reject) => {
      const timer = this.#clock.after(ms, () => {
        reject(new UnavailableError("engine.timeout", `no step in ${Math.round(ms)} ms`, "none"));
      });
      work.then(resolve, reject).finally(() => {
        timer.cancel();
      });
    });
  }

  /** Every pair fails, now and later, and the executor is ended. Idempotent. */
  fail(error: UnavailableError): void {
    if (this.#failure !== null) return;
    this.#failure = error;
    const pairs = [...this.#active.values(), ...this.#waiting];
    this.#active.clear();
    this.#waiting = [];
    for (const pair of pairs) pair.reject(error);
    // What cannot be ended is told to whoever closes the engine.
    this.#executor.end().catch(() => undefined);
  }

  /** Ends the executor; pairs under way fail. Rejects when something of it may be left. */
  async close(): Promise<void> {
    this.fail(new UnavailableError("engine.down", "the engine is closed", "none"));
    await this.#executor.end();
  }
}

/** What is text about a model, as checks need it: the part of an engine that computes nothing. */
export type BlindText = Pick<
  ReplayEngine,
  "promptIds" | "spell" | "speller" | "isEndOfGeneration"
> & { close(): void };

/** A ReplayEngine whose arithmetic is an executor's. Takes both over, and closes them. */
export function blindEngine(
  entry: WhitelistEntry,
  text: BlindText,
  executor: Executor,
  clock: Clock,
  deadline: StepDeadline,
): ReplayEngine {
  const lockstep = new Lockstep(executor, clock, deadline);
  let closing: Promise<void> | null = null;
  return {
    entry,
    vocabularySize: executor.vocabularySize,
    promptIds: (prompt) => text.promptIds(prompt),
    spell: (ids) => text.spell(ids),
    speller: () => text.speller(),
    isEndOfGeneration: (id) => text.isEndOfGeneration(id),
    replay: (promptIds, outputIds, count) => lockstep.replay(promptIds, outputIds, count),
    close(): Promise<void> {
      closing ??= lockstep.close().finally(() => {
        text.close();
      });
      return closing;
    },
  };
}
