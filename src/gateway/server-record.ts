/** What a gateway remembers of its server's conduct. Bounded, whatever the server does. */
import type { Tag } from "../format/tag.ts";

const endedMax = 65_536;

/**
 * Pairs that the gateway ended before the server did. A server that obeys CANCEL never speaks of them
 * again, so they cannot be waited for: of very many the oldest are remembered only as "up to here",
 * and frames for such old tags are dropped too.
 */
export class EndedTags {
  readonly #tags = new Set<Tag>();
  #through = 0n;

  add(tag: Tag): void {
    this.#tags.add(tag);
    if (this.#tags.size <= endedMax) return;
    for (const oldest of this.#tags) {
      this.#tags.delete(oldest);
      if (oldest > this.#through) this.#through = oldest;
      break;
    }
  }

  has(tag: Tag): boolean {
    return tag <= this.#through || this.#tags.has(tag);
  }

  delete(tag: Tag): void {
    this.#tags.delete(tag);
  }

  clear(): void {
    this.#tags.clear();
    this.#through = 0n;
  }

  get size(): number {
    return this.#tags.size;
  }
}

/** How many of the last pairs the server failed. */
export interface FailedShare {
  readonly failed: number;
  readonly of: number;
}

const window = 20;

/**
 * The last 20 pairs that the server ended or let run out. A server that fails pairs on purpose is
 * never judged on them, so that it does so must at least be seen.
 */
export class FailureWindow {
  readonly #last: boolean[] = [];
  #over = false;

  /** Notes one pair; returns the share when it crosses one half, in either direction. */
  note(failed: boolean): FailedShare | null {
    this.#last.push(failed);
    if (this.#last.length > window) this.#last.shift();
    const count = this.#last.filter(Boolean).length;
    const over = this.#last.length === window && 2 * count > window;
    if (over === this.#over) return null;
    this.#over = over;
    return { failed: count, of: window };
  }
}
