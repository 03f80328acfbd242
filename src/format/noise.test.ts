import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import fc from "fast-check";
import { secretKey } from "../base/hash.ts";
import {
  drawToken,
  gumbel,
  noiseLaw,
  philox4x32,
  seedOf,
  supportSize,
  type Candidates,
  type DrawParams,
} from "./noise.ts";
import { makeTag } from "./tag.ts";

function philox(counter: readonly number[], key: readonly number[]): string[] {
  const out = new Uint32Array(4);
  const [c0 = 0, c1 = 0, c2 = 0, c3 = 0] = counter;
  philox4x32(out, c0, c1, c2, c3, key[0] ?? 0, key[1] ?? 0);
  return Array.from(out, (word) => word.toString(16).padStart(8, "0"));
}

// Random123, examples/kat_vectors, philox4x32 10.
test("philox4x32: Random123's known answers -> the same words", () => {
  const zero = [0, 0, 0, 0];
  assert.deepEqual(philox(zero, [0, 0]), ["6627e8d5", "e169c58d", "bc57ac4c", "9b00dbd8"]);
  const ones = new Array<number>(4).fill(0xffffffff);
  assert.deepEqual(philox(ones, [0xffffffff, 0xffffffff]), [
    ..."408f276d 41c83b0e a20bc7c6 6d5451fd".split(" "),
  ]);
  const pi = [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344];
  assert.deepEqual(philox(pi, [0xa4093822, 0x299f31d0]), [
    ..."d16cfe09 94fdcceb 5001e420 24126ea1".split(" "),
  ]);
});

/** The definition of the SC 2011 paper in arbitrary precision: the oracle of the u32 arithmetic. */
function philoxByDefinition(counter: readonly number[], key: readonly number[]): string[] {
  const mask = 0xffffffffn;
  let [x0 = 0n, x1 = 0n, x2 = 0n, x3 = 0n] = counter.map(BigInt);
  let [k0 = 0n, k1 = 0n] = key.map(BigInt);
  for (let round = 0; round < 10; round++) {
    const a = 0xd2511f53n * x0;
    const b = 0xcd9e8d57n * x2;
    [x0, x1, x2, x3] = [(b >> 32n) ^ x1 ^ k0, b & mask, (a >> 32n) ^ x3 ^ k1, a & mask];
    k0 = (k0 + 0x9e3779b9n) & mask;
    k1 = (k1 + 0xbb67ae85n) & mask;
  }
  return [x0, x1, x2, x3].map((word) => word.toString(16).padStart(8, "0"));
}

const u32 = fc.oneof(
  fc.integer({ min: 0, max: 0xffffffff }),
  fc.constantFrom(0, 1, 0xffff, 0x10000),
);

test("philox4x32: arbitrary counters and keys -> equal to arbitrary-precision arithmetic", () => {
  const counter = fc.array(u32, { minLength: 4, maxLength: 4 });
  const key = fc.array(u32, { minLength: 2, maxLength: 2 });
  fc.assert(
    fc.property(counter, key, (c, k) => {
      assert.deepEqual(philox(c, k), philoxByDefinition(c, k));
    }),
    { numRuns: 2000, seed: 3 },
  );
});

test("gumbel: spec/vectors/noise-law.json -> the same numbers and draws", () => {
  const url = new URL("../../spec/vectors/noise-law.json", import.meta.url);
  const vectors = JSON.parse(readFileSync(url, "utf8")) as {
    law: string;
    seeds: { epochKey: string; epoch: number; counter: number; seed: string }[];
    gumbel: { seed: string; position: number; token: number; value: number }[];
    draws: (DrawParams & {
      seed: string;
      position: number;
      ids: number[];
      logProbs: number[];
      support: number;
      token: number;
    })[];
  };
  assert.equal(vectors.law, noiseLaw);
  for (const { epochKey, epoch, counter, seed } of vectors.seeds) {
    const key = secretKey(Buffer.from(epochKey, "hex"));
    assert.equal(seedOf(key, makeTag(epoch, counter)), BigInt(`0x${seed}`));
  }
  for (const { seed, position, token, value } of vectors.gumbel) {
    const got = gumbel(BigInt(`0x${seed}`), position, token);
    // Logarithms may differ in their last bit between platforms; the outer one magnifies it near 0.
    assert.ok(Math.abs(got - value) <= 1e-14 * Math.max(1, Math.abs(value)), `token ${token}`);
  }
  assert.ok(vectors.draws.length >= 6);
  for (const draw of vectors.draws) {
    assert.equal(supportSize(draw, draw), draw.support);
    assert.equal(drawToken(draw, draw, BigInt(`0x${draw.seed}`), draw.position), draw.token);
  }
});

test("gumbel: 200,000 numbers of one seed -> mean and variance of the Gumbel law", () => {
  const count = 200_000;
  const seed = 0x0123456789abcdefn;
  let sum = 0;
  let squares = 0;
  for (let i = 0; i < count; i++) {
    const g = gumbel(seed, i % 1000, Math.floor(i / 1000));
    assert.ok(Number.isFinite(g));
    sum += g;
    squares += g * g;
  }
  const mean = sum / count;
  const variance = squares / count - mean * mean;
  // Mean is Euler's constant, variance pi^2/6; intervals of 5 standard errors. The variance of the
  // squared deviation is (kurtosis - 1) * variance^2 with the Gumbel law's kurtosis 5.4.
  const pi26 = Math.PI ** 2 / 6;
  assert.ok(Math.abs(mean - 0.5772156649) < 5 * Math.sqrt(pi26 / count), `mean ${mean}`);
  assert.ok(Math.abs(variance - pi26) < 5 * pi26 * Math.sqrt(4.4 / count), `variance ${variance}`);
});

