import assert from "node:assert/strict";
import { test } from "node:test";
import { BitCounter } from "./counter.ts";

test("counter: S bits counted -> complete, one more byte -> refused and not counted", () => {
  const counter = new BitCounter(10);
  counter.count(4);
  assert.equal(counter.complete, false);
  assert.throws(() => {
    counter.count(7);
  }, /bit 81 of 80/);
  assert.equal(counter.forwardedBits, 32n);
  counter.count(6);
  assert.equal(counter.complete, true);
  assert.throws(
    () => {
      counter.count(1);
    },
    { code: "upload.too-many-bits" },
  );
});
