import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import fc from "fast-check";
import { InvalidError } from "../base/assert.ts";
import {
  ggufTensorBytes,
  parseGguf,
  type Gguf,
  type GgufScalar,
  type GgufTensorType,
  type GgufValue,
} from "./gguf.ts";
import { writeGguf } from "./gguf-write.ts";

const tinyFile = new URL("../../models/weir-tiny.gguf", import.meta.url);

const notNan = { noNaN: true };
const text = fc.string({ unit: "grapheme", maxLength: 12 });
const numeric = (type: "u8" | "i8" | "u16" | "i16" | "u32" | "i32", min: number, max: number) =>
  fc.integer({ min, max }).map((value) => ({ type, value }));
const arbitraryScalar: fc.Arbitrary<GgufScalar> = fc.oneof(
  numeric("u8", 0, 255),
  numeric("i8", -128, 127),
  numeric("u16", 0, 65_535),
  numeric("i16", -32_768, 32_767),
  numeric("u32", 0, 2 ** 32 - 1),
  numeric("i32", -(2 ** 31), 2 ** 31 - 1),
  fc.float(notNan).map((value) => ({ type: "f32" as const, value })),
  fc.double(notNan).map((value) => ({ type: "f64" as const, value })),
  fc.bigInt(0n, 2n ** 64n - 1n).map((value) => ({ type: "u64" as const, value })),
  fc.bigInt(-(2n ** 63n), 2n ** 63n - 1n).map((value) => ({ type: "i64" as const, value })),
  fc.boolean().map((value) => ({ type: "bool" as const, value })),
  text.map((value) => ({ type: "string" as const, value })),
);

const arbitraryValue: fc.Arbitrary<GgufValue> = fc.oneof(
  arbitraryScalar,
  // An array of one type: the first value's type decides which of the others stay.
  fc.tuple(arbitraryScalar, fc.array(arbitraryScalar, { maxLength: 40 })).map(([first, rest]) => ({
    type: "array" as const,
    of: first.type,
    values: rest.filter(({ type }) => type === first.type).map(({ value }) => value),
  })),
);

const tensorTypes: GgufTensorType[] = ["F32", "F16", "BF16", "Q4_0", "Q8_0", "Q6_K", "I8", "MXFP4"];
const arbitraryTensor = fc
  .record({
    type: fc.constantFrom(...tensorTypes),
    row: fc.integer({ min: 1, max: 2 }),
    dims: fc.array(fc.integer({ min: 1, max: 3 }), { maxLength: 3 }),
    fill: fc.integer({ min: 0, max: 255 }),
  })
  .map(({ type, row, dims, fill }) => {
    const shape = [row * 256, ...dims];
    return { type, dims: shape, data: Buffer.alloc(ggufTensorBytes(type, shape), fill) };
  });

const arbitraryGguf: fc.Arbitrary<Gguf> = fc
  .record({
    entries: fc.uniqueArray(fc.tuple(fc.string({ minLength: 1, maxLength: 9 }), arbitraryValue), {
      selector: ([key]) => key,
      maxLength: 8,
    }),
    alignment: fc.constantFrom(undefined, 1, 8, 32, 64),
    tensors: fc.array(arbitraryTensor, { maxLength: 4 }),
  })
  .map(({ entries, alignment, tensors }) => {
    const metadata = new Map<string, GgufValue>(entries);
    if (alignment !== undefined) {
      metadata.set("general.alignment", { type: "u32", value: alignment });
    }
    return { metadata, tensors: tensors.map((tensor, i) => ({ name: `t${i}`, ...tensor })) };
  });

/** Parses, and demands that a failure is an InvalidError with a code of this format. */
function parseOrInvalid(bytes: Uint8Array): Gguf | undefined {
  try {
    return parseGguf(bytes);
  } catch (error) {
    assert.ok(error instanceof InvalidError, String(error));
    assert.match(error.code, /^gguf\.[a-z0-9-]+$/);
    return undefined;
  }
}

const invalid = (code: string) => (error: unknown) =>
  error instanceof InvalidError && error.code === code;

const sample: Gguf = {
  metadata: new Map<string, GgufValue>([
    ["general.architecture", { type: "string", value: "llama" }],
    ["flags", { type: "array", of: "bool", values: [true, false] }],
    ["names", { type: "array", of: "string", values: ["a", "bc"] }],
    ["big", { type: "u64", value: 2n ** 63n }],
  ]),
  tensors: [
    { name: "a", type: "F32", dims: [3], data: Buffer.alloc(12, 1) },
    { name: "b", type: "Q8_0", dims: [32, 2], data: Buffer.alloc(68, 2) },
  ],
};

test("what is written is read back", () => {
  fc.assert(
    fc.property(arbitraryGguf, (gguf) => {
      const bytes = writeGguf(gguf);
      const parsed = parseGguf(bytes);
      assert.deepEqual([...parsed.metadata], [...gguf.metadata]);
      assert.equal(parsed.tensors.length, gguf.tensors.length);
      for (const [i, tensor] of parsed.tensors.entries()) {
        const { data, ...rest } = tensor;
        const { data: original, ...expected } = gguf.tensors[i] ?? assert.fail("no such tensor");
        assert.deepEqual(rest, expected);
        assert.ok(Buffer.from(original).equals(data));
      }
      assert.ok(Buffer.from(writeGguf(parsed)).equals(bytes));
    }),
  );
});