test("gumbel: the extreme words of the generator -> finite", () => {
  for (const word of [0, 0xffffffff]) {
    assert.ok(Number.isFinite(-Math.log(-Math.log((word + 0.5) / 4294967296))));
  }
});

function candidates(probs: readonly number[]): Candidates {
  return { ids: probs.map((_, i) => 7 * i + 1), logProbs: probs.map((p) => Math.log(p)) };
}

/** 99.99% points of chi-square by degrees of freedom. */
const chiSquareMax = new Map([
  [2, 18.42],
  [4, 23.51],
]);

function chiSquare(
  probs: readonly number[],
  params: DrawParams,
  expected: readonly number[],
): number {
  const count = 50_000;
  const from = candidates(probs);
  const seen = new Map<number, number>();
  for (let position = 0; position < count; position++) {
    const token = drawToken(from, params, 0xfeedfacecafebeefn, position);
    seen.set(token, (seen.get(token) ?? 0) + 1);
  }
  let sum = 0;
  let total = 0;
  expected.forEach((p, i) => {
    const got = seen.get(7 * i + 1) ?? 0;
    total += got;
    sum += (got - p * count) ** 2 / (p * count);
  });
  assert.equal(total, count, "nothing outside the support is drawn");
  return sum;
}

test("drawToken: 50,000 draws -> frequencies of the softmax (chi-square, p > 0.0001)", () => {
  const probs = [0.4, 0.3, 0.15, 0.1, 0.05];
  const value = chiSquare(probs, { temperature: 1, topK: 5, topP: 1 }, probs);
  assert.ok(value < (chiSquareMax.get(4) ?? 0), `chi-square ${value}`);
});

test("drawToken: temperature 0.5 and top-k 3 -> frequencies of the sharpened, cut softmax", () => {
  const probs = [0.4, 0.3, 0.15, 0.1, 0.05];
  const squares = probs.slice(0, 3).map((p) => p * p);
  const total = squares.reduce((a, b) => a + b);
  const expected = squares.map((p) => p / total);
  const value = chiSquare(probs, { temperature: 0.5, topK: 3, topP: 1 }, expected);
  assert.ok(value < (chiSquareMax.get(2) ?? 0), `chi-square ${value}`);
});

test("supportSize: top-k -> no more than that many candidates", () => {
  const from = candidates([0.5, 0.3, 0.2]);
  assert.equal(supportSize(from, { temperature: 1, topK: 2, topP: 1 }), 2);
  assert.equal(supportSize(from, { temperature: 1, topK: 64, topP: 1 }), 3);
});

test("supportSize: top-p -> the shortest prefix that reaches it, after temperature and top-k", () => {
  const from = candidates([0.5, 0.25, 0.125, 0.125]);
  const at = (topP: number, topK = 4, temperature = 1): number =>
    supportSize(from, { temperature, topK, topP });
  assert.equal(at(0.4), 1);
  assert.equal(at(0.6), 2);
  assert.equal(at(0.8), 3);
  assert.equal(at(0.99), 4);
  // Renormalised over the top 2: 2/3 and 1/3.
  assert.equal(at(0.66, 2), 1);
  assert.equal(at(0.67, 2), 2);
  // At temperature 0.5 the first holds 0.25/0.34375 = 0.727.
  assert.equal(at(0.7, 4, 0.5), 1);
  assert.equal(at(0.75, 4, 0.5), 2);
});

test("supportSize: an offset common to all log-probabilities -> the same support", () => {
  const from = candidates([0.5, 0.25, 0.125, 0.125]);
  const shifted = { ids: from.ids, logProbs: Array.from(from.logProbs, (x) => x + 31) };
  const params = { temperature: 0.8, topK: 4, topP: 0.9 };
  assert.equal(supportSize(shifted, params), supportSize(from, params));
});

test("drawToken: temperature 0 -> the first candidate, whatever the seed", () => {
  const from = candidates([0.4, 0.4, 0.2]);
  const params = { temperature: 0, topK: 3, topP: 1 };
  assert.equal(supportSize(from, params), 1);
  for (let seed = 0n; seed < 50n; seed++) assert.equal(drawToken(from, params, seed, 0), 1);
});

test("drawToken: arbitrary candidates -> the argmax of the law's definition", () => {
  const logits = fc.array(fc.double({ min: -20, max: 20, noNaN: true }), {
    minLength: 1,
    maxLength: 40,
  });
  fc.assert(
    fc.property(
      logits,
      fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
      fc.nat(100_000),
      fc.double({ min: 0.05, max: 3, noNaN: true }),
      (values, seed, position, temperature) => {
        const logProbs = [...values].sort((a, b) => b - a);
        const ids = logProbs.map((_, i) => (i * 2_654_435) % 131_071);
        const params = { temperature, topK: 40, topP: 1 };
        const scores = logProbs.map(
          (l, i) => l / temperature + gumbel(seed, position, ids[i] ?? 0),
        );
        const best = Math.max(...scores);
        const drawn = drawToken({ ids, logProbs }, params, seed, position);
        assert.equal(scores[ids.indexOf(drawn)], best);
      },
    ),
    { numRuns: 500, seed: 5 },
  );
});

test("noise: at a vanishing temperature the draw is the greedy one, not an accident of overflow", () => {
  const candidates = { ids: [9, 3, 1], logProbs: [12, 11, 10] };
  for (const temperature of [1e-300, 1e-308, 1e-311, 5e-324]) {
    const params = { temperature, topK: 3, topP: 1 };
    for (let at = 0; at < 20; at++) assert.equal(drawToken(candidates, params, 7n, at), 9);
  }
});
