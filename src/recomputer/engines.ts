/**
 * The engines of a recomputer, one per whitelisted model, opened when first needed and kept. An
 * engine that failed is closed and opened afresh at the next attempt.
 */
import { InvalidError, UnavailableError } from "../base/assert.ts";
import type { WhitelistEntry } from "../format/whitelist.ts";
import type { OpenEngine, ReplayEngine } from "./engine.port.ts";

interface Held {
  readonly opening: Promise<ReplayEngine>;
  engine: ReplayEngine | null;
}

export class Engines {
  readonly #open: OpenEngine;
  readonly #engines = new Map<string, Held>();
  readonly #closing = new Set<Promise<void>>();
  #state: "loading" | "ready" | "down" = "loading";

  constructor(open: OpenEngine) {
    this.#open = open;
  }

  /** loading: none was opened yet; down: the last attempt to use one failed. */
  get state(): "loading" | "ready" | "down" {
    return this.#state;
  }

  /** The engine for an entry. Throws UnavailableError when it cannot be opened. */
  async get(entry: WhitelistEntry): Promise<ReplayEngine> {
    const key = entry.digest.toString("hex");
    let held = this.#engines.get(key);
    if (held === undefined) {
      held = { opening: this.#open(entry), engine: null };
      this.#engines.set(key, held);
    }
    try {
      held.engine = await held.opening;
      this.#state = "ready";
      return held.engine;
    } catch (error) {
      if (this.#engines.get(key) === held) this.#engines.delete(key);
      this.#state = "down";
      // A model file that does not parse is our own trouble, not the gateway's.
      if (!(error instanceof InvalidError)) throw error;
      throw new UnavailableError("engine.no-model", error.message, "none");
    }
  }

  /**
   * Gives up an engine that failed. When several pairs ran on it each of them says so: only the first
   * word counts, since the next engine may already be there. Never throws.
   */
  drop(entry: WhitelistEntry, failed: ReplayEngine): void {
    const key = entry.digest.toString("hex");
    const held = this.#engines.get(key);
    if (held?.engine !== failed) return;
    this.#state = "down";
    this.#engines.delete(key);
    const closing: Promise<void> = failed
      .close()
      .catch(() => undefined)
      .then(() => {
        this.#closing.delete(closing);
      });
    this.#closing.add(closing);
  }

  /** Closes all, also those that are still opening. Never throws. */
  async close(): Promise<void> {
    const engines = [...this.#engines.values()];
    this.#engines.clear();
    await Promise.allSettled(engines.map(async ({ opening }) => (await opening).close()));
    await Promise.all(this.#closing);
  }
}
