/** Each replay's share of the time in which several run: while n do, a millisecond is 1/n of one each. */
import type { Clock } from "../base/clock.ts";

export class Share {
  readonly #clock: Clock;
  #running = 0;
  /** Integral of 1/n over the time in which n replays ran. */
  #perReplayMs = 0;
  #countedMs = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  #count(change: 1 | -1): number {
    const nowMs = this.#clock.monotonicMs();
    if (this.#running > 0) this.#perReplayMs += (nowMs - this.#countedMs) / this.#running;
    this.#countedMs = nowMs;
    this.#running += change;
    return this.#perReplayMs;
  }

  /** What `replay` gives, and its share; all shares sum up to the time in which any ran. */
  async of<T>(replay: Promise<T>): Promise<{ readonly result: T; readonly ms: number }> {
    const from = this.#count(1);
    let to = from;
    const result = await replay.finally(() => {
      to = this.#count(-1);
    });
    return { result, ms: to - from };
  }
}
