/** Writes GGUF v3 files, the counterpart of gguf.ts. No I/O. */
import { encodeUtf8 } from "../base/bytes.ts";
import {
  alignmentOf,
  ELEMENT_BYTES,
  fail,
  ggufTensorBytes,
  MAGIC,
  MAX,
  notNan,
  shown,
  TENSOR_TYPES,
  VALUE_IDS,
  VERSION,
  type ElementType,
  type Gguf,
  type GgufValue,
  type Plain,
} from "./gguf.ts";

/** Collects little-endian fields; `bytes()` joins them. */
class Fields {
  readonly #parts: Uint8Array[] = [];
  length = 0;

  raw(bytes: Uint8Array): this {
    this.#parts.push(bytes);
    this.length += bytes.length;
    return this;
  }

  u32(value: number): this {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32LE(value);
    return this.raw(bytes);
  }

  u64(value: number): this {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64LE(BigInt(value));
    return this.raw(bytes);
  }

  string(value: string, max: number, what: string): this {
    const bytes = encodeUtf8(value);
    if (bytes.length > max)
      fail("too-large", `${what} has ${bytes.length} bytes, more than ${max}`);
    return this.u64(bytes.length).raw(bytes);
  }

  pad(alignment: number): this {
    return this.raw(new Uint8Array(Math.ceil(this.length / alignment) * alignment - this.length));
  }

  bytes(): Uint8Array {
    return Buffer.concat(this.#parts, this.length);
  }
}

/** Inclusive ranges of the integer types. */
const RANGE: Readonly<Record<string, readonly [number, number]>> = {
  u8: [0, 0xff],
  i8: [-0x80, 0x7f],
  u16: [0, 0xffff],
  i16: [-0x8000, 0x7fff],
  u32: [0, 0xffff_ffff],
  i32: [-0x8000_0000, 0x7fff_ffff],
};

function writeScalar(out: Fields, type: ElementType, value: Plain, what: string): void {
  if (typeof value === "string" && type === "string") {
    out.string(value, MAX.stringBytes, what);
    return;
  }
  const bytes = new Uint8Array(ELEMENT_BYTES[type]);
  const view = new DataView(bytes.buffer);
  if (typeof value === "boolean" && type === "bool") view.setUint8(0, value ? 1 : 0);
  else if (typeof value === "bigint" && type === "u64" && BigInt.asUintN(64, value) === value) {
    view.setBigUint64(0, value, true);
  } else if (typeof value === "bigint" && type === "i64" && BigInt.asIntN(64, value) === value) {
    view.setBigInt64(0, value, true);
  } else if (typeof value === "number" && type === "f32") {
    view.setFloat32(0, notNan(value, what), true);
  } else if (typeof value === "number" && type === "f64") {
    view.setFloat64(0, notNan(value, what), true);
  } else if (typeof value === "number") writeInteger(view, type, value, what);
  else fail("value", `${what} does not fit its type, ${type}`);
  out.raw(bytes);
}

function writeInteger(view: DataView, type: ElementType, value: number, what: string): void {
  const range = RANGE[type];
  if (range === undefined || !Number.isInteger(value) || value < range[0] || value > range[1]) {
    fail("value", `${what} does not fit its type, ${type}`);
  }
  // Two's complement: the low bytes are the same for the signed and the unsigned type of one width.
  for (let i = 0; i < view.byteLength; i++) view.setUint8(i, (value >> (8 * i)) & 0xff);
}

function writeValue(out: Fields, value: GgufValue, what: string): void {
  out.u32(VALUE_IDS[value.type]);
  if (value.type !== "array") {
    writeScalar(out, value.type, value.value, what);
    return;
  }
  if (value.values.length > MAX.arrayLength) fail("too-large", `${what} is too long`);
  out.u32(VALUE_IDS[value.of]).u64(value.values.length);
  for (const element of value.values) writeScalar(out, value.of, element, what);
}

/**
 * Writes a GGUF v3 file, tensors in the given order, each padded to the alignment.
 * parseGguf(writeGguf(x)) equals x. Throws InvalidError `gguf.*` when a value does not fit its type,
 * a name is too long, empty or repeated, or a tensor's data has the wrong size.
 */
export function writeGguf(gguf: Gguf): Uint8Array {
  const { metadata, tensors } = gguf;
  if (tensors.length > MAX.entries || metadata.size > MAX.entries) fail("too-large", "entries");
  const alignment = alignmentOf(metadata);
  const out = new Fields().u32(MAGIC).u32(VERSION).u64(tensors.length).u64(metadata.size);
  for (const [key, value] of metadata) {
    if (key === "") fail("key", "a metadata key is empty");
    out.string(key, MAX.keyBytes, "a metadata key");
    writeValue(out, value, `metadata ${shown(key)}`);
  }
  const names = new Set<string>();
  let offset = 0;
  for (const { name, type, dims, data } of tensors) {
    if (name === "" || names.has(name)) fail("name", `tensor ${shown(name)} is unnamed or twice`);
    names.add(name);
    const size = ggufTensorBytes(type, dims);
    if (data.length !== size) {
      fail("tensor-size", `tensor ${shown(name)} has ${data.length} bytes instead of ${size}`);
    }
    out.string(name, MAX.nameBytes, `the name ${shown(name)}`).u32(dims.length);
    for (const dim of dims) out.u64(dim);
    out.u32(TENSOR_TYPES[type][0]).u64(offset);
    offset += Math.ceil(size / alignment) * alignment;
  }
  out.pad(alignment);
  for (const { data } of tensors) out.raw(data).pad(alignment);
  return out.bytes();
}
