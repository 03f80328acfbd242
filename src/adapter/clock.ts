/** The machine's clock. The only place that reads time, with bin/. */
import type { Clock, Timer } from "../base/clock.ts";

export const systemClock: Clock = {
  wallMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  after(delayMs: number, action: () => void): Timer {
    const timer = setTimeout(action, delayMs);
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
