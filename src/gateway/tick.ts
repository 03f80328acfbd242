/**
 * When a gateway's replies leave: on the grid of the release tick, and when that has to be prepared.
 *
 *   early   a quarter of a tick before: what came so far is made durable, and leaves no sooner for it
 *   due     the point of the grid: the rest is made durable, and all leaves
 *
 * A tick is armed only when there is something for it, and never twice on one point of the grid.
 */
import type { Clock, Timer } from "../base/clock.ts";

/** Up to this many pairs a tick: its point in time is kept to a fraction of a millisecond. */
const quietPairs = 16;

export interface TickOptions {
  readonly clock: Clock;
  readonly tickMs: number;
  /** May find that there is nothing to do. Not called while `onDue` is being carried out. */
  readonly onEarly: () => void;
  /** Told which point of the grid it is. No further tick is armed before it resolves. Must not reject. */
  readonly onDue: (point: number) => Promise<void>;
}

export class ReleaseTick {
  readonly #o: TickOptions;
  #early: Timer | null = null;
  #due: Timer | null = null;
  #running = false;
  /** Asked for while the last one was being carried out. */
  #again = false;
  #lastMs = 0;
  #quiet = true;
  #stopped = false;

  constructor(options: TickOptions) {
    this.#o = options;
  }

  /** Whether one is armed or being carried out. */
  get pending(): boolean {
    return this.#due !== null || this.#running;
  }

  /** Told how many pairs a tick let out. */
  note(pairs: number): void {
    this.#quiet = pairs <= quietPairs;
  }

  /** Something is due at the next point of the grid. */
  arm(): void {
    if (this.#stopped) return;
    if (this.#running) {
      this.#again = true;
      return;
    }
    if (this.#due !== null) return;
    const { clock, tickMs, onEarly } = this.#o;
    const now = clock.monotonicMs();
    const next = Math.max(Math.ceil(now / tickMs), Math.round(this.#lastMs / tickMs) + 1) * tickMs;
    const early = next - tickMs / 4 - now;
    if (this.#quiet && early > 0) {
      this.#early = clock.after(early, () => {
        this.#early = null;
        onEarly();
      });
    }
    this.#due = clock.after(
      next - now,
      () => {
        this.#due = null;
        this.#lastMs = next;
        void this.#run();
      },
      this.#quiet,
    );
  }

  async #run(): Promise<void> {
    this.#early?.cancel();
    this.#early = null;
    this.#running = true;
    await this.#o.onDue(Math.round(this.#lastMs / this.#o.tickMs));
    this.#running = false;
    if (!this.#again) return;
    this.#again = false;
    this.arm();
  }

  /** Arms nothing more. */
  stop(): void {
    this.#early?.cancel();
    this.#due?.cancel();
    this.#early = null;
    this.#due = null;
    this.#stopped = true;
  }
}
