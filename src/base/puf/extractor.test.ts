import assert from "node:assert/strict";
import { createCipheriv } from "node:crypto";
import { test } from "node:test";
import fc from "fast-check";
import { cellModel, cellsFrom } from "../../adapter/puf/cells.ts";
import { InvalidError } from "../assert.ts";
import { sha256 } from "../hash.ts";
import type { RandomSource } from "../random.ts";
import { decodeSeed, enrol, parseHelper, reconstruct } from "./extractor.ts";
import {
  cellsOf,
  codeOf,
  defaultPuf,
  failureRate,
  pufTable,
  repeatedEntropy,
  residualEntropy,
  type PufParameters,
} from "./parameters.ts";

/** A repeatable generator: AES-256-CTR under the hash of a name. */
function seeded(name: string): RandomSource {
  const cipher = createCipheriv("aes-256-ctr", sha256(Buffer.from(name)), Buffer.alloc(16));
  return {
    fill(target) {
      target.set(cipher.update(Buffer.alloc(target.length)));
    },
  };
}

const bricked = (error: unknown): boolean =>
  error instanceof InvalidError && error.code === "uid.bricked";

const silicon = sha256(Buffer.from("silicon"));
const cells = cellsFrom(silicon, seeded("power-ups"));
const helper = enrol(cells, defaultPuf, "g1", seeded("enrolment"));
const secret = reconstruct(cells, defaultPuf, "g1", helper);

test("puf: every row of the table keeps 256 bits and fails at most once in 10^9", () => {
  for (const parameters of pufTable) {
    assert.ok(residualEntropy(parameters) >= 256, `${parameters.id}: entropy`);
    assert.ok(failureRate(parameters, parameters.errorRate) <= 1e-9, `${parameters.id}: failures`);
  }
});

test("puf: figures that others published come out", () => {
  const rounded = [0.54, 0.6, 0.7].map((bias) => repeatedEntropy(9, bias).toFixed(3));
  assert.deepEqual(rounded, ["0.743", "0.447", "0.150"]);
  assert.equal(cellsOf(defaultPuf), 7140);
  assert.equal(failureRate(defaultPuf, 0.15).toExponential(1), "3.1e-10");
});

test("puf: textbook parameters for biased cells keep less than nothing -> enrolment refuses", () => {
  // 0.88 bits per cell: bias 0.543.
  const textbook: PufParameters = { ...defaultPuf, t: 18, repeat: 7, blocks: 1, bias: 0.62 };
  assert.ok(residualEntropy(textbook) < 0);
  assert.throws(
    () => enrol(cells, textbook, "g1", seeded("x")),
    (error) => error instanceof InvalidError && error.code === "puf.entropy",
  );
});

test("puf: many power-ups -> one secret", () => {
  for (let i = 0; i < 20; i++) {
    assert.deepEqual(reconstruct(cells, defaultPuf, "g1", helper), secret);
  }
});

test("puf: simulated cells have the bias and the error rate that the model states", () => {
  const count = 40_000;
  const [one, two] = [cells(count), cells(count)];
  const ones = one.reduce((sum, bit) => sum + bit, 0) / count;
  const differ = one.filter((bit, i) => bit !== two[i]).length / count;
  // Phi(0.1 / sqrt(1.04)) = 0.539; arccos(1/1.04)/pi with the shift = 0.088. Six standard errors.
  assert.ok(Math.abs(ones - 0.539) < 6 * Math.sqrt(0.25 / count), `share of ones ${ones}`);
  assert.ok(Math.abs(differ - 0.088) < 6 * Math.sqrt(0.08 / count), `errors ${differ}`);
  assert.equal(cellModel.noise, 0.2);
});

test("puf: other cells, other device, other enrolment -> no key, or another one", () => {
  const other = cellsFrom(sha256(Buffer.from("other")), seeded("p"));
  assert.throws(() => reconstruct(other, defaultPuf, "g1", helper), bricked);
  assert.throws(() => reconstruct(cells, defaultPuf, "g2", helper), bricked);
  const again = enrol(cells, defaultPuf, "g1", seeded("again"));
  assert.notDeepEqual(reconstruct(cells, defaultPuf, "g1", again), secret);
});

test("puf: any change of the helper data -> the one error, also where decoding still works", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 8 * helper.length - 1 }),
      fc.integer({ min: 0, max: helper.length - 1 }),
      (bit, cut) => {
        const changed = Buffer.from(helper);
        changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
        assert.throws(() => reconstruct(cells, defaultPuf, "g1", changed), bricked);
        assert.throws(() => reconstruct(cells, defaultPuf, "g1", helper.subarray(0, cut)), bricked);
      },
    ),
    { numRuns: 60 },
  );
});

test("puf: the MAC removed -> a changed bit of helper data goes unseen, and tells of cells", () => {
  const { offsets } = parseHelper(helper);
  const changed = Buffer.from(offsets);
  changed[100] = (changed[100] ?? 0) ^ 4;
  // The attack: one flipped offset is one more error, which decoding repairs; how often it fails tells of that cell.
  const seed = decodeSeed(cells, defaultPuf, changed);
  assert.ok(seed !== null);
  assert.deepEqual(seed, decodeSeed(cells, defaultPuf, offsets));
});

test("helper data: any bytes -> parsed or refused, never anything else", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (tail) => {
      for (const bytes of [tail, Buffer.concat([Buffer.from("WP01"), tail])]) {
        try {
          parseHelper(bytes);
        } catch (error) {
          assert.ok(error instanceof InvalidError);
        }
      }
    }),
  );
});

/** Wilson's interval at 4.4 standard errors (1e-5 two-sided). */
function wilson(hits: number, of: number): [number, number] {
  const z = 4.4;
  const p = hits / of;
  const centre = (p + z ** 2 / (2 * of)) / (1 + z ** 2 / of);
  const half = (z / (1 + z ** 2 / of)) * Math.sqrt((p * (1 - p)) / of + z ** 2 / (4 * of ** 2));
  return [centre - half, centre + half];
}

test("puf: measured failures -> the exact binomial lies in their confidence interval", () => {
  // A construction of one block with many errors, so that failures can be counted at all.
  const small: PufParameters = { ...defaultPuf, m: 7, t: 10, repeat: 3, blocks: 4, bias: 0.5 };
  const code = codeOf(small);
  const random = seeded("failures");
  const words = Buffer.alloc(1 << 20);
  let at = words.length;
  const draw = (): number => {
    if (at === words.length) {
      random.fill(words);
      at = 0;
    }
    at += 4;
    return words.readUInt32LE(at - 4) / 2 ** 32;
  };
  const trials = 1500;
  for (const errorRate of [0.15, 0.17]) {
    let failed = 0;
    for (let i = 0; i < trials; i++) {
      let whole = true;
      for (let block = 0; block < small.blocks; block++) {
        // By linearity the word that was sent may be zero.
        const word = Uint8Array.from({ length: code.n }, () => {
          let ones = 0;
          for (let j = 0; j < small.repeat; j++) ones += draw() < errorRate ? 1 : 0;
          return 2 * ones > small.repeat ? 1 : 0;
        });
        const decoded = code.decode(word);
        if (decoded === null || decoded.some((bit) => bit !== 0)) whole = false;
      }
      if (!whole) failed++;
    }
    const [low, high] = wilson(failed, trials);
    const exact = failureRate(small, errorRate);
    assert.ok(low <= exact && exact <= high, `${exact} outside [${low}, ${high}]`);
    assert.ok(failed > 10, "failures were seen");
  }
});
