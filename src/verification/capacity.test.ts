import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { InvalidError } from "../base/assert.ts";
import {
  addTokens,
  bitsPerSecond,
  capacityTerms,
  decodeCapacity,
  encodeCapacity,
  largest,
  marginGrid,
  newCapacity,
  rankGrid,
  readCapacity,
  type CapacityState,
} from "./capacity.ts";
import { gapsMax, type TokenFacts } from "./facts.ts";
import { normalFrom, seededUniform } from "./seeded.ts";

/** Facts of claiming the candidate with score `claimed` (null: outside) among kept scores `z`. */
function factsOf(z: readonly number[], claimed: number | null): TokenFacts {
  const best = Math.max(...z);
  const margin = claimed === null ? Infinity : best - claimed;
  return {
    ...{ margin, agrees: margin === 0, surprise: 0, entropy: 0, logMoments: [], interval: null },
    rank: claimed === null ? Infinity : z.filter((x) => x > claimed).length,
    gaps: z
      .map((x) => best - x)
      .sort((a, b) => a - b)
      .slice(0, gapsMax),
  };
}

const agree = factsOf([0, -1, -2], 0);
const runnerUp = factsOf([0, -1, -2], -1);
const outside = factsOf([0, -1, -2], null);

const sumTerms = (off: number, deep: number, near: number, k: number, v: number): number =>
  Object.values(capacityTerms(off, deep, near, k, v)).reduce((sum, x) => sum + x, 0);

function audited(pairs: number, tokens: number, state = newCapacity(2048)): CapacityState {
  const pair = Array.from({ length: tokens }, () => agree);
  for (let i = 0; i < pairs; i++) state = addTokens(state, pair, 2048);
  return state;
}

test("capacity: nothing audited -> the whole vocabulary", () => {
  const { bitsPerToken, lower, upper } = readCapacity(newCapacity(2048));
  assert.deepEqual({ bitsPerToken, lower, upper }, { bitsPerToken: 11, lower: 0, upper: 11 });
});

test("capacity: an empty pair -> no change", () => {
  const state = audited(2, 3);
  assert.deepEqual(addTokens(state, [], 2048), state);
});

test("capacity: only exact agreement -> nothing but the choice, and an upper bound that falls like 1/pairs", () => {
  const some = readCapacity(audited(1000, 20));
  const { choice, ...rest } = some.terms;
  assert.ok(Object.values(rest).every((bits) => bits === 0));
  assert.equal(some.bitsPerToken, choice);
  const more = readCapacity(audited(10_000, 20));
  assert.ok(some.upper / more.upper > 5 && some.upper / more.upper < 11);
  assert.ok(more.upper < 0.05, String(more.upper));
});

test("capacity: a token outside the support -> a violation at every margin", () => {
  const state = addTokens(newCapacity(2048), [agree, outside], 2048);
  assert.ok(state.deviating.every(({ sum }) => sum === 1));
  assert.ok(state.deep.every(({ sum }) => sum === 1));
});

test("capacity: more near ties than the facts list -> a violation, for nobody can count the choices", () => {
  const crowd = Array.from({ length: 100 }, (_, i) => -i * 1e-6);
  const state = addTokens(newCapacity(2048), [factsOf(crowd, 0)], 2048);
  assert.deepEqual(
    state.deviating.map(({ sum }) => sum),
    marginGrid.map((b) => (b === 0 ? 0 : 1)),
  );
});

test("capacity: violations in one pair or spread over pairs -> the same reading, not the same certainty", () => {
  const pair = (off: number): TokenFacts[] =>
    Array.from({ length: 20 }, (_, i) => (i < off ? runnerUp : agree));
  let together = audited(1980, 20);
  let spread = audited(1600, 20);
  for (let i = 0; i < 20; i++) together = addTokens(together, pair(20), 2048);
  for (let i = 0; i < 400; i++) spread = addTokens(spread, pair(1), 2048);
  const [one, many] = [readCapacity(together), readCapacity(spread)];
  assert.ok(Math.abs(one.bitsPerToken - many.bitsPerToken) < 1e-12);
  assert.ok(one.upper > 1.2 * many.upper && one.lower < many.lower);
});

