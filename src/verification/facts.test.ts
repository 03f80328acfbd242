import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  drawToken,
  gumbel,
  supportSize,
  type Candidates,
  type DrawParams,
} from "../format/noise.ts";
import { gapsMax, tempers, tokenFacts, type Position, type TokenScore } from "./facts.ts";
import type { GumbelLaw, InverseCdfLaw } from "./law.ts";
import { greedy } from "./laws/greedy.ts";
import { gumbelPhilox } from "./laws/gumbel-philox.ts";
import { llamaMt19937 } from "./laws/llama-mt19937.ts";
import { sglangMurmurSorted } from "./laws/sglang-hash.ts";
import { Support } from "./support.ts";

/** Candidates from logits, sorted as engines sort them; ids are positions in the list. */
function candidates(logits: readonly number[]): Candidates {
  const sorted = logits.map((logit, id) => ({ id, logit }));
  sorted.sort((a, b) => b.logit - a.logit || a.id - b.id);
  return { ids: sorted.map(({ id }) => id), logProbs: sorted.map(({ logit }) => logit) };
}

// A coarse grid beside the fine numbers, so that ties occur.
const logit = fc.oneof(
  fc.double({ min: -12, max: 0, noNaN: true }),
  fc.integer({ min: -12, max: 0 }),
);
const logitLists = fc.array(logit, { minLength: 1, maxLength: 80 });
const warm = fc.double({ min: 0.05, max: 2, noNaN: true });
const topP = fc.oneof(fc.constant(1), fc.double({ min: 0.05, max: 1, noNaN: true }));
const topK = fc.integer({ min: 1, max: 70 });
const drawParams: fc.Arbitrary<DrawParams> = fc.record({
  temperature: fc.oneof(fc.constant(0), warm, fc.constant(1e-311)),
  topK,
  topP,
});
const warmParams: fc.Arbitrary<DrawParams> = fc.record({ temperature: warm, topK, topP });
const edges = fc.oneof(fc.constant(0), fc.double({ min: 0, max: 0.5, noNaN: true }));
const seeds = fc.bigInt({ min: 0n, max: (1n << 64n) - 1n });

/**
 * The margin once more, as spec/verdict.md section 2 writes it, for `gumbel-philox/1` alone: what the
 * general code must come to.
 */
function scoreToken(position: Position, claimed: number, edge: number): TokenScore {
  const { candidates, params, seed, index } = position;
  if (claimed === drawToken(candidates, params, seed, index)) return { margin: 0, agrees: true };
  const { ids, logProbs } = candidates;
  const at = Array.from(ids).indexOf(claimed);
  if (at < 0) return { margin: Infinity, agrees: false };
  const logit = (i: number): number => logProbs[i] ?? -Infinity;
  if (params.temperature === 0) {
    return { margin: Math.max(0, logit(0) - logit(at)), agrees: false };
  }
  const support = new Support(candidates, params, edge);
  if (!support.mayKeep(at)) return { margin: Infinity, agrees: false };
  const z = (i: number): number => logit(i) + params.temperature * gumbel(seed, index, ids[i] ?? 0);
  let best = z(at);
  for (let i = 0; i < support.top; i++) if (support.mustKeep(i)) best = Math.max(best, z(i));
  return { margin: best - z(at), agrees: false };
}

test("facts: gumbel-philox/1 -> margin and agreement as the spec writes them, bit by bit", () => {
  let finite = 0;
  fc.assert(
    fc.property(
      logitLists,
      drawParams,
      seeds,
      fc.nat(5000),
      fc.nat(85),
      edges,
      (logits, params, seed, index, claimed, edge) => {
        const position = { candidates: candidates(logits), params, seed, index };
        const facts = tokenFacts(gumbelPhilox, position, claimed, edge);
        const score = scoreToken(position, claimed, edge);
        assert.ok(Object.is(facts.margin, score.margin), `${facts.margin} ${score.margin}`);
        assert.equal(facts.agrees, score.agrees);
        if (score.margin > 0 && Number.isFinite(score.margin)) finite++;
      },
    ),
    { numRuns: 4000 },
  );
  assert.ok(finite > 200, `${finite} cases with a finite margin`);
});

/** q over the kept support, computed plainly. */
function plainly(position: Position): number[] {
  const { candidates: all, params } = position;
  const kept = Array.from(all.logProbs).slice(0, supportSize(all, params));
  const weights = kept.map((l) => Math.exp((l - (kept[0] ?? 0)) / params.temperature));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return weights.map((weight) => weight / total);
}

