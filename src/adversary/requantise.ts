/**
 * What a cheating prover may serve instead of the declared model: the same weights in fewer bits, or
 * weights with a LoRA adapter merged in. Pure functions on GGUF files, used by tests and demos only.
 */
import { InvalidError } from "../base/assert.ts";
import { parseGguf, type GgufTensor, type GgufValue } from "../format/gguf.ts";
import { writeGguf } from "../format/gguf-write.ts";

/** Elements per block of Q8_0 and Q4_0 (QK8_0 and QK4_0 in ggml-common.h). */
const BLOCK = 32;

/** `enum llama_ftype` in llama.h, the values of metadata `general.file_type`. */
const FILE_TYPE = { F16: 1, Q4_0: 2, Q8_0: 7 } as const;

type TargetType = keyof typeof FILE_TYPE;

function bits(value: number): number {
  scratch.setFloat32(0, value);
  return scratch.getUint32(0);
}
const scratch = new DataView(new ArrayBuffer(4));

/** The IEEE 754 half-precision value of 16 bits. */
export function halfToNumber(half: number): number {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >> 10) & 31;
  const mantissa = half & 1023;
  if (exponent === 0) return sign * mantissa * 2 ** -24;
  if (exponent === 31) return mantissa === 0 ? sign * Infinity : Number.NaN;
  return sign * (1 + mantissa / 1024) * 2 ** (exponent - 15);
}

/** The 16 bits of the nearest half-precision value, ties to even (GGML_FP32_TO_FP16). */
export function numberToHalf(value: number): number {
  const word = bits(value);
  const sign = (word >>> 16) & 0x8000;
  const magnitude = word & 0x7fff_ffff;
  if (magnitude > 0x7f80_0000) return sign | 0x7e00;
  if (magnitude >= 0x477f_f000) return sign | 0x7c00; // 65520 and above round to infinity
  if (magnitude < 0x3880_0000) {
    // Below 2^-14: a multiple of 2^-24, and the division is exact in a double.
    return sign | roundHalfEven(Math.abs(Math.fround(value)) * 2 ** 24);
  }
  // A carry out of the mantissa runs into the exponent, which is what rounding up means there.
  const rounded = magnitude + 0x0fff + ((magnitude >>> 13) & 1);
  return sign | ((rounded - 0x3800_0000) >>> 13);
}

function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor;
}

/** The weights of an F32, F16 or BF16 tensor. Throws InvalidError `requantise.type` on other types. */
export function toFloats({ name, type, data }: GgufTensor): Float32Array {
  const view = new DataView(data.buffer, data.byteOffset, data.length);
  if (type === "F32") {
    return Float32Array.from({ length: data.length / 4 }, (_, i) => view.getFloat32(4 * i, true));
  }
  const count = data.length / 2;
  if (type === "F16") {
    return Float32Array.from({ length: count }, (_, i) =>
      halfToNumber(view.getUint16(2 * i, true)),
    );
  }
  if (type === "BF16") {
    const words = new DataView(new ArrayBuffer(4));
    return Float32Array.from({ length: count }, (_, i) => {
      words.setUint16(0, view.getUint16(2 * i, true));
      return words.getFloat32(0);
    });
  }
  throw new InvalidError("requantise.type", `tensor ${name} is ${type}, not F32, F16 or BF16`);
}

/** As F32, little-endian. */
export function toF32(weights: Float32Array): Uint8Array {
  const out = new DataView(new ArrayBuffer(4 * weights.length));
  for (const [i, weight] of weights.entries()) out.setFloat32(4 * i, weight, true);
  return new Uint8Array(out.buffer);
}

/** As F16, rounded to the nearest, ties to even. */
export function toF16(weights: Float32Array): Uint8Array {
  const out = new DataView(new ArrayBuffer(2 * weights.length));
  for (const [i, weight] of weights.entries()) out.setUint16(2 * i, numberToHalf(weight), true);
  return new Uint8Array(out.buffer);
}

