/** The machine's clock. The only place that reads time, with bin/. */
import type { Clock, Timer } from "../base/clock.ts";

/** Timers count whole milliseconds, and are late by up to one: an exact one is set this much earlier. */
const earlierMs = 1;
/** Waking up takes this long. */
const wakeMs = 0.05;
const never = new Int32Array(new SharedArrayBuffer(4));

/** Puts this thread to sleep until `atMs`, which is at most a few milliseconds away. */
function sleepUntil(atMs: number): void {
  const left = atMs - performance.now() - wakeMs;
  if (left > 0) Atomics.wait(never, 0, 0, left);
}

export const systemClock: Clock = {
  wallMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  after(delayMs: number, action: () => void, exact = false): Timer {
    const atMs = performance.now() + delayMs;
    const timer = exact
      ? setTimeout(
          () => {
            sleepUntil(atMs);
            action();
          },
          Math.max(1, delayMs - earlierMs),
        )
      : setTimeout(action, delayMs);
    return {
      cancel: () => {
        clearTimeout(timer);
      },
    };
  },
  every(periodMs: number, action: () => void): Timer {
    const timer = setInterval(action, periodMs);
    timer.unref();
    return {
      cancel: () => {
        clearInterval(timer);
      },
    };
  },
};
