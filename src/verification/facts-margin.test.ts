import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { drawToken, gumbel, noiseLaw, type Candidates, type DrawParams } from "../format/noise.ts";
import { tokenFacts, type Position, type TokenScore } from "./facts.ts";
import { lawOf } from "./laws/index.ts";

const law = lawOf(noiseLaw);

function scoreToken(position: Position, claimed: number, edge: number): TokenScore {
  const { margin, agrees } = tokenFacts(law, position, claimed, edge);
  return { margin, agrees };
}

const seed = 0x0123456789abcdefn;
const all: DrawParams = { temperature: 1, topK: 8, topP: 1 };

/** Candidates from logits, sorted as engines sort them; ids are positions in the list. */
function candidates(logits: readonly number[]): Candidates {
  const sorted = logits.map((logit, id) => ({ id, logit }));
  sorted.sort((a, b) => b.logit - a.logit || a.id - b.id);
  return { ids: sorted.map(({ id }) => id), logProbs: sorted.map(({ logit }) => logit) };
}

const logitLists = fc.array(fc.double({ min: -12, max: 0, noNaN: true }), {
  minLength: 1,
  maxLength: 40,
});
const drawParams: fc.Arbitrary<DrawParams> = fc.record({
  temperature: fc.oneof(fc.constant(0), fc.double({ min: 0.05, max: 2, noNaN: true })),
  topK: fc.integer({ min: 1, max: 45 }),
  topP: fc.oneof(fc.constant(1), fc.double({ min: 0.05, max: 1, noNaN: true })),
});
const edges = fc.oneof(fc.constant(0), fc.double({ min: 0, max: 0.5, noNaN: true }));

test("margin: the reference's own draw -> 0, whatever the parameters", () => {
  fc.assert(
    fc.property(logitLists, drawParams, fc.nat(1000), edges, (logits, params, index, edge) => {
      const position = { candidates: candidates(logits), params, seed, index };
      const drawn = drawToken(position.candidates, params, seed, index);
      assert.deepEqual(scoreToken(position, drawn, edge), { margin: 0, agrees: true });
    }),
  );
});

test("margin: without a cut -> max over z minus z of the claimed token, in nats of logit", () => {
  const logits = [0, -0.5, -1, -3];
  for (const temperature of [0.3, 1, 1.7]) {
    const z = logits.map((logit, id) => logit + temperature * gumbel(seed, 4, id));
    const position = {
      candidates: candidates(logits),
      params: { ...all, temperature },
      seed,
      index: 4,
    };
    logits.forEach((_, id) => {
      const expected = Math.max(...z) - (z[id] ?? NaN);
      assert.ok(Math.abs(scoreToken(position, id, 0.01).margin - expected) < 1e-12);
    });
  }
});

test("margin: temperature 0 -> how far the claimed logit lies below the highest", () => {
  const params = { ...all, temperature: 0 };
  const position = { candidates: candidates([-1, 0, -0.25]), params, seed, index: 0 };
  assert.deepEqual(scoreToken(position, 1, 0), { margin: 0, agrees: true });
  assert.deepEqual(scoreToken(position, 2, 0), { margin: 0.25, agrees: false });
  assert.deepEqual(scoreToken(position, 0, 0), { margin: 1, agrees: false });
});

test("margin: a token that is not among the candidates -> outside the support", () => {
  const position = { candidates: candidates([0, -1]), params: all, seed, index: 0 };
  assert.equal(scoreToken(position, 2, 1).margin, Infinity);
});

test("margin: top-k -> a token just below the cut is scored, one further below is impossible", () => {
  const position = {
    candidates: candidates([0, -1, -1.01, -1.1]),
    params: { ...all, topK: 2 },
    seed,
    index: 0,
  };
  assert.ok(Number.isFinite(scoreToken(position, 2, 0.02).margin));
  assert.equal(scoreToken(position, 2, 0.005).margin, Infinity);
  assert.equal(scoreToken(position, 3, 0.02).margin, Infinity);
});

