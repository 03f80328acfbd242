import assert from "node:assert/strict";
import { test } from "node:test";
import type { RandomSource } from "../base/random.ts";
import { philox4x32 } from "../format/noise.ts";
import { aptCutoff, aptWindow, HealthTests, rctCutoff, TestedRandom } from "./health.ts";

/** ln of the binomial coefficient, by summation: exact enough for cutoffs. */
function lnChoose(n: number, k: number): number {
  let sum = 0;
  for (let i = 1; i <= k; i++) sum += Math.log((n - k + i) / i);
  return sum;
}

test("health: the cutoffs are SP 800-90B's for H = 8 bits, alpha = 2^-30", () => {
  const alpha = 2 ** -30;
  assert.equal(rctCutoff, 1 + Math.ceil(30 / 8));
  // 2 + the smallest k with P(Binomial(W - 1, 2^-8) <= k) >= 1 - alpha.
  const n = aptWindow - 1;
  const p = 2 ** -8;
  const above = (k: number): number => {
    let tail = 0;
    for (let i = k + 1; i <= n; i++) {
      tail += Math.exp(lnChoose(n, i) + i * Math.log(p) + (n - i) * Math.log1p(-p));
    }
    return tail;
  };
  let k = 0;
  while (above(k) > alpha) k++;
  assert.equal(aptCutoff, 2 + k);
});

/** A reproducible good source: Philox under a fixed key. */
function seeded(key: number): RandomSource {
  let block = 0;
  const words = new Uint32Array(4);
  return {
    fill(target): void {
      for (let i = 0; i < target.length; i++) {
        if (i % 16 === 0) philox4x32(words, block++, 0, 0, 0, key, 0);
        target[i] = ((words[(i % 16) >> 2] ?? 0) >>> (8 * (i % 4))) & 0xff;
      }
    },
  };
}

test("health: two million bytes of a good generator (seed 7) -> no failure", () => {
  const tests = new HealthTests();
  const bytes = new Uint8Array(2_000_000);
  seeded(7).fill(bytes);
  assert.equal(
    bytes.find((byte) => tests.sample(byte) !== null),
    undefined,
  );
});

test("health: a stuck byte -> repetition count at the fifth", () => {
  const tests = new HealthTests();
  const results = [9, 9, 9, 9, 9].map((byte) => tests.sample(byte));
  assert.deepEqual(results, [null, null, null, null, "repetition-count"]);
});

test("health: a byte that comes up one time in ten -> adaptive proportion within a few windows", () => {
  const tests = new HealthTests();
  const bytes = new Uint8Array(20_000);
  seeded(11).fill(bytes);
  const failures = bytes
    .map((byte, i) => (i % 10 === 0 ? 42 : byte))
    .reduce((sum, byte) => sum + (tests.sample(byte) === "adaptive-proportion" ? 1 : 0), 0);
  assert.ok(failures > 0);
});

test("health: a generator that sticks for good -> unavailable, and for ever", () => {
  const heard: string[] = [];
  let stuck = false;
  const good = seeded(3);
  const source: RandomSource = {
    fill(target): void {
      if (stuck) target.fill(0);
      else good.fill(target);
    },
  };
  const random = new TestedRandom(source, (failed) => heard.push(failed));
  random.fill(new Uint8Array(8));
  stuck = true;
  assert.throws(
    () => {
      random.fill(new Uint8Array(8));
    },
    { code: "sample.health" },
  );
  stuck = false;
  assert.throws(
    () => {
      random.fill(new Uint8Array(8));
    },
    { code: "sample.health" },
  );
  assert.deepEqual(heard, ["repetition-count", "repetition-count"]);
});

test("health: one bad draw, then good again -> the draw is discarded and replaced", () => {
  let calls = 0;
  const good = seeded(5);
  const random = new TestedRandom(
    {
      fill(target): void {
        calls++;
        if (calls === 2) target.fill(1);
        else good.fill(target);
      },
    },
    () => undefined,
  );
  const drawn = new Uint8Array(8);
  random.fill(drawn);
  assert.notDeepEqual(
    [...drawn],
    Array.from({ length: 8 }, () => 1),
  );
});
