import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { BchCode } from "./bch.ts";

/** [m, t, k] as printed in tables of BCH codes (Lin and Costello, appendix C). */
const known = [
  [7, 10, 64],
  [7, 1, 120],
  [7, 15, 36],
  [8, 7, 199],
  [8, 8, 191],
  [8, 15, 139],
  [8, 18, 131],
  [8, 19, 123],
  [8, 42, 47],
] as const;
const codes = known.map(([m, t]) => new BchCode(m, t));

/** k message bits and up to `most` distinct positions. */
const trial = (
  code: BchCode,
  most: number,
): fc.Arbitrary<{ message: Uint8Array; wrong: number[] }> =>
  fc.record({
    message: fc
      .array(fc.integer({ min: 0, max: 1 }), { minLength: code.k, maxLength: code.k })
      .map((bits) => Uint8Array.from(bits)),
    wrong: fc.uniqueArray(fc.integer({ min: 0, max: code.n - 1 }), { maxLength: most }),
  });

function withErrors(word: Uint8Array, wrong: readonly number[]): Uint8Array {
  const out = Uint8Array.from(word);
  for (const at of wrong) out[at] = (out[at] ?? 0) ^ 1;
  return out;
}

test("bch: dimensions are those of the published tables", () => {
  assert.deepEqual(
    codes.map((code) => code.k),
    known.map(([, , k]) => k),
  );
});

test("bch: any t errors or fewer -> the code word comes back, and the message stands in it", () => {
  for (const code of codes) {
    fc.assert(
      fc.property(trial(code, code.t), ({ message, wrong }) => {
        const word = code.encode(message);
        const decoded = code.decode(withErrors(word, wrong));
        assert.deepEqual(decoded, word);
        assert.deepEqual(code.message(word), message);
      }),
      { numRuns: 20 },
    );
  }
});

test("bch: whatever comes in, what comes out is null or a code word within distance t", () => {
  for (const code of codes) {
    fc.assert(
      fc.property(trial(code, code.n), ({ message, wrong }) => {
        const received = withErrors(code.encode(message), wrong);
        const decoded = code.decode(received);
        if (decoded === null) return;
        assert.deepEqual(code.encode(code.message(decoded)), decoded);
        const distance = decoded.filter((bit, i) => bit !== received[i]).length;
        assert.ok(distance <= code.t);
      }),
      { numRuns: 20 },
    );
  }
});

test("bch: one error more than t is not repaired to the word that was sent", () => {
  const code = new BchCode(8, 19);
  const word = code.encode(new Uint8Array(code.k).fill(1));
  const wrong = Array.from({ length: code.t + 1 }, (_, i) => 11 * i);
  assert.notDeepEqual(code.decode(withErrors(word, wrong)), word);
});