test("margin: top-p -> the cut moves by `edge` in log-odds, no further", () => {
  // Shares 0.5, 0.3, 0.2: with top-p 0.8 the third is cut exactly at the boundary.
  const shares = [0.5, 0.3, 0.2].map(Math.log);
  const at = (
    topP: number,
  ): { params: DrawParams; candidates: Candidates; seed: bigint; index: number } => ({
    candidates: candidates(shares),
    params: { ...all, topP },
    seed,
    index: 0,
  });
  assert.ok(Number.isFinite(scoreToken(at(0.799), 2, 0.02).margin));
  assert.equal(scoreToken(at(0.799), 2, 0.001).margin, Infinity);
  assert.equal(scoreToken(at(0.7), 2, 0.02).margin, Infinity);
  assert.ok(Number.isFinite(scoreToken(at(0.81), 2, 0).margin));
});

test("margin: a winner that rounding may cut -> is not demanded of the server", () => {
  // Find a position where the reference draws the last kept token of a near tie at the cut.
  const logits = [0, -1, -1.0001];
  const params = { ...all, topK: 2 };
  let seen = 0;
  for (let index = 0; index < 400; index++) {
    const position = { candidates: candidates(logits), params, seed, index };
    if (drawToken(position.candidates, params, seed, index) !== 1) continue;
    const z = (id: number): number => (logits[id] ?? 0) + gumbel(seed, index, id);
    if (z(2) <= z(0)) continue;
    // A server that rounds the other way keeps 2 instead of 1, and draws it.
    seen++;
    assert.equal(scoreToken(position, 2, 0.01).margin, 0);
    assert.ok(scoreToken(position, 0, 0.01).margin <= z(1) - z(0));
    assert.equal(scoreToken(position, 0, 0.01).margin, 0);
  }
  assert.ok(seen > 5);
});

test("margin: a server whose every logit is off by at most edge/2 -> never impossible, margins within 2 edge", () => {
  fc.assert(
    fc.property(
      logitLists,
      drawParams,
      fc.nat(1000),
      fc.double({ min: 1e-6, max: 0.2, noNaN: true }),
      fc.infiniteStream(fc.double({ min: -1, max: 1, noNaN: true })),
      (logits, params, index, edge, noise) => {
        const rough = logits.map((logit) => logit + (edge / 2) * (noise.next().value ?? 0));
        const drawn = drawToken(candidates(rough), params, seed, index);
        const position = { candidates: candidates(logits), params, seed, index };
        const { margin } = scoreToken(position, drawn, 1.0001 * edge);
        assert.ok(margin <= 2 * edge, `margin ${margin} with noise ${edge / 2}`);
      },
    ),
    { numRuns: 3000 },
  );
});

test("margin: more edge -> never a larger margin", () => {
  fc.assert(
    fc.property(
      logitLists,
      drawParams,
      fc.nat(45),
      fc.double({ min: 0, max: 0.3, noNaN: true }),
      (logits, params, claimed, edge) => {
        const position = { candidates: candidates(logits), params, seed, index: 3 };
        const tight = scoreToken(position, claimed, edge).margin;
        assert.ok(scoreToken(position, claimed, 2 * edge).margin <= tight);
      },
    ),
  );
});

test("margin: a temperature so small that the edge over it overflows -> the leader must still be kept", () => {
  // Otherwise nothing would have to be kept, and any token of the top-k would cost nothing.
  for (const temperature of [1e-311, 5e-324, 1e-300]) {
    for (const topP of [1, 0.5]) {
      const params = { temperature, topK: 8, topP };
      const position = { candidates: candidates([0, -2, -5]), params, seed, index: 0 };
      assert.ok(scoreToken(position, 2, 0.02).margin > 4, `T = ${temperature}, p = ${topP}`);
      const close = { ...position, candidates: candidates([0, -0.01, -5]) };
      assert.ok(
        scoreToken(close, 2, 0.02).margin > 4,
        `two leaders, T = ${temperature}, p = ${topP}`,
      );
      assert.ok(scoreToken(close, 1, 0.02).margin < 0.02, "a near tie stays one");
    }
  }
});
