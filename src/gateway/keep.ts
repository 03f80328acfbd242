/**
 * Kept pairs on their way from the coin into the outbox, collected for one transaction: one of its own
 * for every kept pair costs more than the rest of its path. Until then the coin in the ring stands
 * for them (recover.ts).
 */
import type { Clock, Timer } from "../base/clock.ts";
import type { Tag } from "../format/tag.ts";
import type { Outbox, OutboxItem } from "./store.port.ts";

/** How long pairs are collected; milliseconds. */
const putMs = 100;

export class KeptPairs {
  readonly #outbox: Outbox;
  readonly #clock: Clock;
  readonly #onPut: () => void;
  readonly #onFailure: (error: unknown) => void;
  #items: OutboxItem[] = [];
  #timer: Timer | null = null;

  /** `onPut`: the outbox has new items. `onFailure`: it could not take them; nothing may go on. */
  constructor(
    outbox: Outbox,
    clock: Clock,
    onPut: () => void,
    onFailure: (error: unknown) => void,
  ) {
    this.#outbox = outbox;
    this.#clock = clock;
    this.#onPut = onPut;
    this.#onFailure = onFailure;
  }

  /** Pairs that are not in the outbox yet. */
  get size(): number {
    return this.#items.length;
  }

  has(tag: Tag): boolean {
    return this.#items.some((item) => item.tag === tag);
  }

  add(items: readonly OutboxItem[]): void {
    if (items.length === 0) return;
    this.#items.push(...items);
    this.#timer ??= this.#clock.after(putMs, () => {
      this.flush();
    });
  }

  /** Puts what there is into the outbox now. */
  flush(): void {
    this.#timer?.cancel();
    this.#timer = null;
    const items = this.#items;
    this.#items = [];
    if (items.length === 0) return;
    try {
      this.#outbox.put(items);
    } catch (error) {
      this.#onFailure(error);
      return;
    }
    this.#onPut();
  }
}
