/** One commit at a time, in order. */
export class Serial {
  #queue: Promise<void> = Promise.resolve();
  #inFlight = 0;

  /**
   * Runs `action` at once when nothing is in flight, so that what is added after this call is not
   * part of it; else after all that wait before it. Rejects as `action` does.
   */
  run(action: () => Promise<void>): Promise<void> {
    const run = this.#inFlight === 0 ? action() : this.#queue.then(action);
    this.#inFlight++;
    const settled = (): void => {
      this.#inFlight--;
    };
    this.#queue = run.then(settled, settled);
    return run;
  }

  /** Resolves when all that was given so far has ended, well or not. */
  idle(): Promise<void> {
    return this.#queue;
  }
}
