/**
 * A model on which arithmetic and memory traffic dominate, for the recompute bench: the demo model's
 * tokenizer over a larger network of random weights. What it writes is noise; what it costs is real.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { numberToHalf } from "../src/adversary/requantise.ts";
import { philox4x32 } from "../src/format/noise.ts";
import { parseGguf, type GgufTensor, type GgufTensorType } from "../src/format/gguf.ts";
import { writeGguf } from "../src/format/gguf-write.ts";

export const weightTypes = ["F32", "F16", "BF16", "Q8_0", "Q4_0"] as const;
export type WeightType = (typeof weightTypes)[number];

export interface NetworkShape {
  readonly dim: number;
  readonly layers: number;
  readonly feedForward: number;
  readonly heads: number;
}

/** About 160 million parameters: a few hundred MB, far beyond a cache. */
export const largeShape: NetworkShape = { dim: 1024, layers: 12, feedForward: 2816, heads: 16 };

const words = new Uint32Array(4);
let counter = 0;

/** Uniform numbers in (-1, 1), four at a time; the same in every run. */
function uniforms(out: Float32Array): void {
  for (let i = 0; i < out.length; i += 4) {
    philox4x32(words, counter++, 0, 0, 0, 0x5eed, 0);
    for (let j = 0; j < 4 && i + j < out.length; j++) {
      out[i + j] = (words[j] ?? 0) / 2 ** 31 - 1;
    }
  }
}

/** Encodes one row; `scale` is what 1 stands for. Blocks of 32 for the quantised types. */
function encodeRow(type: WeightType, row: Float32Array, scale: number, out: DataView): void {
  for (let i = 0; i < row.length; i++) {
    const value = (row[i] ?? 0) * scale;
    if (type === "F32") out.setFloat32(4 * i, value, true);
    else if (type === "F16") out.setUint16(2 * i, numberToHalf(value), true);
    else if (type === "BF16") {
      scratch.setFloat32(0, value);
      out.setUint16(2 * i, scratch.getUint16(0), true);
    }
  }
  if (type === "Q8_0") {
    for (let block = 0; block < row.length / 32; block++) {
      out.setUint16(34 * block, numberToHalf(scale / 127), true);
      for (let j = 0; j < 32; j++)
        out.setInt8(34 * block + 2 + j, Math.round(127 * (row[32 * block + j] ?? 0)));
    }
  } else if (type === "Q4_0") {
    const nibble = (value: number): number => Math.min(15, Math.max(0, Math.round(8 + 8 * value)));
    for (let block = 0; block < row.length / 32; block++) {
      out.setUint16(18 * block, numberToHalf(scale / 8), true);
      for (let j = 0; j < 16; j++) {
        const low = nibble(row[32 * block + j] ?? 0);
        const high = nibble(row[32 * block + 16 + j] ?? 0);
        out.setUint8(18 * block + 2 + j, low | (high << 4));
      }
    }
  }
}
const scratch = new DataView(new ArrayBuffer(4));

const rowBytes = (type: WeightType, length: number): number =>
  ({
    F32: 4 * length,
    F16: 2 * length,
    BF16: 2 * length,
    Q8_0: (34 * length) / 32,
    Q4_0: (18 * length) / 32,
  })[type];

function matrix(name: string, type: WeightType, columns: number, rows: number): GgufTensor {
  const bytes = rowBytes(type, columns);
  const data = new Uint8Array(bytes * rows);
  const scale = Math.sqrt(3 / columns);
  // One random row, rotated for each further one: drawing every weight would take minutes.
  const row = new Float32Array(2 * columns);
  uniforms(row.subarray(0, columns));
  row.copyWithin(columns, 0, columns);
  for (let at = 0; at < rows; at++) {
    const shift = (at * 37) % columns;
    const turned = row.subarray(shift, shift + columns);
    encodeRow(type, turned, scale, new DataView(data.buffer, bytes * at, bytes));
  }
  return { name, type: type satisfies GgufTensorType, dims: [columns, rows], data };
}

function ones(name: string, length: number): GgufTensor {
  const data = new Uint8Array(new Float32Array(length).fill(1).buffer);
  return { name, type: "F32", dims: [length], data };
}

/** Writes such a model to `path`; returns its number of weights. `source` gives tokenizer and template. */
export function writeArithmeticModel(
  source: string,
  path: string,
  type: WeightType,
  shape: NetworkShape,
): number {
  const metadata = new Map(parseGguf(readFileSync(source)).metadata);
  const vocabulary = metadata.get("tokenizer.ggml.tokens");
  if (vocabulary?.type !== "array") throw new Error(`${source} has no vocabulary`);
  const { dim, layers, feedForward, heads } = shape;
  const set = (key: string, value: number): void => {
    metadata.set(key, { type: "u32", value });
  };
  set("llama.block_count", layers);
  set("llama.embedding_length", dim);
  set("llama.feed_forward_length", feedForward);
  set("llama.attention.head_count", heads);
  set("llama.attention.head_count_kv", heads);
  set("llama.rope.dimension_count", dim / heads);
  counter = 0;
  const size = vocabulary.values.length;
  const tensors = [
    matrix("token_embd.weight", type, dim, size),
    ones("output_norm.weight", dim),
    matrix("output.weight", type, dim, size),
  ];
  for (let layer = 0; layer < layers; layer++) {
    const of = (name: string): string => `blk.${layer}.${name}.weight`;
    for (const name of ["attn_norm", "ffn_norm"]) tensors.push(ones(of(name), dim));
    for (const name of ["attn_q", "attn_k", "attn_v", "attn_output"])
      tensors.push(matrix(of(name), type, dim, dim));
    for (const name of ["ffn_gate", "ffn_up"])
      tensors.push(matrix(of(name), type, dim, feedForward));
    tensors.push(matrix(of("ffn_down"), type, feedForward, dim));
  }
  writeFileSync(path, writeGguf({ metadata, tensors }));
  return tensors.reduce((sum, { dims }) => sum + dims.reduce((a, b) => a * b, 1), 0);
}
