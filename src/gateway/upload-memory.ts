/**
 * Memory for the chunks under way through a gateway: a few slots, used again and again. Fresh memory
 * for each chunk would halve the weights path, for the kernel zeroes every new page.
 *
 * A slot is with the link while it is being filled, then with the upload while it is checked and
 * forwarded, and free once `release` was called: never two of these at a time.
 */
import { assert } from "../base/assert.ts";

interface Slot {
  readonly bytes: Buffer;
  free: boolean;
}

export class ChunkMemory {
  readonly #slots: readonly Slot[];

  /** `count` slots of `slotBytes` each. */
  constructor(slotBytes: number, count: number) {
    this.#slots = Array.from({ length: count }, () => {
      return { bytes: Buffer.allocUnsafeSlow(slotBytes), free: true };
    });
  }

  /** Whether a slot is free: if not, stop the sender. */
  get free(): boolean {
    return this.#slots.some((slot) => slot.free);
  }

  /**
   * `length` bytes of a free slot. What fits no slot, or comes although the sender was stopped, gets
   * memory of its own: that is slow, and never wrong.
   */
  take(length: number): Buffer {
    const slot = this.#slots.find(({ bytes, free }) => free && length <= bytes.length);
    if (slot === undefined || length === 0) return Buffer.allocUnsafeSlow(length);
    slot.free = false;
    return slot.bytes.subarray(0, length);
  }

  /** Gives back what `take` gave; its bytes may change from now on. */
  release(taken: Buffer): void {
    const slot = this.#slots.find(({ bytes }) => bytes.buffer === taken.buffer);
    if (slot === undefined) return; // memory of its own
    assert(!slot.free, "a slot is released once");
    slot.free = true;
  }
}
