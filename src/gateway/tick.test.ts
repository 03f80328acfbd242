import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeClock } from "../../tests/fake-recomputer.ts";
import { ReleaseTick } from "./tick.ts";

function ticking(onDue: () => Promise<void> = () => Promise.resolve()) {
  const clock = new FakeClock();
  const seen: string[] = [];
  const tick = new ReleaseTick({
    clock,
    tickMs: 20,
    onEarly: () => seen.push(`early ${clock.monotonicMs()}`),
    onDue: () => {
      seen.push(`due ${clock.monotonicMs()}`);
      return onDue();
    },
  });
  return { clock, seen, tick };
}

test("tick: armed between two points of the grid -> early, then due on the next point, once", async () => {
  const { clock, seen, tick } = ticking();
  await clock.advance(7);
  tick.arm();
  tick.arm();
  await clock.advance(60);
  assert.deepEqual(seen, ["early 15", "due 20"]);
  assert.equal(tick.pending, false);
});

test("tick: armed too late to prepare anything -> only due", async () => {
  const { clock, seen, tick } = ticking();
  await clock.advance(16);
  tick.arm();
  await clock.advance(60);
  assert.deepEqual(seen, ["due 20"]);
});

test("tick: armed again on a point that was used -> the point after it", async () => {
  const { clock, seen, tick } = ticking();
  await clock.advance(20);
  tick.arm();
  await clock.advance(0);
  tick.arm();
  await clock.advance(60);
  assert.deepEqual(seen, ["due 20", "early 35", "due 40"]);
});

test("tick: armed while one is carried out -> due once more after it, never at once", async () => {
  const gate = Promise.withResolvers<undefined>();
  let waits: Promise<unknown> = gate.promise;
  const { clock, seen, tick } = ticking(async () => {
    await waits;
  });
  tick.arm();
  await clock.advance(45);
  tick.arm();
  assert.equal(tick.pending, true);
  waits = Promise.resolve();
  gate.resolve(undefined);
  await clock.advance(0);
  await clock.advance(60);
  assert.deepEqual(seen, ["early 15", "due 20", "early 55", "due 60"]);
});

test("tick: after a busy one -> the next is not prepared early", async () => {
  const { clock, seen, tick } = ticking();
  tick.note(17);
  await clock.advance(1);
  tick.arm();
  await clock.advance(30);
  assert.deepEqual(seen, ["due 20"]);
});

test("tick: stopped -> nothing is due any more", async () => {
  const { clock, seen, tick } = ticking();
  await clock.advance(1);
  tick.arm();
  tick.stop();
  tick.arm();
  await clock.advance(60);
  assert.deepEqual(seen, []);
});