/** C's roundf: halves away from zero. */
function roundAway(value: number): number {
  return Math.sign(value) * Math.floor(Math.abs(value) + 0.5);
}

/**
 * Q8_0 blocks of 34 bytes: half-precision d = max|x| / 127, then 32 signed bytes round(x / d).
 * Source: quantize_row_q8_0_ref in ggml/src/ggml-quants.c, in its single precision.
 * `weights.length` must be a multiple of 32.
 */
export function quantiseQ8(weights: Float32Array): Uint8Array {
  const out = new DataView(new ArrayBuffer((weights.length / BLOCK) * 34));
  for (let block = 0; block < weights.length / BLOCK; block++) {
    const x = weights.subarray(block * BLOCK, (block + 1) * BLOCK);
    let largest = 0;
    for (const weight of x) largest = Math.max(largest, Math.abs(weight));
    const d = Math.fround(largest / 127);
    const inverse = d === 0 ? 0 : Math.fround(1 / d);
    out.setUint16(block * 34, numberToHalf(d), true);
    for (const [i, weight] of x.entries()) {
      out.setInt8(block * 34 + 2 + i, roundAway(Math.fround(weight * inverse)));
    }
  }
  return new Uint8Array(out.buffer);
}

/**
 * Q4_0 blocks of 18 bytes: half-precision d = (x of largest |x|) / -8, then 16 bytes, byte i holding
 * element i in its low and element i + 16 in its high four bits, each min(15, trunc(x / d + 8.5)).
 * Source: quantize_row_q4_0_ref in ggml/src/ggml-quants.c, in its single precision.
 * `weights.length` must be a multiple of 32.
 */
export function quantiseQ4(weights: Float32Array): Uint8Array {
  const out = new Uint8Array((weights.length / BLOCK) * 18);
  const view = new DataView(out.buffer);
  for (let block = 0; block < weights.length / BLOCK; block++) {
    const x = weights.subarray(block * BLOCK, (block + 1) * BLOCK);
    let extreme = 0;
    for (const weight of x) if (Math.abs(weight) > Math.abs(extreme)) extreme = weight;
    const d = Math.fround(extreme / -8);
    const inverse = d === 0 ? 0 : Math.fround(1 / d);
    view.setUint16(block * 18, numberToHalf(d), true);
    for (const [i, weight] of x.entries()) {
      const level = Math.trunc(Math.fround(Math.fround(weight * inverse) + 8.5));
      const at = block * 18 + 2 + (i % 16);
      out[at] = (out[at] ?? 0) | (Math.min(15, level) << (i < 16 ? 0 : 4));
    }
  }
  return out;
}

const encoders: Readonly<Record<TargetType, (weights: Float32Array) => Uint8Array>> = {
  F16: toF16,
  Q8_0: quantiseQ8,
  Q4_0: quantiseQ4,
};

/** Matrices take the target type; norms, biases and rows that do not fill whole blocks are F32. */
function encode(tensor: GgufTensor, weights: Float32Array, type: TargetType): GgufTensor {
  const { name, dims } = tensor;
  const matrix = dims.length === 2 && (type === "F16" || (dims[0] ?? 0) % BLOCK === 0);
  return matrix
    ? { name, dims, type, data: encoders[type](weights) }
    : { name, dims, type: "F32", data: toF32(weights) };
}

function withFileType(
  metadata: ReadonlyMap<string, GgufValue>,
  type: TargetType,
): Map<string, GgufValue> {
  const out = new Map(metadata);
  out.set("general.file_type", { type: "u32", value: FILE_TYPE[type] });
  // GGML_QNT_VERSION; llama.cpp wants it with quantised tensors.
  if (type !== "F16") out.set("general.quantization_version", { type: "u32", value: 2 });
  return out;
}

