import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { InvalidError } from "../base/assert.ts";
import {
  carriersSince,
  decodeCarriers,
  encodeCarriers,
  noCarriers,
  type CarrierCounts,
} from "./carriers.ts";

const names = Object.keys(noCarriers) as (keyof CarrierCounts)[];
const anyCounts = fc
  .array(fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }), { minLength: 9, maxLength: 9 })
  .map((values) => Object.fromEntries(names.map((name, i) => [name, values[i] ?? 0])))
  .map((object) => ({ ...noCarriers, ...object }));

test("carriers: any counts -> the same after the wire", () => {
  fc.assert(
    fc.property(anyCounts, (counts) => {
      assert.deepEqual(decodeCarriers(encodeCarriers(counts)), counts);
    }),
  );
});

test("carriers: the example of spec/proof-request.md -> its bytes", () => {
  const counts = { ms: 1, ticks: 2, places: 3, pairs: 4, ended: 5, endedTokens: 6 };
  const bytes = encodeCarriers({ ...counts, failed: 7, failedBytes: 8, tokens: 9 });
  const expected = [1, 2, 3, 4, 5, 6, 7, 8, 9].map((n) => n.toString(16).padStart(16, "0"));
  assert.equal(bytes.toString("hex"), expected.join(""));
});

test("carriers: any bytes -> counts or an InvalidError", () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 60, maxLength: 80 }), (bytes) => {
      try {
        decodeCarriers(bytes);
      } catch (error) {
        assert.ok(error instanceof InvalidError);
      }
    }),
  );
  assert.throws(() => decodeCarriers(Buffer.alloc(72, 0xff)), { code: "carriers.count" });
});

test("carriers: between two readings -> the difference; null where a count fell", () => {
  fc.assert(
    fc.property(anyCounts, anyCounts, (a, b) => {
      const since = carriersSince(a, b);
      if (names.some((name) => b[name] < a[name])) assert.equal(since, null);
      else for (const name of names) assert.equal(since?.[name], b[name] - a[name]);
    }),
  );
});
