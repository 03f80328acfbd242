/**
 * GGUF v3, the model file format of llama.cpp: a strict, bounded parser; gguf-write.ts writes. No I/O.
 * Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md; where llama.cpp's own reader
 * (ggml/src/gguf.cpp) is stricter than that text, this parser follows the reader.
 */
import { decodeUtf8 } from "../base/bytes.ts";
import { InvalidError } from "../base/assert.ts";

export const MAGIC = 0x46554747; // "GGUF" as a little-endian u32
export const VERSION = 3;
const DEFAULT_ALIGNMENT = 32;

/** Bounds of this parser. Real files stay far below them; they only stop absurd counts early. */
export const MAX = {
  entries: 65_536,
  keyBytes: 65_535,
  nameBytes: 63, // GGML_MAX_NAME is 64 with its terminating zero
  stringBytes: 16_777_216,
  arrayLength: 16_777_216,
  dims: 4, // GGML_MAX_DIMS
  alignment: 65_536,
} as const;

export const VALUE_IDS = {
  u8: 0,
  i8: 1,
  u16: 2,
  i16: 3,
  u32: 4,
  i32: 5,
  f32: 6,
  bool: 7,
  string: 8,
  array: 9,
  u64: 10,
  i64: 11,
  f64: 12,
} as const;

type NumberType = "u8" | "i8" | "u16" | "i16" | "u32" | "i32" | "f32" | "f64";
type BigType = "u64" | "i64";

/** A scalar metadata value with its GGUF type. 64-bit integers are bigint so that none is rounded. */
export type GgufScalar =
  | { readonly type: NumberType; readonly value: number }
  | { readonly type: BigType; readonly value: bigint }
  | { readonly type: "bool"; readonly value: boolean }
  | { readonly type: "string"; readonly value: string };

export type ElementType = GgufScalar["type"];
export type Plain = GgufScalar["value"];

/** A metadata value. Arrays are flat: llama.cpp refuses arrays of arrays, and so does this parser. */
export type GgufValue =
  | GgufScalar
  | { readonly type: "array"; readonly of: ElementType; readonly values: readonly Plain[] };

/** ggml's tensor types: id, elements per block, bytes per block (ggml/src/ggml.c, type_traits). */
export const TENSOR_TYPES = {
  F32: [0, 1, 4],
  F16: [1, 1, 2],
  Q4_0: [2, 32, 18],
  Q4_1: [3, 32, 20],
  Q5_0: [6, 32, 22],
  Q5_1: [7, 32, 24],
  Q8_0: [8, 32, 34],
  Q8_1: [9, 32, 36],
  Q2_K: [10, 256, 84],
  Q3_K: [11, 256, 110],
  Q4_K: [12, 256, 144],
  Q5_K: [13, 256, 176],
  Q6_K: [14, 256, 210],
  Q8_K: [15, 256, 292],
  IQ2_XXS: [16, 256, 66],
  IQ2_XS: [17, 256, 74],
  IQ3_XXS: [18, 256, 98],
  IQ1_S: [19, 256, 50],
  IQ4_NL: [20, 32, 18],
  IQ3_S: [21, 256, 110],
  IQ2_S: [22, 256, 82],
  IQ4_XS: [23, 256, 136],
  I8: [24, 1, 1],
  I16: [25, 1, 2],
  I32: [26, 1, 4],
  I64: [27, 1, 8],
  F64: [28, 1, 8],
  IQ1_M: [29, 256, 56],
  BF16: [30, 1, 2],
  TQ1_0: [34, 256, 54],
  TQ2_0: [35, 256, 66],
  MXFP4: [39, 32, 17],
} as const;

/** Name of a ggml tensor type. */
export type GgufTensorType = keyof typeof TENSOR_TYPES;

/**
 * One tensor. `dims` is in GGUF order: dims[0] is the length of a row (the fastest axis).
 * `data` holds exactly the tensor's bytes, without padding; after parsing it is a view of the input.
 */
