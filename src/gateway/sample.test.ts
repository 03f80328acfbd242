import assert from "node:assert/strict";
import { test } from "node:test";
import type { RandomSource } from "../base/random.ts";
import { makeTag } from "../format/tag.ts";
import { Sampler, type DrawnPair } from "./sample.ts";

const tag = makeTag(1, 1);

/** Counts up through the 64-bit space in even steps: the share kept is then epsilon almost exactly. */
function evenly(steps: number): RandomSource {
  let i = 0n;
  const step = 2n ** 64n / BigInt(steps);
  return {
    fill(target): void {
      Buffer.from(target.buffer, target.byteOffset, 8).writeBigUInt64BE(i);
      i = (i + step) % 2n ** 64n;
    },
  };
}

for (const epsilon of [0, 0.01, 0.25, 1]) {
  test(`sample: epsilon ${epsilon} over the whole range of draws -> that share is kept`, () => {
    const steps = 100_000;
    const sampler = new Sampler(epsilon, evenly(steps));
    let kept = 0;
    for (let i = 0; i < steps; i++) if (sampler.keep(tag, 0n)) kept++;
    assert.ok(Math.abs(kept / steps - epsilon) <= 1.5 / steps, `kept ${kept}`);
  });
}

test("sample: many coins at once -> the same coins as one by one, from one call of the generator", () => {
  let calls = 0;
  const counting = (): RandomSource => {
    let next = 0;
    return {
      fill(target): void {
        calls++;
        for (let i = 0; i < target.length; i++) target[i] = next = (next * 69 + 37) % 251;
      },
    };
  };
  const one = new Sampler(0.4, counting());
  const expected = Array.from({ length: 100 }, () => one.keep(tag, 0n));
  calls = 0;
  assert.deepEqual(
    new Sampler(0.4, counting()).draw(Array<DrawnPair>(100).fill({ tag, index: 0n })),
    expected,
  );
  assert.equal(calls, 1);
  assert.deepEqual(new Sampler(0.4, counting()).draw([]), []);
});

test("sample: epsilon outside [0, 1] -> refused", () => {
  for (const epsilon of [-0.1, 1.1, NaN]) {
    assert.throws(() => new Sampler(epsilon, evenly(1)), { code: "sample.epsilon" });
  }
});
