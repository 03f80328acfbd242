/**
 * Memory for the chunks under way through a gateway: a few slots, used again and again. Fresh memory
 * for each chunk would halve the weights path, for the kernel zeroes every new page.
 *
 * A slot is with the link while it is being filled, then with the upload while it is checked and
 * hashed and forwarded, and free once `release` was called: never two of these at a time.
 */
import { assert } from "../base/assert.ts";

interface Slot {
  bytes: Buffer;
  free: boolean;
}

export class ChunkMemory {
  readonly #slots: readonly Slot[];

  readonly #allocate: (bytes: number) => Buffer;

  /** `count` slots of `slotBytes` each; all memory comes from `allocate`. */
  constructor(slotBytes: number, count: number, allocate: (bytes: number) => Buffer) {
    this.#allocate = allocate;
    this.#slots = Array.from({ length: count }, () => ({ bytes: allocate(slotBytes), free: true }));
  }

  /**
   * How many slots are free. At one, stop the sender: what a link had already received when it was
   * stopped (TLS decrypts up to 64 KiB at a time) still needs a slot.
   */
  get free(): number {
    return this.#slots.reduce((count, slot) => count + (slot.free ? 1 : 0), 0);
  }

  /**
   * `length` bytes of a free slot. What fits no slot, or comes although the sender was stopped, gets
   * memory of its own: that is slow, and never wrong.
   */
  take(length: number): Buffer {
    const slot = this.#slots.find(({ bytes, free }) => free && length <= bytes.length);
    if (slot === undefined || length === 0) return this.#allocate(length);
    slot.free = false;
    return slot.bytes.subarray(0, length);
  }

  /** What `take` gave is lost to somebody who may still write it: its slot gets fresh memory. */
  replace(taken: Buffer): void {
    const slot = this.#slots.find(({ bytes }) => bytes.buffer === taken.buffer);
    if (slot === undefined) return; // memory of its own
    slot.bytes = this.#allocate(slot.bytes.length);
    slot.free = true;
  }

  /** Gives back what `take` gave; its bytes may change from now on. */
  release(taken: Buffer): void {
    const slot = this.#slots.find(({ bytes }) => bytes.buffer === taken.buffer);
    if (slot === undefined) return; // memory of its own
    assert(!slot.free, "a slot is released once");
    slot.free = true;
  }
}