test("capacity: H(p) -> deviating once in 200 tokens to the runner-up says where, far above p log2 V", () => {
  const p = 1 / 200;
  const bits = sumTerms(p, 0, 0, 2, 2) - p;
  // log2 200 = 7.64 bits by the place alone; the simple bound allows 1 bit (V = 2).
  assert.ok(bits * 200 >= Math.log2(200) && bits * 200 < Math.log2(200) + 2);
});

/** Every reply of `length` tokens over `vocab`, on a tree whose scores depend on the whole prefix. */
function allReplies(vocab: number, length: number, seed: number): TokenFacts[][] {
  const uniform = seededUniform(seed);
  const grow = (depth: number): TokenFacts[][] => {
    if (depth === 0) return [[]];
    const keptCount = 1 + Math.floor(uniform() * vocab);
    const z = Array.from({ length: keptCount }, () => uniform() * (uniform() < 0.5 ? 0.05 : 2));
    return Array.from({ length: vocab }, (_, token) => factsOf(z, z[token] ?? null)).flatMap(
      (facts) => grow(depth - 1).map((rest) => [facts, ...rest]),
    );
  };
  return grow(length);
}

test("capacity: all replies over small alphabets -> never more than 2^c read as c bits or less", () => {
  for (const [vocab, length, seed] of [
    [2, 8, 1],
    [3, 6, 2],
    [4, 5, 3],
    [6, 4, 4],
  ] as const) {
    const bits = allReplies(vocab, length, seed)
      .map((reply) => {
        const { terms } = readCapacity(addTokens(newCapacity(vocab), reply, vocab));
        return length * Object.values<number>({ ...terms }).reduce((sum, x) => sum + x, 0);
      })
      .sort((a, b) => a - b);
    assert.equal(bits.length, vocab ** length);
    bits.forEach((c, i) => assert.ok(Math.log2(i + 1) <= c + 1e-9, `${i + 1} replies, ${c} bits`));
  }
});

test("capacity: replies of the same counts at one cell -> at most 2^(tokens x C), without the choice", () => {
  const length = 5;
  const vocab = 4;
  const replies = allReplies(vocab, length, 9).map((reply) =>
    addTokens(newCapacity(vocab), reply, vocab),
  );
  marginGrid.forEach((_, i) => {
    rankGrid.forEach((k, j) => {
      const classes = new Map<string, { count: number; bits: number }>();
      for (const state of replies) {
        const off = state.deviating[i]!.sum;
        const near = state.nearBits[i]!.sum;
        const deep = state.deep[i * rankGrid.length + j]!.sum;
        const bits = length * sumTerms(off / length, deep / length, near / length, k, vocab);
        const key = `${off} ${deep} ${near.toFixed(6)}`;
        classes.set(key, { count: (classes.get(key)?.count ?? 0) + 1, bits });
      }
      for (const { count, bits } of classes.values()) assert.ok(Math.log2(count) <= bits + 1e-9);
    });
  });
});

test("capacity: one way to agree and seven to deviate -> the bound is the true count but for log2(n + 1)", () => {
  const length = 40;
  for (let off = 0; off <= length; off++) {
    let ways = 0;
    for (let i = 1; i <= off; i++) ways += Math.log2((length - off + i) / i);
    const truth = ways + off * Math.log2(7);
    const bound = length * sumTerms(off / length, off / length, 0, 1, 8);
    assert.ok(bound >= truth - 1e-9 && bound <= truth + Math.log2(length + 1), `${off}`);
  }
});

test("capacity: shares up to a limit -> `largest` is never below any of them, nor above the best", () => {
  const share = fc.double({ min: 0, max: 1, noNaN: true });
  const vocab = fc.integer({ min: 2, max: 50_000 });
  fc.assert(
    fc.property(
      share,
      share,
      share,
      share,
      fc.constantFrom(...rankGrid),
      vocab,
      (o, d, x, y, k, v) => {
        const top = largest(o, d, 0, k, v);
        const off = o * x;
        assert.ok(sumTerms(off, Math.min(d * y, off), 0, k, v) <= top + 1e-9);
        let seen = 0;
        for (let i = 0; i <= 60; i++) {
          for (let j = 0; j <= 60; j++) {
            const at = (o * i) / 60;
            seen = Math.max(seen, sumTerms(at, Math.min((d * j) / 60, at), 0, k, v));
          }
        }
        assert.ok(top <= seen + 0.2, `${top} ${seen}`);
      },
    ),
    { numRuns: 60 },
  );
});

