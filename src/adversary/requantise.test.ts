import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import fc from "fast-check";
import { InvalidError } from "../base/assert.ts";
import { parseGguf, type GgufTensor, type GgufValue } from "../format/gguf.ts";
import { writeGguf } from "../format/gguf-write.ts";
import {
  halfToNumber,
  mergeLora,
  numberToHalf,
  quantiseQ4,
  quantiseQ8,
  requantise,
} from "./requantise.ts";

const tiny = readFileSync(new URL("../../models/weir-tiny.gguf", import.meta.url));

const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
const invalid = (code: string) => (error: unknown) =>
  error instanceof InvalidError && error.code === code;

/** 64 blocks of reproducible numbers of very different sizes, some blocks all zero. */
function sampleWeights(): Float32Array {
  let state = 1;
  return Float32Array.from({ length: 64 * 32 }, (_, i) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return (state / 2 ** 32 - 0.5) * ([1, 0.02, 1e-6, 1000, 0][Math.floor(i / 32) % 5] ?? 0);
  });
}

test("every half-precision number survives the way to a double and back", () => {
  for (let half = 0; half < 0x10000; half++) {
    const value = halfToNumber(half);
    if (Number.isNaN(value)) assert.ok(Number.isNaN(halfToNumber(numberToHalf(value))));
    else assert.equal(numberToHalf(value), half);
  }
});

test("rounding to half precision picks the nearest value, ties to even", () => {
  for (const [value, half] of [
    [65_519, 0x7bff],
    [65_520, 0x7c00],
    [-1e9, 0xfc00],
    [2 ** -25, 0],
    [3 * 2 ** -25, 2],
    [2 ** -14 - 2 ** -26, 0x400],
    [1 + 2 ** -11, 0x3c00],
    [1 + 3 * 2 ** -11, 0x3c02],
  ] as const) {
    assert.equal(numberToHalf(value), half, String(value));
  }
  fc.assert(
    fc.property(fc.float({ min: -65_504, max: 65_504, noNaN: true }), (value) => {
      const half = numberToHalf(value);
      const error = Math.abs(halfToNumber(half) - value);
      for (const next of [half + 1, half - 1]) {
        assert.ok(!(Math.abs(halfToNumber(next & 0xffff) - value) < error));
      }
    }),
  );
});

test("the quantisers give the bytes of llama.cpp's ggml_quantize_chunk", () => {
  // The expected hashes were computed with libggml on sampleWeights() (models/README.md).
  const weights = sampleWeights();
  assert.equal(
    sha256(quantiseQ8(weights)),
    "962215347b4b7f7576cf04309a454582977b5d14e3eda684e06f096444a3b32b",
  );
  assert.equal(
    sha256(quantiseQ4(weights)),
    "576952a39660b4e5abe5db87c3151f4a02b07912acbd9268d5255a1dde7d41e9",
  );
});

test("requantising changes matrices and the file type, and nothing else", () => {
  const original = parseGguf(tiny);
  for (const [type, fileType] of [
    ["Q8_0", 7],
    ["Q4_0", 2],
  ] as const) {
    const { metadata, tensors } = parseGguf(requantise(tiny, type));
    assert.deepEqual(metadata.get("general.file_type"), { type: "u32", value: fileType });
    for (const [key, value] of original.metadata) {
      if (key !== "general.file_type") assert.deepEqual(metadata.get(key), value);
    }
    assert.equal(tensors.length, original.tensors.length);
    for (const [i, tensor] of tensors.entries()) {
      const before = original.tensors[i] ?? assert.fail("no such tensor");
      assert.equal(tensor.name, before.name);
      assert.deepEqual(tensor.dims, before.dims);
      assert.equal(tensor.type, before.dims.length === 2 ? type : "F32");
      if (before.type === "F32") assert.ok(Buffer.from(before.data).equals(tensor.data));
    }
  }
});

test("Q8_0 keeps every weight within half a step", () => {
  const weights = sampleWeights();
  const blocks = Buffer.from(quantiseQ8(weights));
  for (const [i, weight] of weights.entries()) {
    const at = Math.floor(i / 32) * 34;
    const step = halfToNumber(blocks.readUInt16LE(at));
    const back = step * blocks.readInt8(at + 2 + (i % 32));
    // The step is stored in half precision, so 127 steps may be off by another 127 * 2^-11 of one.
    assert.ok(Math.abs(back - weight) <= step * (0.5 + 127 * 2 ** -11) + 2 ** -18);
  }
});

test("a file that is quantised already is refused", () => {
  assert.throws(() => requantise(requantise(tiny, "Q8_0"), "Q4_0"), invalid("requantise.type"));
});

function f32(name: string, dims: number[], numbers: number[]): GgufTensor {
  return { name, type: "F32", dims, data: new Uint8Array(new Float32Array(numbers).buffer) };
}

const adapterMetadata = new Map<string, GgufValue>([
  ["adapter.type", { type: "string", value: "lora" }],
  ["adapter.lora.alpha", { type: "f32", value: 4 }],
]);
const base = writeGguf({
  metadata: new Map(),
  tensors: [f32("w.weight", [2, 3], [0, 0, 1, 1, 2, 2]), f32("norm.weight", [2], [1, 2])],
});
const a = f32("w.weight.lora_a", [2, 1], [1, 10]);
const b = f32("w.weight.lora_b", [1, 3], [1, 2, 3]);
const adapter = (tensors: GgufTensor[], metadata = adapterMetadata) =>
  writeGguf({ metadata, tensors });

test("merging adds alpha / rank times B A", () => {
  const { metadata, tensors } = parseGguf(mergeLora(base, adapter([a, b])));
  const [w, norm] = tensors;
  assert.deepEqual(metadata.get("general.file_type"), { type: "u32", value: 1 });
  assert.equal(w?.type, "F16");
  const view = Buffer.from(w.data);
  const merged = Array.from({ length: 6 }, (_, i) => halfToNumber(view.readUInt16LE(2 * i)));
  assert.deepEqual(merged, [4, 40, 9, 81, 14, 122]);
  assert.equal(norm?.type, "F32");
});

test("an adapter that does not fit is refused", () => {
  const shape = f32("w.weight.lora_b", [1, 2], [1, 2]);
  assert.throws(() => mergeLora(base, adapter([a, shape])), invalid("lora.shape"));
  assert.throws(() => mergeLora(base, adapter([a])), invalid("lora.unused"));
  assert.throws(() => mergeLora(base, adapter([a, b], new Map())), invalid("lora.metadata"));
  assert.throws(() => mergeLora(base, base.subarray(1)), invalid("gguf.magic"));
});
