/**
 * Steps 7 and 8 of the pair path: released pairs whose leaf is not durable yet. They wait a moment
 * for each other, because a sync per tick costs more than all the rest of the log; then come the coins.
 */
import { assert } from "../base/assert.ts";
import type { Clock, Timer } from "../base/clock.ts";
import type { Tag } from "../format/tag.ts";
import { requestOf, type OpenPair } from "./open-pair.ts";
import type { Sampler } from "./sample.ts";
import type { GatewayStore, OutboxItem } from "./store.port.ts";

/** How long the first of them waits at most; milliseconds. */
const logMs = 100;

const coinKept = Buffer.of(1);
const coinDeleted = Buffer.of(0);

export interface UnloggedOptions {
  readonly store: GatewayStore;
  readonly clock: Clock;
  readonly sampler: Sampler;
  /** So much may enter the ring before the leaves are due: it still holds what they commit to. */
  readonly ringBytesMax: number;
  /** The next tick shall ask `mustLog`. */
  readonly onDue: () => void;
}

export class UnloggedPairs {
  readonly #o: UnloggedOptions;
  /** Leaf and coin still due: they may yet want a place in the outbox. */
  readonly #tags = new Set<Tag>();
  #pairs: OpenPair[] = [];
  #ringBytes = 0;
  #due = false;
  /** Who waits for entries of their own, appended beside the pairs'. */
  #waiters: (() => void)[] = [];
  #timer: Timer | null = null;

  constructor(options: UnloggedOptions) {
    this.#o = options;
  }

  get size(): number {
    return this.#tags.size;
  }

  has(tag: Tag): boolean {
    return this.#tags.has(tag);
  }

  /** A pair was released whose leaf was appended. */
  add(pair: OpenPair): void {
    this.#tags.add(pair.tag);
    this.#pairs.push(pair);
  }

  /** Bytes went into the ring. */
  noteRing(bytes: number): void {
    this.#ringBytes += bytes;
  }

  /** Whether the leaves are due; if not, a timer runs. `kept`: pairs on their way into the outbox. */
  mustLog(kept: number): boolean {
    if (this.#waiters.length > 0) return true;
    if (this.#pairs.length === 0) {
      this.#ringBytes = 0;
      return false;
    }
    const { store, clock, ringBytesMax } = this.#o;
    const places = store.outbox.capacity - store.outbox.waiting - kept;
    if (this.#due || this.#ringBytes > ringBytesMax || 2 * this.size > places) return true;
    this.#timer ??= clock.after(logMs, () => {
      this.logNow();
    });
    return false;
  }

  /** They are due at the next tick. */
  logNow(): void {
    this.#due = true;
    this.#o.onDue();
  }

  /** Resolves when everything that was appended to the log before this call is durable. */
  durable(): Promise<void> {
    return new Promise((resolve) => {
      this.#waiters.push(resolve);
      this.logNow();
    });
  }

  /**
   * Makes the leaves durable, then draws the coins; returns the proof requests of kept pairs. To be called
   * when no ring commit is under way: every leaf that was appended becomes durable.
   */
  async log(): Promise<OutboxItem[]> {
    this.stop();
    this.#due = false;
    this.#ringBytes = 0;
    const pairs = this.#pairs;
    this.#pairs = [];
    const waiters = this.#waiters;
    this.#waiters = [];
    const { store, sampler } = this.#o;
    await store.log.commit();
    for (const waiter of waiters) waiter();
    const kept: OutboxItem[] = [];
    const coins = sampler.draw(
      pairs.map(({ tag, leaf }) => {
        assert(leaf !== null, "a complete pair has its leaf");
        return { tag, index: leaf.index };
      }),
    );
    pairs.forEach((pair, i) => {
      const { tag, leaf } = pair;
      assert(leaf !== null, "a complete pair has its leaf");
      const keep = coins[i] === true;
      // The coin first, with the next tick's ring commit: a pair whose coin says kept is put into the
      // outbox by recovery if we do not live to do it (keep.ts).
      store.ring.add("coin", tag, keep ? coinKept : coinDeleted);
      this.#tags.delete(tag);
      if (keep) kept.push({ tag, request: requestOf(pair, leaf) });
    });
    return kept;
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = null;
  }
}
