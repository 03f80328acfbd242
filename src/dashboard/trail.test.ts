import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { evidence, recomputerStatus } from "../../tests/path/page-scene.ts";
import { addToTrails, trailKey, trailMax, type Trails } from "./trail.ts";

const watched = (): boolean => true;

function grow(trails: Trails, logs: readonly number[]): Trails {
  return logs.reduce((all, logE, i) => {
    const told = recomputerStatus({ evidence: [evidence("g1", { pairs: i, logE })] });
    return addToTrails(all, told, watched, i);
  }, trails);
}

test("trail: evidence that does not change -> one point; a recomputer without any -> none", () => {
  const told = recomputerStatus({ evidence: [evidence("g1")] });
  const once = addToTrails(new Map(), told, watched, 1);
  assert.deepEqual(addToTrails(once, told, watched, 2), once);
  assert.equal(addToTrails(new Map(), recomputerStatus(), watched, 1).size, 0);
});

test("trail: evidence begins anew -> the fall is part of the history", () => {
  const trail = grow(new Map(), [3, 9, 0]).get(trailKey("r1", "g1"));
  assert.deepEqual(
    trail?.map(({ logE }) => logE),
    [3, 9, 0],
  );
});

test("trail: any length -> bounded, in order, the first and the newest points kept", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 4 * trailMax }), (length) => {
      const logs = Array.from({ length }, (_, i) => i);
      const trail = grow(new Map(), logs).get(trailKey("r1", "g1")) ?? [];
      assert.ok(trail.length <= trailMax);
      assert.equal(trail[0]?.atMs, 0);
      const last = trail.slice(-Math.min(length, trailMax / 4)).map(({ atMs }) => atMs);
      assert.deepEqual(last, logs.slice(-last.length));
      trail.forEach((point, i) => {
        assert.ok(point.atMs > (trail[i - 1]?.atMs ?? -1));
      });
    }),
    { numRuns: 25 },
  );
});
