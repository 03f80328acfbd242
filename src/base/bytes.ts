/** Bounded reading and writing of big-endian binary formats. No I/O. */
import { isUtf8 } from "node:buffer";
import { timingSafeEqual } from "node:crypto";
import { assert, InvalidError } from "./assert.ts";

/** Ids are moved as whole blocks and swapped in place: five times faster than one by one. */
const littleEndian = new Uint8Array(Uint32Array.of(1).buffer)[0] === 1;

const utf8Strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Decodes UTF-8. Throws InvalidError `bytes.utf8` on anything that is not valid UTF-8. */
export function decodeUtf8(bytes: Uint8Array): string {
  try {
    return utf8Strict.decode(bytes);
  } catch {
    throw new InvalidError("bytes.utf8", "text is not valid UTF-8");
  }
}

/** Encodes a string as UTF-8. Lone surrogates throw InvalidError: they have no UTF-8 form. */
export function encodeUtf8(text: string): Uint8Array {
  if (!text.isWellFormed()) throw new InvalidError("bytes.utf16", "text has a lone surrogate");
  return Buffer.from(text, "utf8");
}

/** Constant-time equality; false when the lengths differ. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}

export function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("hex");
}

/** Parses lower-case hex of exactly `length` bytes. Throws InvalidError `bytes.hex`. */
export function fromHex(text: string, length: number): Uint8Array {
  if (text.length !== 2 * length || !/^[0-9a-f]*$/.test(text)) {
    throw new InvalidError("bytes.hex", `expected ${length} bytes of lower-case hex`);
  }
  return Buffer.from(text, "hex");
}

/** Grows as needed. `bytes()` returns a view of what was written so far. */
export class Writer {
  #buffer: Buffer;
  #length = 0;

  constructor(capacity = 256) {
    this.#buffer = Buffer.allocUnsafe(capacity);
  }

  get length(): number {
    return this.#length;
  }

