import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  defaultPolicy,
  defaultRelease,
  ladderSteps,
  type Policy,
  type Standing,
} from "../format/policy.ts";
import { ladderFor } from "./ladder.ts";

const fleetLogE = 17.7;
const clean: Standing = {
  ...{ logE: 0, logChange: 0, tokens: 0, upperBitsPerToken: 64, upperBitsPerSecond: 1e9 },
  taken: [],
};
const ladder = ladderFor(defaultPolicy, fleetLogE);
const steps = (standing: Partial<Standing>): string[] =>
  ladder.due({ ...clean, ...standing }).map(({ step }) => step);

test("ladder: nothing stands against a server -> no step, however loose the meter's first bounds", () => {
  assert.deepEqual(steps({}), []);
  assert.deepEqual(steps({ logE: 4.99, logChange: 4.99, tokens: 9_999_999 }), []);
});

test("ladder: evidence at each threshold -> the steps up to it, mildest first", () => {
  assert.deepEqual(steps({ logE: 5 }), ["raise-epsilon"]);
  assert.deepEqual(steps({ logE: 8 }), ["raise-epsilon", "recheck-ring"]);
  assert.deepEqual(steps({ logE: 17.7 }), [...ladderSteps]);
  assert.equal(ladder.due({ ...clean, logE: 5 })[0]?.epsilon, 1);
});

test("ladder: evidence of a change -> counts as that since the beginning", () => {
  assert.deepEqual(steps({ logChange: 5 }), ["raise-epsilon"]);
  assert.deepEqual(steps({ logChange: 17.7 }), [...ladderSteps]);
  assert.match(ladder.due({ ...clean, logChange: 5.1 })[0]?.words ?? "", /change: 5\.1 .* 5\.0/);
});

test("ladder: a step that was taken -> is not due again; the words of shutdown still say so", () => {
  assert.deepEqual(steps({ logE: 9, taken: ["raise-epsilon"] }), ["recheck-ring"]);
  assert.deepEqual(steps({ logE: 99, taken: ladderSteps }), []);
  assert.match(ladder.beyond({ ...clean, logE: 99, taken: ladderSteps }) ?? "", /99\.0 nats/);
  assert.equal(ladder.beyond({ ...clean, logE: 17 }), null);
});

test("ladder: the meter beyond its limit -> the policy's step alone, once enough was audited", () => {
  const enough = { tokens: 10_000_000, upperBitsPerToken: 0.3, upperBitsPerSecond: 1 };
  assert.deepEqual(steps(enough), ["raise-epsilon"]);
  assert.deepEqual(steps({ ...enough, upperBitsPerToken: 0.2 }), []);
  assert.deepEqual(steps({ ...enough, upperBitsPerToken: 0, upperBitsPerSecond: 1e6 }), [
    "raise-epsilon",
  ]);
  const short: Policy = { ...defaultPolicy, ladder: [{ step: "shutdown", logE: "fleet" }] };
  const due = ladderFor(short, fleetLogE).due({ ...clean, ...enough });
  assert.deepEqual(
    due.map(({ step, words }) => `${step}: ${words}`),
    ["raise-epsilon: covert capacity: up to 0.3000 bits per token over 10000000 tokens, limit 0.2"],
  );
});

test("ladder: more evidence -> never fewer steps", () => {
  const value = fc.double({ min: 0, max: 60, noNaN: true });
  fc.assert(
    fc.property(value, value, value, value, (logE, logChange, more, moreChange) => {
      const before = steps({ logE, logChange });
      const after = steps({ logE: logE + more, logChange: logChange + moreChange });
      assert.deepEqual(after.slice(0, before.length), before);
    }),
  );
});

test("ladder: a policy of before there was a limit on releases -> the default one holds", () => {
  const { schema, fleet, ladder: rules, capacity } = defaultPolicy;
  const old: Policy = { schema, fleet, ladder: rules, capacity };
  assert.deepEqual(ladderFor(old, fleetLogE).release, defaultRelease);
  const own = { ...old, release: { bitsPerSecond: 5 } };
  assert.equal(ladderFor(own, fleetLogE).release.bitsPerSecond, 5);
});
