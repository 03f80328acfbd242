import assert from "node:assert/strict";
import { test } from "node:test";
import { edgeBound, gammaQuantile } from "./edge.ts";
import { gammaBelow } from "./special.ts";

/** Lehmer's generator: repeatable uniforms in (0, 1). */
function uniforms(seed: number): () => number {
  let state = seed;
  return () => (state = (state * 48_271) % 2_147_483_647) / 2_147_483_647;
}

test("edge: gamma quantiles -> chi-square tables (half of them)", () => {
  // Chi-square with 20 degrees of freedom: 8.260 at 0.01, 31.410 at 0.95.
  assert.ok(Math.abs(2 * gammaQuantile(0.01, 10) - 8.26) < 5e-3);
  assert.ok(Math.abs(2 * gammaQuantile(0.95, 10) - 31.41) < 5e-3);
  for (const p of [1e-6, 0.5, 0.999]) {
    assert.ok(Math.abs(gammaBelow(40, gammaQuantile(p, 40)) - p) < 1e-9);
  }
});

test("edge: exponential values -> the true quantile is exceeded in at most the stated share of runs", () => {
  const random = uniforms(7);
  const rate = 1e-9;
  let missed = 0;
  let sum = 0;
  const runs = 300;
  for (let run = 0; run < runs; run++) {
    const values = Array.from({ length: 200 }, () => -0.01 * Math.log(random()));
    const { edge } = edgeBound(values, 0.9, rate);
    sum += edge;
    if (edge < -0.01 * Math.log(rate)) missed++;
  }
  assert.ok(missed <= 30, `${missed} of ${runs} bounds were too low`);
  assert.ok(sum / runs < -0.02 * Math.log(rate), "and it is no multiple of the truth");
});

test("edge: a lighter tail -> covered; a heavier one -> the far values decide", () => {
  const random = uniforms(11);
  const normal = (): number =>
    Math.sqrt(-2 * Math.log(random())) * Math.cos(2 * Math.PI * random());
  const light = Array.from({ length: 400 }, () => Math.abs(normal()));
  // 6.1 deviations are exceeded twice in a billion.
  assert.ok(edgeBound(light, 0.99, 1e-9).edge > 6.1);
  const heavy = Array.from({ length: 1600 }, (_, i) =>
    i % 8 === 0 ? -10 * Math.log(random()) : -Math.log(random()),
  );
  const bound = edgeBound(heavy, 0.99, 1e-6);
  assert.ok(bound.exceeding <= 200, String(bound.exceeding));
  assert.ok(bound.edge > 10 * Math.log(1e6 / 8), "the tail of the eighth, not of all");
});

test("edge: few values -> a wide bound; all alike -> that value; never below the largest", () => {
  const random = uniforms(3);
  const values = Array.from({ length: 320 }, () => random());
  const of = (count: number): number => edgeBound(values.slice(0, count), 0.99, 1e-6).edge;
  assert.ok(of(4) > of(40) && of(40) > of(320));
  assert.equal(edgeBound([0.25, 0.25, 0.25, 0.25], 0.99, 1e-9).edge, 0.25);
  assert.ok(edgeBound([...values, 1000], 0.99, 0.4).edge >= 1000);
  assert.throws(() => edgeBound([1], 0.99, 1e-6), { name: "BugError" });
});
