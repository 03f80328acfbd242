/** Time as a port. Only adapter/ and bin/ touch the machine's clock (adapter/clock.ts). */

export interface Timer {
  cancel(): void;
}

export interface Clock {
  /** Milliseconds since the Unix epoch. Not monotonic; for records only. */
  wallMs(): number;
  /** Milliseconds since some start, fractional, never going back; for deadlines and ticks. */
  monotonicMs(): number;
  /**
   * Calls `action` once, after `delayMs`. Exact: as nearly then as the machine can, at the price of a process
   * that does nothing else for up to two milliseconds before; else to a millisecond or so.
   */
  after(delayMs: number, action: () => void, exact?: boolean): Timer;
  /** Calls `action` every `periodMs`; never keeps the process alive. */
  every(periodMs: number, action: () => void): Timer;
}