/**
 * The same model with every matrix (embedding and output too) in Q8_0 or Q4_0. llama-quantize would
 * give the embedding or output of a Q4_0 file more bits; here all have the same type.
 * Throws InvalidError `gguf.*` on a bad file, `requantise.type` if it is quantised already.
 */
export function requantise(gguf: Uint8Array, type: "Q8_0" | "Q4_0"): Uint8Array {
  const { metadata, tensors } = parseGguf(gguf);
  return writeGguf({
    metadata: withFileType(metadata, type),
    tensors: tensors.map((tensor) => encode(tensor, toFloats(tensor), type)),
  });
}

interface Adapter {
  readonly alpha: number;
  readonly parts: Map<string, GgufTensor>;
}

function parseAdapter(bytes: Uint8Array): Adapter {
  const { metadata, tensors } = parseGguf(bytes);
  const kind = metadata.get("adapter.type");
  const alpha = metadata.get("adapter.lora.alpha");
  if (kind?.type !== "string" || kind.value !== "lora" || alpha?.type !== "f32") {
    throw new InvalidError("lora.metadata", "the adapter lacks adapter.type lora or its alpha");
  }
  return { alpha: alpha.value, parts: new Map(tensors.map((tensor) => [tensor.name, tensor])) };
}

/** Takes the adapter's two factors for one tensor out of `parts`; undefined if it has none. */
function takeFactors(parts: Map<string, GgufTensor>, base: GgufTensor) {
  const names = [`${base.name}.lora_a`, `${base.name}.lora_b`] as const;
  const [a, b] = [parts.get(names[0]), parts.get(names[1])];
  if (a === undefined || b === undefined) return undefined;
  for (const name of names) parts.delete(name);
  const rank = b.dims[0] ?? 0;
  const fits =
    a.dims.length === 2 &&
    b.dims.length === 2 &&
    base.dims.length === 2 &&
    a.dims[0] === base.dims[0] &&
    a.dims[1] === rank &&
    b.dims[1] === base.dims[1];
  if (!fits) throw new InvalidError("lora.shape", `the adapter does not fit tensor ${base.name}`);
  return { a: toFloats(a), b: toFloats(b), rank };
}

/**
 * The model with a LoRA adapter merged in, W + strength (alpha / rank) B A, all matrices in F16.
 * `adapter` is a llama.cpp adapter file: for tensor T of [in, out], T.lora_a is [in, rank] and T.lora_b
 * is [rank, out]. Source: Hu et al. 2021, equation 3, and llama-adapter.cpp for names and scale.
 * Throws InvalidError `gguf.*`, `requantise.type` or `lora.*` (metadata, shape, unused tensors).
 */
export function mergeLora(gguf: Uint8Array, adapter: Uint8Array, strength = 1): Uint8Array {
  const { metadata, tensors } = parseGguf(gguf);
  const { alpha, parts } = parseAdapter(adapter);
  const merged = tensors.map((tensor) => {
    const weights = toFloats(tensor);
    const factors = takeFactors(parts, tensor);
    if (factors !== undefined) addProduct(weights, factors, strength * alpha);
    return encode(tensor, weights, "F16");
  });
  for (const name of parts.keys()) {
    throw new InvalidError("lora.unused", `the model has no tensor for ${name}, or half a pair`);
  }
  return writeGguf({ metadata: withFileType(metadata, "F16"), tensors: merged });
}

/** weights += alpha / rank * B A, row by row. */
function addProduct(
  weights: Float32Array,
  { a, b, rank }: { a: Float32Array; b: Float32Array; rank: number },
  alpha: number,
): void {
  const inputs = a.length / rank;
  for (let i = 0; i < weights.length; i++) {
    const row = Math.floor(i / inputs);
    const column = i % inputs;
    let sum = 0;
    for (let k = 0; k < rank; k++) sum += (b[row * rank + k] ?? 0) * (a[k * inputs + column] ?? 0);
    weights[i] = (weights[i] ?? 0) + (alpha / rank) * sum;
  }
}
