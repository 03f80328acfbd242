import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { InvalidError } from "../base/assert.ts";
import { Writer } from "../base/bytes.ts";
import {
  decodeCandidates,
  decodeOpen,
  decodeReady,
  decodeStep,
  encodeCandidates,
  encodeOpen,
  encodeReady,
  encodeStep,
  executorLimits,
} from "./executor-link.ts";

const id = fc.nat({ max: 0xffff_ffff });
const expected = { count: 3, vocabularySize: 10 };

/** Candidates as bytes, whatever they are. */
function raw(ids: number[], logits: number[]): Buffer {
  const bits = new Uint32Array(Float32Array.from(logits).buffer);
  return new Writer().ids(ids).ids(bits).bytes();
}

function code(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    if (error instanceof InvalidError) return error.code;
    throw error;
  }
  return "";
}

test("executor-link: ready, open and step -> the same again", () => {
  const ready = { slots: 32, vocabularySize: 4096, contextTokens: 1024 };
  assert.deepEqual(decodeReady(encodeReady(ready)), ready);
  fc.assert(
    fc.property(fc.array(id, { minLength: 1 }), fc.integer({ min: 1, max: 99 }), (ids, count) => {
      const open = decodeOpen(encodeOpen({ count, promptIds: ids }));
      assert.deepEqual(
        { ...open, promptIds: Array.from(open.promptIds) },
        { count, promptIds: ids },
      );
    }),
  );
  const slot = fc.nat({ max: executorLimits.slots - 1 });
  const moves = fc.uniqueArray(
    fc.record({ slot, token: fc.option(id) }, { noNullPrototype: true }),
    {
      minLength: 1,
      maxLength: 32,
      selector: (move) => move.slot,
    },
  );
  fc.assert(
    fc.property(moves, (all) => {
      assert.deepEqual(decodeStep(encodeStep(all)), all);
    }),
  );
});

test("executor-link: candidates -> the same logits, bit by bit", () => {
  const logits = fc.uniqueArray(fc.float({ noNaN: true, noDefaultInfinity: true }), {
    minLength: 1,
    maxLength: 20,
    comparator: (a, b) => a === b,
  });
  fc.assert(
    fc.property(logits, (all) => {
      const logProbs = Float64Array.from(all.toSorted((a, b) => b - a));
      const ids = Uint32Array.from(all, (_, at) => at);
      const want = { count: all.length, vocabularySize: all.length };
      const found = decodeCandidates(encodeCandidates({ ids, logProbs }), want);
      assert.deepEqual(found, { ids, logProbs });
    }),
  );
});

test("executor-link: any bytes -> an InvalidError or a value, and no other form of a value", () => {
  const readers = [
    (bytes: Uint8Array) => encodeReady(decodeReady(bytes)),
    (bytes: Uint8Array) => encodeOpen(decodeOpen(bytes)),
    (bytes: Uint8Array) => encodeStep(decodeStep(bytes)),
    (bytes: Uint8Array) => encodeCandidates(decodeCandidates(bytes, expected)),
  ];
  const honest = fc.constantFrom<Uint8Array>(
    encodeReady({ slots: 1, vocabularySize: 2, contextTokens: 3 }),
    encodeOpen({ count: 2, promptIds: [1, 2] }),
    encodeStep([{ slot: 1, token: null }]),
    raw([1, 2, 3], [3, 2, 1]),
  );
  const bent = fc.tuple(honest, fc.nat(60), fc.nat(255)).map(([bytes, at, value]) => {
    const copy = Uint8Array.from(bytes);
    copy[at % copy.length] = value;
    return copy;
  });
  fc.assert(
    fc.property(fc.oneof(fc.uint8Array({ maxLength: 60 }), bent), (bytes) => {
      for (const read of readers) {
        let again: Buffer | null = null;
        code(() => (again = read(bytes)));
        if (again !== null) assert.deepEqual(Buffer.from(bytes), Buffer.from(again));
      }
    }),
    { numRuns: 2000 },
  );
});

test("executor-link: nonsense in candidates -> refused by name", () => {
  const read = (ids: number[], logits: number[]): string =>
    code(() => decodeCandidates(raw(ids, logits), expected));
  assert.equal(read([1, 2, 3], [3, 2, 1]), "");
  assert.equal(read([1, 2, 3], [3, 3, 1]), "");
  assert.equal(read([1, 2, 3], [3, 2, -Infinity]), "");
  assert.equal(read([1, 2], [3, 2]), "candidates.count");
  assert.equal(read([1, 2, 3, 4], [4, 3, 2, 1]), "candidates.too-long");
  assert.equal(read([1, 2, 10], [3, 2, 1]), "candidates.token");
  assert.equal(read([1, 2, 1], [3, 2, 1]), "candidates.twice");
  assert.equal(read([1, 2, 3], [3, 1, 2]), "candidates.order");
  assert.equal(read([2, 1, 3], [3, 3, 1]), "candidates.order");
  assert.equal(read([1, 2, 3], [3, NaN, 1]), "candidates.order");
  assert.equal(read([1, 2, 3], [NaN, 2, 1]), "candidates.logit");
  assert.equal(read([1, 2, 3], [Infinity, 2, 1]), "candidates.logit");
});

test("executor-link: a step that moves a slot twice, or none -> refused", () => {
  const twice = [1, 1].map((slot) => ({ slot, token: 5 }));
  assert.equal(
    code(() => decodeStep(encodeStep(twice))),
    "slot-step.twice",
  );
  assert.equal(
    code(() => decodeStep(encodeStep([]))),
    "slot-step.empty",
  );
});
