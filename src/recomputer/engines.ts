/**
 * The engines of a recomputer, one per whitelisted model, opened when first needed and kept. An
 * engine that failed is closed and opened afresh at the next attempt.
 */
import { InvalidError, UnavailableError } from "../base/assert.ts";
import type { WhitelistEntry } from "../format/whitelist.ts";
import type { OpenEngine, ReplayEngine } from "./engine.port.ts";

export class Engines {
  readonly #open: OpenEngine;
  readonly #engines = new Map<string, Promise<ReplayEngine>>();
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
    let opening = this.#engines.get(key);
    if (opening === undefined) {
      opening = this.#open(entry);
      this.#engines.set(key, opening);
    }
    try {
      const engine = await opening;
      this.#state = "ready";
      return engine;
    } catch (error) {
      if (this.#engines.get(key) === opening) this.#engines.delete(key);
      this.#state = "down";
      // A model file that does not parse is our own trouble, not the gateway's.
      if (!(error instanceof InvalidError)) throw error;
      throw new UnavailableError("engine.no-model", error.message, "none");
    }
  }

  /** Gives up an engine that failed. Never throws. */
  drop(entry: WhitelistEntry): void {
    this.#state = "down";
    const key = entry.digest.toString("hex");
    const opening = this.#engines.get(key);
    this.#engines.delete(key);
    opening?.then((engine) => engine.close()).catch(() => undefined);
  }

  /** Closes all, also those that are still opening. Never throws. */
  async close(): Promise<void> {
    const engines = [...this.#engines.values()];
    this.#engines.clear();
    await Promise.allSettled(engines.map(async (opening) => (await opening).close()));
  }
}