export interface GgufTensor {
  readonly name: string;
  readonly type: GgufTensorType;
  readonly dims: readonly number[];
  readonly data: Uint8Array;
}

/** A GGUF file. The alignment is what metadata `general.alignment` says, 32 without it. */
export interface Gguf {
  readonly metadata: ReadonlyMap<string, GgufValue>;
  readonly tensors: readonly GgufTensor[];
}

const VALUE_TYPES = new Map<number, GgufValue["type"]>();
for (const [type, id] of Object.entries(VALUE_IDS)) VALUE_TYPES.set(id, type as GgufValue["type"]);
const TENSOR_NAMES = new Map<number, GgufTensorType>();
for (const [type, [id]] of Object.entries(TENSOR_TYPES)) {
  TENSOR_NAMES.set(id, type as GgufTensorType);
}

/** Fewest bytes that one array element can take; it bounds an array's count by the bytes left. */
export const ELEMENT_BYTES: Readonly<Record<ElementType, number>> = {
  u8: 1,
  i8: 1,
  u16: 2,
  i16: 2,
  u32: 4,
  i32: 4,
  f32: 4,
  bool: 1,
  string: 8,
  u64: 8,
  i64: 8,
  f64: 8,
};

export function fail(code: string, message: string): never {
  throw new InvalidError(`gguf.${code}`, `gguf: ${message}`);
}

/** A little-endian cursor; every read past the end throws `gguf.truncated`. */
class Cursor {
  readonly bytes: Uint8Array;
  readonly #view: DataView;
  at = 0;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  take(count: number, what: string): number {
    const at = this.at;
    if (count > this.bytes.length - at) fail("truncated", `the file ends inside ${what}`);
    this.at = at + count;
    return at;
  }

  u32(what: string): number {
    return this.#view.getUint32(this.take(4, what), true);
  }

  /** A u64 that must not exceed `max`, which is a safe integer. */
  count(max: number, what: string): number {
    const value = this.#view.getBigUint64(this.take(8, what), true);
    if (value > BigInt(max)) fail("too-large", `${what} is ${value}, more than ${max}`);
    return Number(value);
  }

  string(maxBytes: number, what: string): string {
    const size = this.count(maxBytes, `the length of ${what}`);
    const at = this.take(size, what);
    try {
      return decodeUtf8(this.bytes.subarray(at, at + size));
    } catch (error) {
      if (error instanceof InvalidError) fail("utf8", `${what} is not valid UTF-8`);
      throw error;
    }
  }

  scalar(type: ElementType, what: string): Plain {
    if (type === "string") return this.string(MAX.stringBytes, what);
    const at = this.take(ELEMENT_BYTES[type], what);
    const view = this.#view;
    switch (type) {
      case "u8":
        return view.getUint8(at);
      case "i8":
        return view.getInt8(at);
      case "u16":
        return view.getUint16(at, true);
      case "i16":
        return view.getInt16(at, true);
      case "u32":
        return view.getUint32(at, true);
      case "i32":
        return view.getInt32(at, true);
      case "u64":
        return view.getBigUint64(at, true);
      case "i64":
        return view.getBigInt64(at, true);
      case "f32":
        return notNan(view.getFloat32(at, true), what);
      case "f64":
        return notNan(view.getFloat64(at, true), what);
      case "bool": {
        const byte = view.getUint8(at);
        return byte > 1 ? fail("bool", `${what} is a bool of value ${byte}`) : byte === 1;
      }
    }
  }
}

/** NaN has many encodings and JavaScript keeps none of them apart, so a round trip would lose it. */
export function notNan(value: number, what: string): number {
  return Number.isNaN(value) ? fail("nan", `${what} is not a number`) : value;
}

