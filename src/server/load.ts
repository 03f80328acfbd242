/** Receiving the weights: LOAD_BEGIN, the chunks in order, LOAD_END. */
import { assert, InvalidError } from "../base/assert.ts";
import type { LoadBegin } from "../format/server-link.ts";
import type { WeightsFile, WeightsStore } from "./weights.port.ts";

/** Bytes that may wait to be written before the link is paused. */
const pendingMax = 8 * 1024 * 1024;

/** Pauses and resumes the sender. */
export interface Flow {
  pause(): void;
  resume(): void;
}

export class WeightsLoad {
  readonly begin: LoadBegin;
  readonly #flow: Flow;
  readonly #file: Promise<WeightsFile>;
  #writing: Promise<void>;
  #next = 0n;
  #received = 0n;
  #pending = 0;

  constructor(begin: LoadBegin, store: WeightsStore, flow: Flow) {
    this.begin = begin;
    this.#flow = flow;
    this.#file = store.create();
    this.#writing = this.#file.then(() => undefined);
    // Reported by `finish`; until then a failed write only stops later ones.
    this.#writing.catch(() => undefined);
  }

  /** Takes chunk `index`. Throws InvalidError `load.order` or `load.size`. */
  chunk(index: bigint, bytes: Uint8Array): void {
    if (index !== this.#next) {
      throw new InvalidError("load.order", `chunk ${index} came where ${this.#next} was due`);
    }
    this.#next++;
    this.#received += BigInt(bytes.length);
    if (this.#received > this.begin.sizeBytes) {
      throw new InvalidError("load.size", "more weights than were announced");
    }
    const copy = Uint8Array.from(bytes);
    this.#pending += copy.length;
    if (this.#pending > pendingMax) this.#flow.pause();
    const before = this.#writing;
    this.#writing = this.#append(before, copy);
    this.#writing.catch(() => undefined);
  }

  async #append(before: Promise<void>, bytes: Uint8Array): Promise<void> {
    await before;
    await (await this.#file).write(bytes);
    this.#pending -= bytes.length;
    assert(this.#pending >= 0, "no byte is written twice");
    if (this.#pending <= pendingMax) this.#flow.resume();
  }

  /**
   * The end of the weights; returns the path of the whole file. Throws InvalidError `load.size` when
   * bytes are missing, UnavailableError when they could not be stored.
   */
  async finish(): Promise<string> {
    if (this.#received !== this.begin.sizeBytes) {
      throw new InvalidError(
        "load.size",
        `${this.#received} of ${this.begin.sizeBytes} bytes of weights arrived`,
      );
    }
    await this.#writing;
    return (await this.#file).finish();
  }

  /** Deletes what was received. */
  async discard(): Promise<void> {
    await this.#writing.catch(() => undefined);
    await this.#file.then((file) => file.discard()).catch(() => undefined);
  }
}
