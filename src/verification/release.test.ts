import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { noCarriers, type CarrierCounts } from "../format/carriers.ts";
import { aborts } from "../format/router-link.ts";
import { carrierBits } from "./release.ts";

const counts = (some: Partial<CarrierCounts>): CarrierCounts => ({ ...noCarriers, ...some });
const near = (a: number, b: number): boolean => Math.abs(a - b) < 1e-9 * Math.max(1, Math.abs(b));

/** Ways to let at most `ticks` ticks pass at these places, counted one by one. */
function ways(places: number, ticks: number): number {
  if (places === 0) return 1;
  let sum = 0;
  for (let here = 0; here <= ticks; here++) sum += ways(places - 1, ticks - here);
  return sum;
}

test("release: small cases -> log2 of the ways that enumeration finds", () => {
  for (const places of [0, 1, 3, 6])
    for (const ticks of [0, 1, 2, 5]) {
      const { release } = carrierBits(counts({ places, ticks }));
      assert.ok(near(release, Math.log2(ways(places, ticks))), `${ticks} at ${places}`);
    }
});

test("release: a tick for each token of 4 bytes -> 3.6 bits a token; whole replies -> a tenth of a bit", () => {
  const streamed = carrierBits(counts({ ticks: 64_000, places: 1000 * (256 + 2) }));
  assert.ok(Math.abs(streamed.release / 64_000 - 3.62) < 0.02);
  const whole = carrierBits(counts({ ticks: 64_000, places: 1000 }));
  assert.ok(whole.release / 64_000 < 0.12);
});

/** Every way in which `pairs` pairs may fail: none, or after some bytes with a code; as text. */
function failures(pairs: number, failed: number, bytes: number): Set<string> {
  if (pairs === 0) return new Set(failed === 0 && bytes >= 0 ? [""] : []);
  const all = new Set<string>();
  for (const rest of failures(pairs - 1, failed, bytes)) all.add(`${rest}.`);
  if (failed === 0) return all;
  for (let b = 0; b <= bytes; b++) {
    for (const rest of failures(pairs - 1, failed - 1, bytes - b)) {
      for (const code of aborts) all.add(`${rest}${code}${b};`);
    }
  }
  return all;
}

test("failures: every pattern of so many failures of so much text -> never more than the bound", () => {
  for (const [pairs, failed, failedBytes] of [
    [1, 0, 0],
    [3, 1, 0],
    [3, 2, 3],
    [2, 2, 1],
  ] as const) {
    const bound = carrierBits(counts({ pairs, failed, failedBytes })).failures;
    const count = failures(pairs, failed, failedBytes).size;
    assert.ok(Math.log2(count) <= bound + 1e-9, `${count} patterns, ${2 ** bound}`);
    assert.ok(
      bound - Math.log2(count) <= Math.log2(pairs + 1) + 1e-9,
      "and no more than that looser",
    );
  }
});

test("ends: lengths of replies and stop or length -> as many as there are", () => {
  const { ends } = carrierBits(counts({ pairs: 2, ended: 2, endedTokens: 3 }));
  // Two lengths that add up to at most 3: 10. Two reasons each: 4.
  assert.ok(near(ends, Math.log2(40)));
  assert.equal(carrierBits(counts({ pairs: 2 })).ends, 0);
});

test("carriers: any counts -> finite bits, never fewer for all of the time than for a part of its release", () => {
  const count = fc.integer({ min: 0, max: 1e9 });
  fc.assert(
    fc.property(fc.array(count, { minLength: 8, maxLength: 8 }), (some) => {
      const [a = 0, b = 0, c = 0, d = 0, failed = 0, failedBytes = 0, ended = 0, tokens = 0] = some;
      const over = { pairs: failed + ended, failed, failedBytes, ended, endedTokens: tokens };
      const part = carrierBits(counts({ ticks: a, places: b, ...over }));
      const rest = carrierBits(counts({ ticks: c, places: d }));
      const all = carrierBits(counts({ ticks: a + c, places: b + d, ...over }));
      assert.ok(Number.isFinite(all.total) && all.total >= 0);
      assert.ok(part.release + rest.release <= all.release * (1 + 1e-6) + 1e-2);
      assert.equal(all.failures, part.failures);
    }),
  );
});