function readType(cursor: Cursor, what: string): GgufValue["type"] {
  const id = cursor.u32(`the type of ${what}`);
  return VALUE_TYPES.get(id) ?? fail("value-type", `${what} has the unknown type ${id}`);
}

function readValue(cursor: Cursor, what: string): GgufValue {
  const type = readType(cursor, what);
  if (type !== "array") return { type, value: cursor.scalar(type, what) } as GgufScalar;
  const of = readType(cursor, `an element of ${what}`);
  if (of === "array") fail("nested-array", `${what} is an array of arrays`);
  const room = Math.floor((cursor.bytes.length - cursor.at) / ELEMENT_BYTES[of]);
  const count = cursor.count(MAX.arrayLength, `the length of ${what}`);
  if (count > room) fail("truncated", `the file ends inside ${what}`);
  const values: Plain[] = [];
  for (let i = 0; i < count; i++) values.push(cursor.scalar(of, what));
  return { type: "array", of, values };
}

function readMetadata(cursor: Cursor, count: number): Map<string, GgufValue> {
  const metadata = new Map<string, GgufValue>();
  for (let i = 0; i < count; i++) {
    const key = cursor.string(MAX.keyBytes, `metadata key ${i}`);
    if (key === "" || metadata.has(key))
      fail("key", `metadata key ${shown(key)} is empty or twice`);
    metadata.set(key, readValue(cursor, `metadata ${shown(key)}`));
  }
  return metadata;
}

/** Names from a file go into messages, so their length and their characters are limited. */
export function shown(name: string): string {
  return JSON.stringify(name.length > 64 ? `${name.slice(0, 64)}…` : name);
}

export function alignmentOf(metadata: ReadonlyMap<string, GgufValue>): number {
  const entry = metadata.get("general.alignment");
  if (entry === undefined) return DEFAULT_ALIGNMENT;
  const value = entry.type === "u32" ? entry.value : 0;
  if (value < 1 || value > MAX.alignment || (value & (value - 1)) !== 0) {
    fail("alignment", "general.alignment is not a u32 power of two of at most 65536");
  }
  return value;
}

/**
 * Bytes of a tensor of this type and shape: rows of dims[0] elements in whole blocks.
 * Throws InvalidError `gguf.dims` on a bad shape.
 */
export function ggufTensorBytes(type: GgufTensorType, dims: readonly number[]): number {
  const [, block, blockBytes] = TENSOR_TYPES[type];
  if (dims.length < 1 || dims.length > MAX.dims) fail("dims", `${dims.length} dimensions`);
  let bytes = blockBytes / block;
  for (const dim of dims) {
    bytes *= dim;
    if (!Number.isSafeInteger(dim) || dim < 1 || bytes > Number.MAX_SAFE_INTEGER) {
      fail("dims", `a tensor has the shape [${dims.join(", ")}]`);
    }
  }
  if ((dims[0] ?? 0) % block !== 0) {
    fail(
      "dims",
      `a row of ${dims[0] ?? 0} elements is not a multiple of ${type}'s block, ${block}`,
    );
  }
  return bytes;
}

interface TensorInfo {
  readonly name: string;
  readonly type: GgufTensorType;
  readonly dims: readonly number[];
  readonly offset: number;
}

function readInfo(cursor: Cursor, index: number): TensorInfo {
  const name = cursor.string(MAX.nameBytes, `the name of tensor ${index}`);
  const what = `tensor ${shown(name)}`;
  const rank = cursor.u32(`the shape of ${what}`);
  if (rank < 1 || rank > MAX.dims) fail("dims", `${what} has ${rank} dimensions`);
  const dims: number[] = [];
  for (let i = 0; i < rank; i++)
    dims.push(cursor.count(Number.MAX_SAFE_INTEGER, `a dimension of ${what}`));
  const id = cursor.u32(`the type of ${what}`);
  const type = TENSOR_NAMES.get(id) ?? fail("tensor-type", `${what} has the unknown type ${id}`);
  return {
    name,
    type,
    dims,
    offset: cursor.count(Number.MAX_SAFE_INTEGER, `the offset of ${what}`),
  };
}

