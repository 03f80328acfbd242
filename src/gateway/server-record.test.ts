import assert from "node:assert/strict";
import { test } from "node:test";
import { makeTag } from "../format/tag.ts";
import { EndedTags, FailureWindow } from "./server-record.ts";

test("ended tags: very many cancelled pairs -> bounded memory, and no frame of one is held against the server", () => {
  const ended = new EndedTags();
  for (let i = 1; i <= 200_000; i++) ended.add(makeTag(1, i));
  assert.ok(ended.size <= 65_536);
  assert.ok(ended.has(makeTag(1, 1)) && ended.has(makeTag(1, 200_000)));
  assert.equal(ended.has(makeTag(1, 200_001)), false);
  ended.delete(makeTag(1, 200_000));
  assert.equal(ended.has(makeTag(1, 200_000)), false);
  ended.clear();
  assert.equal(ended.has(makeTag(1, 1)), false);
});

test("failure window: told once when most of 20 pairs failed, and once when no longer", () => {
  const record = new FailureWindow();
  for (let i = 0; i < 19; i++) assert.equal(record.note(true), null);
  assert.deepEqual(record.note(true), { failed: 20, of: 20 });
  for (let i = 0; i < 9; i++) assert.equal(record.note(false), null);
  assert.deepEqual(record.note(false), { failed: 10, of: 20 });
  for (let i = 0; i < 20; i++) assert.equal(record.note(false), null);
});
