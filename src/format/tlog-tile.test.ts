import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import fc from "fast-check";
import { InvalidError } from "../base/assert.ts";
import { limits } from "../base/limits.ts";
import { decodeLogAsk, decodeLogLeaves, encodeLogAsk, encodeLogLeaves } from "./log-link.ts";
import {
  decodeBundle,
  encodeBundle,
  parseTilePath,
  tilePath,
  tileWidthAt,
  type TilePath,
} from "./tlog-tile.ts";

const url = new URL("../../spec/vectors/log.json", import.meta.url);
const { tiles } = JSON.parse(readFileSync(url, "utf8")) as {
  readonly tiles: readonly (TilePath & { path: string })[];
};

test("tile: paths of independent code -> the same, both ways", () => {
  for (const { path, ...tile } of tiles) {
    assert.equal(tilePath(tile), path);
    assert.deepEqual(parseTilePath(path), tile);
  }
});

test("tile: any path -> there and back; any other spelling of it -> refused", () => {
  const tile = fc.record(
    {
      level: fc.oneof(fc.nat(6), fc.constant("entries" as const)),
      index: fc.nat(Number.MAX_SAFE_INTEGER),
      width: fc.integer({ min: 1, max: 256 }),
    },
    { noNullPrototype: true },
  );
  fc.assert(
    fc.property(tile, (parts) => {
      const path = tilePath(parts);
      assert.deepEqual(parseTilePath(path), parts);
      for (const bad of [
        `/${path}`,
        `${path}/`,
        path.replace("tile/", "tile/x000/"),
        `${path}.p/0`,
      ]) {
        assert.throws(() => parseTilePath(bad), { code: "tile.path" }, bad);
      }
    }),
  );
  for (const bad of [
    "tile/0/000.p/0",
    "tile/0/000.p/256",
    "tile/0/000.p/05",
    "tile/64/000",
    "tile/00/000",
  ]) {
    assert.throws(() => parseTilePath(bad), { code: "tile.path" }, bad);
  }
  for (const bad of ["tile/0/0", "tile/0/x000/001", "tile/0/../001", "tile/7/000", ""]) {
    assert.throws(() => parseTilePath(bad), { code: "tile.path" }, bad);
  }
});

test("tile: a log of 70,000 entries -> the tiles of the specification's own example", () => {
  const widths = (level: number | "entries", upTo: number): number[] =>
    Array.from({ length: upTo }, (_, i) => tileWidthAt(level, i, 70_000));
  assert.deepEqual(widths(0, 275), [...Array.from({ length: 273 }, () => 256), 112, 0]);
  assert.deepEqual(widths("entries", 275), widths(0, 275));
  assert.deepEqual(widths(1, 3), [256, 17, 0]);
  assert.deepEqual(widths(2, 2), [1, 0]);
  assert.deepEqual(widths(3, 1), [0]);
});

test("bundle: any entries -> there and back; one entry more, one less, a byte more -> refused", () => {
  const entries = fc.array(
    fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
    {
      minLength: 1,
      maxLength: 10,
    },
  );
  fc.assert(
    fc.property(entries, (list) => {
      const bytes = encodeBundle(list);
      assert.deepEqual(decodeBundle(bytes, list.length), list);
      assert.throws(() => decodeBundle(bytes, list.length + 1), InvalidError);
      assert.throws(() => decodeBundle(bytes, list.length - 1), InvalidError);
      assert.throws(
        () => decodeBundle(Buffer.concat([bytes, Buffer.of(0)]), list.length),
        InvalidError,
      );
    }),
  );
  assert.throws(() => decodeBundle(encodeBundle([Buffer.alloc(129)]), 1, 128), {
    code: "bundle.entry",
  });
});

test("log link: LOG_ASK and LOG_LEAVES -> there and back; cut, longer, or of half entries -> refused", () => {
  const from = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
  fc.assert(
    fc.property(from, fc.nat(limits.logEntries), fc.nat(5), (start, count, entries) => {
      assert.deepEqual(decodeLogAsk(encodeLogAsk({ from: start, count })), { from: start, count });
      const leaves = { from: start, entries: Buffer.alloc(128 * entries, 7) };
      assert.deepEqual(decodeLogLeaves(encodeLogLeaves(leaves)), leaves);
      assert.throws(() => decodeLogLeaves(encodeLogLeaves(leaves).subarray(0, 7)), InvalidError);
    }),
  );
  assert.throws(
    () => decodeLogAsk(encodeLogAsk({ from: 0n, count: limits.logEntries + 1 })),
    InvalidError,
  );
  assert.throws(() => decodeLogAsk(Buffer.alloc(13)), InvalidError);
  assert.throws(() => decodeLogLeaves(Buffer.alloc(9)), { code: "log-leaves.length" });
});
