/** Minds that compute with another engine than they should. */
import type { Candidates } from "../format/noise.ts";
import type { Engine, Sequence } from "../server/engine.port.ts";
import type { Host, Job, Mind, OpenOptions } from "./attack.ts";
import { requantise } from "./requantise.ts";

/** Serves from an engine of its own wherever `when` says so; else honestly. */
export async function otherEngine(
  host: Host,
  gguf: Uint8Array | null,
  options: OpenOptions = {},
  when: (job: Job) => boolean = () => true,
): Promise<Mind> {
  const engine = await host.open(gguf, options);
  return {
    serve: (job, honest) => (when(job) ? honest(job, { engine }) : honest(job)),
    close: () => engine.close(),
  };
}

/** The cheaper model that partial attacks fall back to: the same weights in Q4_0. */
export function cheaper(host: Host, when?: (job: Job) => boolean): Promise<Mind> {
  return otherEngine(host, requantise(host.weights, "Q4_0"), {}, when);
}

/** A sequence of one engine that goes on in another from output position `after` on. */
class SwitchingSequence implements Sequence {
  readonly #other: Engine;
  readonly #after: number;
  readonly #all: number[] = [];
  #now: Sequence;
  #position = 0;

  constructor(honest: Sequence, other: Engine, after: number) {
    this.#now = honest;
    this.#other = other;
    this.#after = after;
  }

  async next(ids: readonly number[]): Promise<Candidates> {
    this.#all.push(...ids);
    if (this.#position++ !== this.#after) return this.#now.next(ids);
    this.#now.dispose();
    this.#now = await this.#other.open();
    return this.#now.next(this.#all);
  }

  dispose(): void {
    this.#now.dispose();
  }
}

/** An engine whose sequences start on `honest` and go on with `other`; neither is closed by it. */
export function switchingEngine(honest: Engine, other: Engine, after: number): Engine {
  return {
    contextTokens: honest.contextTokens,
    parallel: honest.parallel,
    promptIds: (prompt) => honest.promptIds(prompt),
    isEndOfGeneration: (id) => honest.isEndOfGeneration(id),
    speller: () => honest.speller(),
    open: async () => new SwitchingSequence(await honest.open(), other, after),
    close: () => Promise.resolve(),
  };
}
