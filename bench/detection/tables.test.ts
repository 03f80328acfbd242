import assert from "node:assert/strict";
import { test } from "node:test";
import { seededUniform } from "../../src/verification/seeded.ts";
import { auc, bucketMeans } from "./tables.ts";

test("auc: ranks with ties -> the share of pairs that are in order, ties half", () => {
  const uniform = seededUniform(3);
  const some = (): number[] => Array.from({ length: 40 }, () => Math.floor(6 * uniform()));
  const [bad, good] = [some(), some()];
  let sum = 0;
  for (const a of bad) for (const b of good) sum += a > b ? 1 : a === b ? 0.5 : 0;
  assert.ok(Math.abs(auc(bad, good) - sum / 1600) < 1e-12);
  assert.equal(auc([2, 3], [0, 1]), 1);
  assert.equal(auc([1, 1], [1, 1]), 0.5);
});

test("buckets: disjoint means of a size; what is left over is dropped", () => {
  assert.deepEqual(bucketMeans([1, 3, 5, 7, 9], 2), [2, 6]);
});
