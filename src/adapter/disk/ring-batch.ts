/** One batch of ring records in memory: a growing buffer that is used again and again. */
import { assert, UnavailableError } from "../../base/assert.ts";
import { recordHeaderBytes, ringKinds } from "../../format/ring-block.ts";
import type { Tag } from "../../format/tag.ts";

/** A run of whole records that goes into one block. */
export interface Part {
  /** Offset after its last record. */
  readonly end: number;
  readonly records: number;
  /** How many of them are inputs, that is: begin a pair. */
  readonly inputs: number;
  readonly highest: Tag;
}

const inputCode = ringKinds.indexOf("input");
const initialBytes = 2 ** 18;
/** A batch that once was huge does not keep its memory. */
const keptBytes = 2 ** 23;

export class RingBatch {
  #buffer = Buffer.allocUnsafe(initialBytes);
  #length = 0;
  #records = 0;
  #inputs = 0;
  #highest = 0n;
  readonly #most: number;

  /** `most`: bytes that one commit may hold at all. */
  constructor(most: number) {
    this.#most = most;
  }

  get length(): number {
    return this.#length;
  }

  get records(): number {
    return this.#records;
  }

  bytes(from: number, to: number): Buffer {
    return this.#buffer.subarray(from, to);
  }

  /** Copies one record in. Throws UnavailableError `ring.batch` when the batch would fill the ring. */
  add(kind: number, tag: Tag, payload: Uint8Array): void {
    const at = this.#length;
    const end = at + recordHeaderBytes + payload.length;
    if (end > this.#most) {
      throw new UnavailableError("ring.batch", "one batch would overwrite the whole ring", "none");
    }
    if (end > this.#buffer.length) this.#grow(end);
    const buffer = this.#buffer;
    buffer[at] = kind;
    buffer.writeBigUInt64BE(tag, at + 1);
    buffer.writeUInt32BE(payload.length, at + 9);
    buffer.set(payload, at + recordHeaderBytes);
    this.#length = end;
    this.#records++;
    if (kind === inputCode) this.#inputs++;
    if (tag > this.#highest) this.#highest = tag;
  }

  #grow(end: number): void {
    const grown = Buffer.allocUnsafe(Math.max(end, 2 * this.#buffer.length));
    this.#buffer.copy(grown, 0, 0, this.#length);
    this.#buffer = grown;
  }

  /** The most whole records from offset `from` that fit `room` bytes; null when not even one does. */
  part(from: number, room: number): Part | null {
    if (from === 0 && this.#length <= room) {
      const { length: end, records } = this;
      return { end, records, inputs: this.#inputs, highest: this.#highest as Tag };
    }
    let end = from;
    let records = 0;
    let inputs = 0;
    let highest = 0n;
    while (end < this.#length) {
      const next = end + recordHeaderBytes + this.#buffer.readUInt32BE(end + 9);
      if (next - from > room) break;
      if (this.#buffer[end] === inputCode) inputs++;
      const tag = this.#buffer.readBigUInt64BE(end + 1);
      if (tag > highest) highest = tag;
      records++;
      end = next;
    }
    assert(end <= this.#length, "records end where the batch ends");
    return records === 0 ? null : { end, records, inputs, highest: highest as Tag };
  }

  reset(): void {
    this.#length = 0;
    this.#records = 0;
    this.#inputs = 0;
    this.#highest = 0n;
    if (this.#buffer.length > keptBytes) this.#buffer = Buffer.allocUnsafe(initialBytes);
  }
}