test("the demo model parses, and writing it again gives the same bytes", () => {
  const bytes = readFileSync(tinyFile);
  const gguf = parseGguf(bytes);
  assert.equal(gguf.metadata.get("general.architecture")?.type, "string");
  assert.ok(gguf.tensors.some(({ name }) => name === "token_embd.weight"));
  assert.ok(Buffer.from(writeGguf(gguf)).equals(bytes));
});

test("every truncation is refused", () => {
  const bytes = writeGguf(sample);
  const padding = Math.ceil(68 / 32) * 32 - 68;
  for (let length = 0; length < bytes.length; length++) {
    const parsed = parseOrInvalid(bytes.subarray(0, length));
    assert.equal(parsed !== undefined, length === bytes.length - padding, `length ${length}`);
  }
});

test("damaged bytes parse or throw InvalidError", () => {
  fc.assert(
    fc.property(
      arbitraryGguf.map(writeGguf),
      fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 })), { minLength: 1, maxLength: 4 }),
      fc.nat(),
      (bytes, flips, cut) => {
        const damaged = Uint8Array.from(bytes);
        for (const [at, value] of flips) damaged[at % damaged.length] = value;
        parseOrInvalid(damaged);
        parseOrInvalid(bytes.subarray(0, cut % bytes.length));
      },
    ),
    { numRuns: 500 },
  );
});

test("every single byte of a small file, set to 0, 1, 127 and 255", () => {
  const bytes = writeGguf(sample);
  for (let at = 0; at < bytes.length; at++) {
    for (const value of [0, 1, 127, 255]) {
      const damaged = Uint8Array.from(bytes);
      damaged[at] = value;
      parseOrInvalid(damaged);
    }
  }
});

test("each defect has its code", () => {
  const whole = Buffer.from(writeGguf(sample));
  const at = (needle: string) => whole.indexOf(needle);
  const cases: [string, (bytes: Buffer) => unknown][] = [
    ["gguf.magic", (b) => b.write("GGML", 0)],
    ["gguf.version", (b) => b.writeUInt32LE(2, 4)],
    ["gguf.too-large", (b) => b.fill(255, 8, 16)],
    ["gguf.too-large", (b) => b.fill(255, 16, 24)],
    ["gguf.value-type", (b) => b.writeUInt32LE(13, at("flags") + 5)],
    ["gguf.nested-array", (b) => b.writeUInt32LE(9, at("flags") + 9)],
    ["gguf.bool", (b) => b.writeUInt8(2, at("flags") + 21)],
    ["gguf.truncated", (b) => b.writeUInt32LE(10_000, at("names") + 13)],
    ["gguf.utf8", (b) => b.writeUInt8(0xff, at("llama"))],
    ["gguf.key", (b) => b.write("names", at("flags"))],
    ["gguf.padding", (b) => b.writeUInt8(1, b.length - 1)],
  ];
  for (const [code, damage] of cases) {
    const bytes = Buffer.from(whole);
    damage(bytes);
    assert.throws(() => parseGguf(bytes), invalid(code), code);
  }
  const extra = Buffer.concat([whole, Buffer.alloc(32)]);
  assert.throws(() => parseGguf(extra), invalid("gguf.trailing"));
});

test("tensor descriptions that do not fit their data are refused", () => {
  const one = (type: GgufTensorType, dims: number[], size: number, name = "w"): Gguf => ({
    metadata: new Map(),
    tensors: [{ name, type, dims, data: Buffer.alloc(size) }],
  });
  assert.throws(() => writeGguf(one("F32", [2], 7)), invalid("gguf.tensor-size"));
  assert.throws(() => writeGguf(one("Q4_0", [33], 18)), invalid("gguf.dims"));
  assert.throws(() => writeGguf(one("F32", [2 ** 40, 2 ** 40], 0)), invalid("gguf.dims"));
  assert.throws(() => writeGguf(one("F32", [0], 0)), invalid("gguf.dims"));
  assert.throws(() => writeGguf(one("F32", [1], 4, "n".repeat(64))), invalid("gguf.too-large"));
  assert.throws(() => writeGguf(one("F32", [1], 4, "")), invalid("gguf.name"));
  const offset = Buffer.from(writeGguf(one("F32", [1], 4)));
  offset.writeUInt8(32, offset.indexOf("w") + 1 + 4 + 8 + 4);
  assert.throws(() => parseGguf(offset), invalid("gguf.offset"));
});

test("metadata that does not fit its type is refused", () => {
  const write = (value: GgufValue, key = "k") =>
    writeGguf({ metadata: new Map([[key, value]]), tensors: [] });
  for (const value of [256, -1, 1.5, Number.NaN]) {
    assert.throws(() => write({ type: "u8", value }), invalid("gguf.value"));
  }
  assert.throws(() => write({ type: "i64", value: 2n ** 63n }), invalid("gguf.value"));
  assert.throws(() => write({ type: "f32", value: Number.NaN }), invalid("gguf.nan"));
  assert.throws(() => write({ type: "array", of: "u8", values: ["text"] }), invalid("gguf.value"));
  for (const value of [0, 3, 131_072]) {
    assert.throws(
      () => write({ type: "u32", value }, "general.alignment"),
      invalid("gguf.alignment"),
    );
  }
});
