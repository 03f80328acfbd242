import assert from "node:assert/strict";
import { test } from "node:test";
import { endBits, releaseBits } from "./release.ts";

/** Ways to place `tokens` into `ticks` ordered ticks or none, counted one by one. */
function ways(tokens: number, ticks: number): number {
  if (ticks === 0) return 1;
  let sum = 0;
  for (let here = 0; here <= tokens; here++) sum += ways(tokens - here, ticks - 1);
  return sum;
}

test("release: small cases -> log2 of the ways that enumeration finds", () => {
  for (const tokens of [0, 1, 3, 6])
    for (const ticks of [0, 1, 2, 5]) {
      const expected = Math.log2(ways(tokens, ticks));
      assert.ok(Math.abs(releaseBits(tokens, ticks) - expected) < 1e-9, `${tokens} in ${ticks}`);
    }
});

test("release: as many ticks as tokens -> near 2 bits a token; one tick -> next to nothing", () => {
  assert.ok(Math.abs(releaseBits(1000, 1000) / 1000 - 2) < 0.01);
  assert.ok(releaseBits(1000, 1) < 10);
});

test("end: ends after 0 to 62 tokens, or fails -> 6 bits", () => {
  assert.equal(endBits(62), 6);
});
