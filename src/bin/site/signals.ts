/** Asked to stop, and asked again. */

export interface StopSignals {
  /** Resolves at the first SIGINT, SIGTERM or SIGHUP. */
  readonly asked: Promise<void>;
  readonly wasAsked: boolean;
  /** Called at every further one. */
  onAgain(action: () => void): void;
  /** Gives the signals back to their defaults. */
  close(): void;
}

const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** Takes over the signals that ask a process to stop. */
export function stopSignals(): StopSignals {
  const { promise, resolve } = Promise.withResolvers<undefined>();
  const again: (() => void)[] = [];
  let count = 0;
  const handle = (): void => {
    count++;
    if (count === 1) resolve(undefined);
    else for (const action of again) action();
  };
  for (const signal of signals) process.on(signal, handle);
  return {
    asked: promise,
    get wasAsked() {
      return count > 0;
    },
    onAgain: (action) => again.push(action),
    close() {
      for (const signal of signals) process.removeListener(signal, handle);
    },
  };
}