  #room(count: number): number {
    const at = this.#length;
    const end = at + count;
    if (end > this.#buffer.length) {
      const grown = Buffer.allocUnsafe(Math.max(end, 2 * this.#buffer.length));
      this.#buffer.copy(grown, 0, 0, at);
      this.#buffer = grown;
    }
    this.#length = end;
    return at;
  }

  u8(value: number): this {
    // First make room: it may replace the buffer.
    const at = this.#room(1);
    this.#buffer.writeUInt8(value, at);
    return this;
  }

  u16(value: number): this {
    const at = this.#room(2);
    this.#buffer.writeUInt16BE(value, at);
    return this;
  }

  u32(value: number): this {
    const at = this.#room(4);
    this.#buffer.writeUInt32BE(value, at);
    return this;
  }

  u64(value: bigint): this {
    const at = this.#room(8);
    this.#buffer.writeBigUInt64BE(value, at);
    return this;
  }

  f64(value: number): this {
    assert(!Number.isNaN(value), "a NaN has many encodings and is never written");
    const at = this.#room(8);
    this.#buffer.writeDoubleBE(Object.is(value, -0) ? 0 : value, at);
    return this;
  }

  /** Raw bytes, no length. */
  raw(bytes: Uint8Array): this {
    const at = this.#room(bytes.length);
    this.#buffer.set(bytes, at);
    return this;
  }

  /** u32 length, then the bytes. */
  blob(bytes: Uint8Array): this {
    return this.u32(bytes.length).raw(bytes);
  }

  /** u32 byte length, then UTF-8. The string must be well formed. */
  text(value: string): this {
    assert(value.isWellFormed(), "text written to a format is well-formed Unicode");
    const size = Buffer.byteLength(value, "utf8");
    this.u32(size);
    const at = this.#room(size);
    this.#buffer.write(value, at, size, "utf8");
    return this;
  }

  /** u32 count, then each id as u32. */
  ids(values: ArrayLike<number>): this {
    const count = values.length;
    this.u32(count);
    const at = this.#room(4 * count);
    const words = values instanceof Uint32Array ? values : Uint32Array.from(values);
    const part = this.#buffer.subarray(at, at + 4 * count);
    part.set(new Uint8Array(words.buffer, words.byteOffset, 4 * count));
    if (littleEndian) part.swap32();
    return this;
  }

  /** Overwrites a u32 written earlier (a length known only at the end). */
  patchU32(at: number, value: number): void {
    assert(at + 4 <= this.#length, "patch lies inside what was written");
    this.#buffer.writeUInt32BE(value, at);
  }

  bytes(): Buffer {
    return this.#buffer.subarray(0, this.#length);
  }

  /** Forgets everything written; the memory is used again, so earlier views become invalid. */
  reset(): void {
    this.#length = 0;
  }
}

/** Reads what Writer writes. Every read past the end throws InvalidError `<format>.truncated`. */
export class Reader {
  readonly #buffer: Buffer;
  readonly #format: string;
  #at = 0;

  constructor(bytes: Uint8Array, format: string) {
    this.#buffer = Buffer.isBuffer(bytes)
      ? bytes
      : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    this.#format = format;
  }

  #take(count: number): number {
    const at = this.#at;
    if (count > this.#buffer.length - at) {
      throw new InvalidError(`${this.#format}.truncated`, `${this.#format} ends too early`);
    }
    this.#at = at + count;
    return at;
  }

  get remaining(): number {
    return this.#buffer.length - this.#at;
  }

  u8(): number {
    return this.#buffer.readUInt8(this.#take(1));
  }

  u16(): number {
    return this.#buffer.readUInt16BE(this.#take(2));
  }

  u32(): number {
    return this.#buffer.readUInt32BE(this.#take(4));
  }

  u64(): bigint {
    return this.#buffer.readBigUInt64BE(this.#take(8));
  }

  /** A finite double, never -0: each value has one encoding. */
  f64(): number {
    const value = this.#buffer.readDoubleBE(this.#take(8));
    if (!Number.isFinite(value) || Object.is(value, -0)) {
      throw new InvalidError(
        `${this.#format}.number`,
        `${this.#format} holds a non-canonical number`,
      );
    }
    return value;
  }

  /** A view of `count` bytes (not a copy). */
  raw(count: number): Buffer {
    const at = this.#take(count);
    return this.#buffer.subarray(at, at + count);
  }

  /** A length-prefixed view of at most `max` bytes. */
  blob(max: number): Buffer {
    return this.raw(this.count(max));
  }

  /** A u32 that must not exceed `max`. */
  count(max: number): number {
    const count = this.u32();
    if (count > max) {
      throw new InvalidError(
        `${this.#format}.too-long`,
        `${this.#format}: ${count} exceeds ${max}`,
      );
    }
    return count;
  }

  text(maxBytes: number): string {
    return decodeUtf8(this.blob(maxBytes));
  }

  ids(max: number): Uint32Array {
    const count = this.count(max);
    const at = this.#take(4 * count);
    const out = new Uint32Array(count);
    const part = Buffer.from(out.buffer);
    this.#buffer.copy(part, 0, at, at + 4 * count);
    if (littleEndian) part.swap32();
    return out;
  }

  /** As `ids`, checked and not decoded: a view of the count and the ids as they stand. */
  rawIds(max: number): Buffer {
    const start = this.#at;
    this.raw(4 * this.count(max));
    return this.#buffer.subarray(start, this.#at);
  }

  /** As `text`, checked and not decoded: a view of the UTF-8 alone. */
  rawText(maxBytes: number): Buffer {
    const bytes = this.blob(maxBytes);
    if (!isUtf8(bytes)) throw new InvalidError("bytes.utf8", "text is not valid UTF-8");
    return bytes;
  }

  /** Throws unless everything was read: no format here tolerates trailing bytes. */
  end(): void {
    if (this.remaining !== 0) {
      throw new InvalidError(
        `${this.#format}.trailing`,
        `${this.#format} has ${this.remaining} bytes too many`,
      );
    }
  }
}