const near = (a: number, b: number): boolean => Math.abs(a - b) <= 1e-9 * Math.max(1, Math.abs(b));

test("facts: surprise, entropy and moments -> those of the renormalised distribution", () => {
  fc.assert(
    fc.property(logitLists, warmParams, fc.nat(85), (logits, params, claimed) => {
      const position = { candidates: candidates(logits), params, seed: 5n, index: 1 };
      const q = plainly(position);
      const facts = tokenFacts(gumbelPhilox, position, claimed, 0);
      const at = Array.from(position.candidates.ids).indexOf(claimed);
      const share = q[at];
      if (share !== undefined) assert.ok(near(facts.surprise, -Math.log(share)));
      // Exact ties at the cut may change places even with an edge of 0.
      else assert.equal(facts.surprise === Infinity, facts.margin === Infinity);
      const entropy = q.reduce((sum, p) => (p > 0 ? sum - p * Math.log(p) : sum), 0);
      assert.ok(near(facts.entropy, entropy));
      tempers.forEach((lambda, j) => {
        const sum = q.reduce((total, p) => total + (p > 0 ? p ** (1 - lambda) : 0), 0);
        assert.ok(near(facts.logMoments[j] ?? NaN, Math.log(sum)), `lambda ${lambda}`);
      });
    }),
  );
});

test("facts: rank and gaps -> how many beat the claimed token; distances from the best, rising", () => {
  fc.assert(
    fc.property(logitLists, warmParams, seeds, fc.nat(85), (logits, params, seed, claimed) => {
      const position = { candidates: candidates(logits), params, seed, index: 9 };
      const { ids, logProbs } = position.candidates;
      const kept = supportSize(position.candidates, params);
      const z = Array.from({ length: kept }, (_, i) => {
        const noise = gumbelPhilox.noise(seed, 9, ids[i] ?? 0);
        return (logProbs[i] ?? NaN) + params.temperature * noise;
      });
      const facts = tokenFacts(gumbelPhilox, position, claimed, 0);
      const own = z[Array.from(ids).indexOf(claimed)];
      if (own !== undefined) assert.equal(facts.rank, z.filter((other) => other > own).length);
      // Exact ties at the cut may change places even with an edge of 0.
      else assert.equal(facts.rank === Infinity, facts.margin === Infinity);
      const best = Math.max(...z);
      const expected = z.map((each) => best - each).sort((a, b) => a - b);
      assert.deepEqual(Array.from(facts.gaps), expected.slice(0, gapsMax));
    }),
  );
});

test("facts: temperature 0 -> gaps of the whole top-k, no entropy, an impossible surprise elsewhere", () => {
  const params = { temperature: 0, topK: 3, topP: 0.5 };
  const position = { candidates: candidates([0, -0.25, -1, -2]), params, seed: 1n, index: 0 };
  for (const law of [gumbelPhilox, llamaMt19937, greedy]) {
    const facts = tokenFacts(law, position, 1, 0.02);
    assert.equal(facts.margin, 0.25);
    assert.equal(facts.rank, 1);
    assert.deepEqual([facts.surprise, facts.entropy], [Infinity, 0]);
    assert.deepEqual(Array.from(facts.gaps), [0, 0.25, 1]);
    assert.equal(tokenFacts(law, position, 0, 0.02).surprise, 0);
    assert.equal(tokenFacts(law, position, 9, 0.02).margin, Infinity);
  }
});

test("facts: the greedy law at T > 0 (unknown randomness) -> margin of the logits, q of T, same support", () => {
  const params = { temperature: 0.5, topK: 3, topP: 1 };
  const position = { candidates: candidates([0, -0.25, -1, -2]), params, seed: 1n, index: 0 };
  const facts = tokenFacts(greedy, position, 2, 0.02);
  assert.deepEqual([facts.margin, facts.rank], [1, 2]);
  const total = 1 + Math.exp(-0.5) + Math.exp(-2);
  assert.ok(near(facts.surprise, 2 + Math.log(total)));
  assert.equal(tokenFacts(greedy, position, 3, 0.02).margin, Infinity);
});

/** A law whose u the test chooses. */
const chosen = (u: number): InverseCdfLaw => ({ ...llamaMt19937, uniform: () => u });
const shares = (list: readonly number[]): Candidates => candidates(list.map(Math.log));
const all: DrawParams = { temperature: 1, topK: 8, topP: 1 };

