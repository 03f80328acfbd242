import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { InvalidError } from "./assert.ts";
import { decodeUtf8, encodeUtf8, fromHex, Reader, toHex, Writer } from "./bytes.ts";

/** One field: how it is written, how it is read, and what it holds. */
const field = fc.oneof(
  fc.record({ kind: fc.constant("u8" as const), value: fc.nat(255) }),
  fc.record({ kind: fc.constant("u16" as const), value: fc.nat(65_535) }),
  fc.record({ kind: fc.constant("u32" as const), value: fc.nat(2 ** 32 - 1) }),
  fc.record({
    kind: fc.constant("u64" as const),
    value: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  }),
  fc.record({
    kind: fc.constant("f64" as const),
    value: fc.double({ noNaN: true, noDefaultInfinity: true }).map((x) => x + 0),
  }),
  fc.record({ kind: fc.constant("text" as const), value: fc.string({ unit: "grapheme" }) }),
  fc.record({ kind: fc.constant("blob" as const), value: fc.uint8Array() }),
  fc.record({ kind: fc.constant("ids" as const), value: fc.uint32Array() }),
);

type Field = typeof field extends fc.Arbitrary<infer T> ? T : never;

function write(out: Writer, { kind, value }: Field): void {
  if (kind === "u64") out.u64(value);
  else if (kind === "text") out.text(value);
  else if (kind === "blob") out.blob(value);
  else if (kind === "ids") out.ids(value);
  else out[kind](value);
}

function read(from: Reader, { kind }: Field): unknown {
  if (kind === "text") return from.text(1e6);
  if (kind === "blob") return Uint8Array.from(from.blob(1e6));
  if (kind === "ids") return from.ids(1e6);
  return from[kind]();
}

test("bytes: any fields, from any starting capacity -> read back the same", () => {
  fc.assert(
    fc.property(fc.array(field), fc.integer({ min: 1, max: 40 }), (fields, capacity) => {
      const out = new Writer(capacity);
      for (const each of fields) write(out, each);
      const from = new Reader(Buffer.from(out.bytes()), "test");
      for (const each of fields) {
        const wanted = each.value === 0 ? 0 : each.value;
        assert.deepEqual(read(from, each), wanted);
      }
      from.end();
    }),
  );
});

test("bytes: ids -> big-endian on the wire, whatever the offset of the array", () => {
  const values = new Uint32Array([9, 1, 0x01020304, 0xffffffff]).subarray(1);
  assert.equal(toHex(new Writer(1).ids(values).bytes()), "000000030000000101020304ffffffff");
  assert.equal(toHex(new Writer(1).ids([1, 2]).bytes()), "000000020000000100000002");
});

test("bytes: a read past the end, trailing bytes, too long a count -> invalid, by name", () => {
  const bytes = new Writer().u32(5).bytes();
  assert.throws(() => new Reader(bytes, "x").u64(), { code: "x.truncated" });
  assert.throws(() => new Reader(bytes, "x").blob(10), { code: "x.truncated" });
  assert.throws(() => new Reader(bytes, "x").ids(10), { code: "x.truncated" });
  assert.throws(() => new Reader(bytes, "x").count(4), { code: "x.too-long" });
  assert.throws(
    () => {
      new Reader(bytes, "x").end();
    },
    { code: "x.trailing" },
  );
});

test("bytes: numbers with more than one form -> only one is read", () => {
  for (const value of [-0, NaN, Infinity, -Infinity]) {
    const bytes = Buffer.alloc(8);
    bytes.writeDoubleBE(value);
    assert.throws(() => new Reader(bytes, "x").f64(), { code: "x.number" });
  }
  assert.equal(new Reader(new Writer().f64(-0).bytes(), "x").f64(), 0);
});

test("bytes: text that is no Unicode, hex that is no hex -> invalid", () => {
  assert.throws(() => decodeUtf8(Buffer.of(0xc3, 0x28)), { code: "bytes.utf8" });
  assert.throws(() => encodeUtf8("\ud800"), { code: "bytes.utf16" });
  assert.throws(() => fromHex("0G", 1), { code: "bytes.hex" });
  assert.throws(() => fromHex("AB", 1), InvalidError);
  assert.equal(toHex(fromHex("00ff", 2)), "00ff");
});