/** Skips to the next multiple of `alignment`. Padding must be zero: it is no place to hide bytes. */
function skipPadding(cursor: Cursor, alignment: number, last: boolean): void {
  const end = Math.ceil(cursor.at / alignment) * alignment;
  // Some writers leave out the padding after the last tensor, and llama.cpp does not miss it.
  if (last && cursor.at === cursor.bytes.length) return;
  const at = cursor.take(end - cursor.at, "padding");
  for (let i = at; i < end; i++) {
    if (cursor.bytes[i] !== 0) fail("padding", `the padding at byte ${i} is not zero`);
  }
}

interface Header {
  readonly metadata: Map<string, GgufValue>;
  readonly alignment: number;
  readonly infos: readonly TensorInfo[];
}

function readHeader(cursor: Cursor): Header {
  if (cursor.u32("the magic") !== MAGIC) fail("magic", "the file does not begin with GGUF");
  const version = cursor.u32("the version");
  if (version !== VERSION) fail("version", `version ${version} is not ${VERSION}`);
  const tensorCount = cursor.count(MAX.entries, "the tensor count");
  const entryCount = cursor.count(MAX.entries, "the metadata count");
  const metadata = readMetadata(cursor, entryCount);
  const alignment = alignmentOf(metadata);
  const infos: TensorInfo[] = [];
  for (let i = 0; i < tensorCount; i++) infos.push(readInfo(cursor, i));
  skipPadding(cursor, alignment, tensorCount === 0);
  return { metadata, alignment, infos };
}

/** Everything before the tensor data, for files too large to hold. */
export interface GgufHeader {
  readonly metadata: ReadonlyMap<string, GgufValue>;
  /** The least size that a file with this header has; bytes. */
  readonly fileBytes: number;
}

/**
 * Parses the head of a GGUF file. Throws InvalidError `gguf.truncated` when `bytes` is not all of
 * it (try again with more of the file), and `gguf.*` like parseGguf.
 */
export function parseGgufHeader(bytes: Uint8Array): GgufHeader {
  const cursor = new Cursor(bytes);
  const { metadata, infos } = readHeader(cursor);
  const ends = infos.map((info) => info.offset + ggufTensorBytes(info.type, info.dims));
  const dataBytes = ends.reduce((most, end) => Math.max(most, end), 0);
  return { metadata, fileBytes: cursor.at + dataBytes };
}

/**
 * Parses a whole GGUF v3 file (little-endian). Tensor data are views of `bytes`, not copies.
 * Memory is linear in `bytes.length`. Throws InvalidError `gguf.*` on anything that llama.cpp would
 * refuse, and on trailing bytes, non-zero padding, repeated keys or names, and NaN metadata.
 */
export function parseGguf(bytes: Uint8Array): Gguf {
  const cursor = new Cursor(bytes);
  const { metadata, alignment, infos } = readHeader(cursor);
  const start = cursor.at;
  const names = new Set<string>();
  const tensors: GgufTensor[] = [];
  for (const { name, type, dims, offset } of infos) {
    if (name === "" || names.has(name)) fail("name", `tensor ${shown(name)} is unnamed or twice`);
    names.add(name);
    if (offset !== cursor.at - start) {
      fail("offset", `tensor ${shown(name)} is at ${offset} instead of ${cursor.at - start}`);
    }
    const size = ggufTensorBytes(type, dims);
    const at = cursor.take(size, `tensor ${shown(name)}`);
    tensors.push({ name, type, dims, data: bytes.subarray(at, at + size) });
    skipPadding(cursor, alignment, tensors.length === infos.length);
  }
  if (cursor.at !== bytes.length) fail("trailing", `${bytes.length - cursor.at} bytes too many`);
  return { metadata, tensors };
}
