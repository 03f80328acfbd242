/**
 * Clients that read their replies slowly: what the router holds for each and for all of them is
 * bounded, and one that stops reading is cut off.
 */
import type { Clock } from "../base/clock.ts";
import type { HttpExchange } from "./http.port.ts";

export interface BacklogLimits {
  readonly perClient: number;
  readonly total: number;
  /** How long a client may take nothing at all. */
  readonly stallMs: number;
}

interface Slow {
  bytes: number;
  sinceMs: number;
}

/** Less than this is not worth counting: the kernel's buffers hold more. */
const noticed = 65_536;

export class Backlogs {
  readonly #limits: BacklogLimits;
  readonly #clock: Clock;
  readonly #slow = new Map<HttpExchange, Slow>();
  #total = 0;

  constructor(limits: BacklogLimits, clock: Clock) {
    this.#limits = limits;
    this.#clock = clock;
  }

  /** Bytes held for slow clients. */
  get total(): number {
    return this.#total;
  }

  /** Call after each write. Returns false when the client must be cut off. */
  note(exchange: HttpExchange): boolean {
    const bytes = exchange.backlog;
    const slow = this.#slow.get(exchange);
    if (slow === undefined) {
      if (bytes < noticed) return true; // nearly always
      this.#slow.set(exchange, { bytes, sinceMs: this.#clock.monotonicMs() });
      this.#total += bytes;
    } else {
      this.#total += bytes - slow.bytes;
      if (bytes < slow.bytes) slow.sinceMs = this.#clock.monotonicMs();
      slow.bytes = bytes;
    }
    return bytes <= this.#limits.perClient && this.#total <= this.#limits.total;
  }

  /** The client was cut off: what was held for it is free. */
  forget(exchange: HttpExchange): void {
    this.#total -= this.#slow.get(exchange)?.bytes ?? 0;
    this.#slow.delete(exchange);
  }

  /** Recounts everyone; returns those that have stalled. Called about once a second. */
  sweep(): HttpExchange[] {
    const now = this.#clock.monotonicMs();
    const stalled: HttpExchange[] = [];
    this.#total = 0;
    for (const [exchange, slow] of this.#slow) {
      const bytes = exchange.backlog;
      if (bytes < slow.bytes) slow.sinceMs = now;
      slow.bytes = bytes;
      this.#total += bytes;
      if (bytes === 0) this.#slow.delete(exchange);
      else if (now - slow.sinceMs > this.#limits.stallMs) stalled.push(exchange);
    }
    return stalled;
  }
}