/** Pairs of 64 tokens served with Gaussian noise of `sigma` nats on each logit, T = 1. Simulation. */
function noisyServer(sigma: number, pairs: number, seed: number): CapacityState {
  const uniform = seededUniform(seed);
  const normal = normalFrom(uniform);
  let state = newCapacity(2048);
  for (let pair = 0; pair < pairs; pair++) {
    const facts = Array.from({ length: 64 }, () => {
      const z = Array.from({ length: 64 }, () => 3.3 * normal() - Math.log(-Math.log(uniform())));
      const served = z.map((score) => score + sigma * normal());
      return factsOf(z, z[served.indexOf(Math.max(...served))] ?? null);
    });
    state = addTokens(state, facts, 2048);
  }
  return state;
}

test("capacity: logit noise, simulated -> the published figures: linear in sigma, .037 bits at .02", () => {
  for (const [sigma, mismatch, bits] of [
    [0.02, 0.0064, 0.037],
    [0.05, 0.016, 0.09],
    [0.2, 0.061, 0.36],
  ] as const) {
    const { bitsPerToken, terms, simple } = readCapacity(noisyServer(sigma, 100, 11));
    const measured = bitsPerToken - terms.choice;
    const share = simple / 11;
    assert.ok(Math.abs(share / mismatch - 1) < 0.4, `mismatch ${share} at ${sigma}`);
    assert.ok(Math.abs(measured / bits - 1) < 0.35, `${measured} bits at ${sigma}`);
  }
});

test("capacity: many servers of the same noise -> the interval holds the long-run value", () => {
  const truth = readCapacity(noisyServer(0.1, 400, 1));
  const long = truth.bitsPerToken - truth.terms.choice;
  for (let seed = 2; seed < 12; seed++) {
    const { lower, upper } = readCapacity(noisyServer(0.1, 30, seed));
    assert.ok(lower <= long && long <= upper, `${lower} ${long} ${upper}`);
  }
});

const facts = fc
  .array(fc.double({ min: -3, max: 0, noNaN: true }), { minLength: 1, maxLength: 40 })
  .chain((z) =>
    fc.option(fc.constantFrom(...z), { nil: null }).map((claimed) => factsOf(z, claimed)),
  );

test("capacity: any facts -> finite, ordered, below the vocabulary; survives encoding", () => {
  fc.assert(
    fc.property(
      fc.array(fc.array(facts, { maxLength: 12 }), { maxLength: 8 }),
      fc.integer({ min: 2, max: 200_000 }),
      (pairs, vocab) => {
        const state = pairs.reduce((sum, pair) => addTokens(sum, pair, vocab), newCapacity(vocab));
        const { bitsPerToken, lower, upper } = readCapacity(state);
        assert.ok(lower >= 0 && lower <= upper && upper <= Math.log2(state.vocabSize));
        assert.ok(bitsPerToken >= lower && bitsPerToken <= upper + 1e-9);
        assert.deepEqual(decodeCapacity(encodeCapacity(state)), state);
      },
    ),
    { numRuns: 50 },
  );
});

test("capacity: stored states that cannot be -> errors that name the field", () => {
  const good = encodeCapacity(audited(3, 4));
  const change = (from: string | RegExp, to: string): (() => void) => {
    const bad = good.replace(from, to);
    assert.notEqual(bad, good);
    return () => void decodeCapacity(bad);
  };
  const named = (field: RegExp) => (error: unknown) =>
    error instanceof InvalidError && field.test(error.message);
  assert.throws(change("capacity/1", "capacity/9"), named(/format/));
  assert.throws(change('"pairs":3', '"pairs":-3'), named(/pairs/));
  assert.throws(change('"tokens":12', '"tokens":1200'), named(/longest/));
  assert.throws(change('"deviating":[0', '"deviating":[13'), named(/deviating\[0\]/));
  assert.throws(change('"nearBits":[0,0', '"nearBits":[0,9'), named(/nearBits\[1\]/));
  assert.throws(change('"deep":[0,', '"deep":['), named(/deep/));
  assert.throws(change('"deep"', '"more":1,"deep"'), named(/more/));
  assert.throws(() => decodeCapacity("[]"), named(/object/));
});

test("capacity: bits per second -> bits per token times the tokens served", () => {
  assert.equal(bitsPerSecond(0.05, 10, 0.01), 50);
});
