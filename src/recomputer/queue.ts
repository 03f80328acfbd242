/**
 * Step 2: proof requests that wait, one line per gateway, served in turn, so that a gateway that
 * floods delays only itself. A line that is full asks for its wire to be paused; the gateway's own
 * durable outbox holds the rest.
 */
import { assert } from "../base/assert.ts";
import type { Tag } from "../format/tag.ts";
import type { Received } from "./receive.ts";

/** A waiting request and what became of earlier attempts. */
export interface Waiting {
  readonly received: Received;
  attempts: number;
  /** Not to be tried before this monotonic time. */
  readyAtMs: number;
  /** Being tried at this moment. */
  busy: boolean;
  /** Monotonic time of the first attempt that was unable; null before one. */
  unableSinceMs: number | null;
  /** An engine failed while it ran this one: it is tried alone, so that it fails no others. */
  suspect: boolean;
}

export interface QueueLimits {
  /** Requests and bytes that one gateway may have waiting before its wire is paused. */
  readonly items: number;
  readonly bytes: number;
}

interface Line {
  readonly waiting: Map<Tag, Waiting>;
  bytes: number;
  full: boolean;
}

export class Queue {
  readonly #limits: QueueLimits;
  readonly #onFull: (gateway: string, full: boolean) => void;
  readonly #lines = new Map<string, Line>();
  #size = 0;

  /** `onFull(gateway, full)` is told whenever a line fills up, and when it is half empty again. */
  constructor(limits: QueueLimits, onFull: (gateway: string, full: boolean) => void) {
    this.#limits = limits;
    this.#onFull = onFull;
  }

  get size(): number {
    return this.#size;
  }

  /** Requests of one gateway, or of all, whose last attempt was unable. */
  unable(gateway?: string): number {
    let count = 0;
    for (const [name, line] of this.#lines) {
      if (gateway !== undefined && gateway !== name) continue;
      for (const item of line.waiting.values()) if (item.unableSinceMs !== null) count++;
    }
    return count;
  }

  /** Whether a tag of a gateway waits; how many of its requests do. */
  has(gateway: string, tag: Tag): boolean {
    return this.#lines.get(gateway)?.waiting.has(tag) ?? false;
  }

  waiting(gateway: string): number {
    return this.#lines.get(gateway)?.waiting.size ?? 0;
  }

  isFull(gateway: string): boolean {
    return this.#lines.get(gateway)?.full ?? false;
  }

  /** Adds a request; false when that tag already waits. */
  add(received: Received): boolean {
    const line = this.#line(received.gateway);
    if (line.waiting.has(received.tag)) return false;
    const fresh = { attempts: 0, readyAtMs: 0, busy: false, unableSinceMs: null, suspect: false };
    line.waiting.set(received.tag, { received, ...fresh });
    line.bytes += received.request.length;
    this.#size++;
    const { items, bytes } = this.#limits;
    if (!line.full && (line.waiting.size >= items || line.bytes >= bytes)) {
      line.full = true;
      this.#onFull(received.gateway, true);
    }
    return true;
  }

  /** Whether a suspect may be tried at `nowMs`. */
  suspectReady(nowMs: number): boolean {
    for (const { waiting } of this.#lines.values()) {
      for (const { suspect, busy, readyAtMs } of waiting.values()) {
        if (suspect && !busy && readyAtMs <= nowMs) return true;
      }
    }
    return false;
  }

  /**
   * The next request that may be tried at `nowMs`, gateways in turn; busy until `rest` or `remove`.
   * Either a suspect or one that is none.
   */
  next(nowMs: number, suspect: boolean): Waiting | null {
    for (const [gateway, line] of this.#lines) {
      for (const item of line.waiting.values()) {
        if (item.suspect !== suspect || item.busy || item.readyAtMs > nowMs) continue;
        item.busy = true;
        // Behind the others next time: the Map keeps insertion order.
        this.#lines.delete(gateway);
        this.#lines.set(gateway, line);
        return item;
      }
    }
    return null;
  }

  /** When the first request that waits, and is not being tried, may be tried; null when there is none. */
  readyAtMs(): number | null {
    let first: number | null = null;
    for (const line of this.#lines.values()) {
      for (const { busy, readyAtMs } of line.waiting.values()) {
        if (busy) continue;
        first = first === null ? readyAtMs : Math.min(first, readyAtMs);
      }
    }
    return first;
  }

  /** Lets a gateway's requests be tried at once: something they waited for may have come. */
  wake(gateway: string): void {
    for (const item of this.#lines.get(gateway)?.waiting.values() ?? []) item.readyAtMs = 0;
  }

  /** An attempt came to nothing: to be tried again at this monotonic time. */
  rest(item: Waiting, readyAtMs: number): void {
    item.busy = false;
    item.readyAtMs = readyAtMs;
  }

  remove(item: Waiting): void {
    const { gateway, tag, request } = item.received;
    const line = this.#line(gateway);
    assert(line.waiting.delete(tag), "only waiting requests are removed");
    line.bytes -= request.length;
    this.#size--;
    const { items, bytes } = this.#limits;
    if (line.full && line.waiting.size <= items / 2 && line.bytes <= bytes / 2) {
      line.full = false;
      this.#onFull(gateway, false);
    }
  }

  #line(gateway: string): Line {
    let line = this.#lines.get(gateway);
    if (line === undefined) {
      line = { waiting: new Map(), bytes: 0, full: false };
      this.#lines.set(gateway, line);
    }
    return line;
  }
}
