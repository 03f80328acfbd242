import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { BugError } from "../base/assert.ts";
import { ChunkMemory } from "./upload-memory.ts";

const fresh = (bytes: number): Buffer => Buffer.allocUnsafeSlow(bytes);

test("chunk memory: any order of take and release -> no two takers share a byte", () => {
  const step = fc.oneof(
    fc.record({ take: fc.integer({ min: 0, max: 40 }) }),
    fc.record({ release: fc.nat() }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const memory = new ChunkMemory(32, 3, fresh);
      const held: { bytes: Buffer; mark: number }[] = [];
      steps.forEach((what, mark) => {
        if ("take" in what) {
          const bytes = memory.take(what.take);
          assert.equal(bytes.length, what.take);
          held.push({ bytes: bytes.fill(mark), mark });
        } else if (held.length > 0) {
          const [gone] = held.splice(what.release % held.length, 1);
          if (gone !== undefined) memory.release(gone.bytes);
        }
        for (const { bytes, mark: own } of held) assert.ok(bytes.every((byte) => byte === own));
      });
    }),
  );
});

test("chunk memory: a released slot -> the next taker gets it, no new memory", () => {
  const memory = new ChunkMemory(32, 2, fresh);
  const first = memory.take(32);
  const second = memory.take(10);
  assert.equal(memory.free, 0);
  memory.release(first);
  assert.equal(memory.free, 1);
  assert.equal(memory.take(20).buffer, first.buffer);
  assert.notEqual(first.buffer, second.buffer);
});

test("chunk memory: no slot free, or too long -> memory of its own, whose release frees nothing", () => {
  const memory = new ChunkMemory(32, 1, fresh);
  const long = memory.take(33);
  assert.equal(memory.free, 1);
  const slot = memory.take(32);
  const extra = memory.take(32);
  assert.notEqual(extra.buffer, slot.buffer);
  memory.release(extra);
  memory.release(long);
  assert.equal(memory.free, 0);
});

test("chunk memory: a slot released twice -> a bug, not a slot with two owners", () => {
  const memory = new ChunkMemory(32, 1, fresh);
  const slot = memory.take(1);
  memory.release(slot);
  assert.throws(() => {
    memory.release(slot);
  }, BugError);
});