test("facts: inverse CDF -> the interval, and the distance of u from it in log-odds", () => {
  const position = { candidates: shares([0.5, 0.3, 0.2]), params: all, seed: 0n, index: 0 };
  const hit = tokenFacts(chosen(0.6), position, 1, 0);
  assert.deepEqual([hit.margin, hit.agrees, hit.rank], [0, true, 0]);
  assert.ok(Math.abs((hit.interval?.low ?? 0) - 0.5) < 1e-7);
  const odds = (p: number): number => Math.log(p / (1 - p));
  const over = tokenFacts(chosen(0.6), position, 0, 0);
  assert.ok(Math.abs(over.margin - (odds(0.6) - odds(0.5))) < 1e-6);
  const under = tokenFacts(chosen(0.6), position, 2, 0);
  assert.ok(Math.abs(under.margin - (odds(0.8) - odds(0.6))) < 1e-6);
  assert.deepEqual([over.rank, under.rank], [1, 1]);
  assert.equal(hit.gaps[0], 0);
  assert.equal(hit.gaps.length, 3);
  assert.equal(tokenFacts(chosen(0.6), position, 7, 0).interval, null);
});

test("facts: inverse CDF, a boundary token that rounding may keep or cut -> both supports are tried", () => {
  // With top-p 0.8 the third is cut exactly at the boundary; a machine that keeps it has other shares.
  const params = { ...all, topP: 0.8 };
  const position = { candidates: shares([0.5, 0.3, 0.2]), params, seed: 0n, index: 0 };
  // u = 0.55: the first of two (0.5/0.8 = 0.625), the second of three.
  assert.equal(tokenFacts(chosen(0.55), position, 0, 0.02).margin, 0);
  assert.equal(tokenFacts(chosen(0.55), position, 1, 0.02).margin, 0);
  assert.ok(tokenFacts(chosen(0.55), { ...position, params: all }, 0, 0.02).margin > 0.1);
});

test("facts: inverse CDF, two tokens that may change places -> either order is honest", () => {
  const position = { candidates: shares([0.4, 0.3999, 0.2]), params: all, seed: 0n, index: 0 };
  assert.equal(tokenFacts(chosen(0.1), position, 1, 0.01).margin, 0);
  assert.ok(tokenFacts(chosen(0.1), position, 1, 0).margin > 1);
});

/** An honest machine whose every logit is off by at most `room`: what it draws is forgiven. */
function forgiven(law: GumbelLaw | InverseCdfLaw, runs: number): void {
  fc.assert(
    fc.property(
      logitLists,
      warmParams,
      seeds,
      fc.nat(500),
      fc.double({ min: 1e-4, max: 0.2, noNaN: true }),
      fc.infiniteStream(fc.double({ min: -1, max: 1, noNaN: true })),
      (logits, params, seed, index, room, noise) => {
        const rough = logits.map((each) => each + room * (noise.next().value ?? 0));
        const theirs = { candidates: candidates(rough), params, seed, index };
        const drawn = theirs.candidates.ids.length;
        let claimed = -1;
        for (let id = 0; id < drawn; id++) {
          if (tokenFacts(law, theirs, id, 0).agrees) claimed = id;
        }
        assert.ok(claimed >= 0, "exactly one token is drawn");
        const ours = { candidates: candidates(logits), params, seed, index };
        const { margin } = tokenFacts(law, ours, claimed, 2.001 * room);
        // Float32 weights: a few units of the last place.
        assert.ok(margin <= 2 * room + 1e-4, `margin ${margin}, every logit within ${room}`);
      },
    ),
    { numRuns: runs },
  );
}

test("facts: inverse CDF, logits off by at most d -> a margin of at most 2d, never impossible", () => {
  forgiven(llamaMt19937, 1500);
});

test("facts: noise by rank, logits off by at most d -> a margin of at most 2d, never impossible", () => {
  forgiven(sglangMurmurSorted, 1500);
});

test("facts: the law's temperature order -> top-p before or after temperature", () => {
  // Shares 0.5, 0.3, 0.2 at T = 1; at T = 0.25 the first alone has 0.86.
  const params = { temperature: 0.25, topK: 8, topP: 0.7 };
  const position = { candidates: shares([0.5, 0.3, 0.2]), params, seed: 0n, index: 0 };
  assert.equal(tokenFacts(chosen(0.5), position, 1, 0).margin === Infinity, false);
  assert.equal(tokenFacts(gumbelPhilox, position, 1, 0).margin, Infinity);
});
