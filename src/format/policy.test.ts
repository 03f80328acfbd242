import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import fc from "fast-check";
import { InvalidError } from "../base/assert.ts";
import {
  defaultPolicy,
  ladderOf,
  ladderSteps,
  parsePolicy,
  policyText,
  type Policy,
} from "./policy.ts";

const parse = (json: unknown): Policy => parsePolicy(Buffer.from(JSON.stringify(json)));

test("policy: the example of spec/policy.md -> the default", () => {
  const page = readFileSync(new URL("../../spec/policy.md", import.meta.url), "utf8");
  const example = /```json\n([\s\S]*?)```/.exec(page)?.[1] ?? "";
  assert.deepEqual(parsePolicy(Buffer.from(example)), defaultPolicy);
});

test("policy: written, then parsed -> the same", () => {
  const text = policyText(defaultPolicy);
  assert.deepEqual(parsePolicy(Buffer.from(text)), defaultPolicy);
});

test("policy: wrong fields -> an InvalidError that names the field", () => {
  const { fleet, capacity, ladder } = defaultPolicy;
  const [raise, recheck, , shutdown] = ladder;
  const bad: [unknown, RegExp][] = [
    [{ ...defaultPolicy, schema: 2 }, /policy\.schema must be 1/],
    [{ ...defaultPolicy, more: 1 }, /unknown field "more"/],
    [{ ...defaultPolicy, fleet: { ...fleet, servers: 0 } }, /policy\.fleet\.servers/],
    [{ ...defaultPolicy, fleet: { ...fleet, alpha: 0 } }, /policy\.fleet\.alpha/],
    [{ ...defaultPolicy, fleet: { ...fleet, extra: 0 } }, /unknown field "extra"/],
    [{ ...defaultPolicy, ladder: [] }, /policy\.ladder must end with the step shutdown/],
    [{ ...defaultPolicy, ladder: [raise] }, /policy\.ladder must end with the step shutdown/],
    [{ ...defaultPolicy, ladder: [{ ...raise, epsilon: 0 }, shutdown] }, /ladder\[0\]\.epsilon/],
    [{ ...defaultPolicy, ladder: [{ ...raise, epsilon: 1.1 }, shutdown] }, /ladder\[0\]\.epsilon/],
    [{ ...defaultPolicy, ladder: [{ step: "raise-epsilon", logE: 1 }, shutdown] }, /\.epsilon/],
    [{ ...defaultPolicy, ladder: [{ ...shutdown, epsilon: 1 }] }, /unknown field "epsilon"/],
    [{ ...defaultPolicy, ladder: [recheck, raise, shutdown] }, /ladder\[1\]\.step/],
    [{ ...defaultPolicy, ladder: [recheck, recheck, shutdown] }, /ladder\[1\]\.step/],
    [{ ...defaultPolicy, ladder: [raise, { ...recheck, logE: 5 }, shutdown] }, /ladder\[1\]\.logE/],
    [{ ...defaultPolicy, ladder: [{ ...recheck, logE: "fleet" }, shutdown] }, /ladder\[0\]\.logE/],
    [{ ...defaultPolicy, ladder: [{ ...recheck, logE: "much" }, shutdown] }, /ladder\[0\]\.logE/],
    [{ ...defaultPolicy, ladder: [{ step: "scold", logE: 1 }, shutdown] }, /ladder\[0\]\.step/],
    [{ ...defaultPolicy, fleet: { ...fleet, beginnings: 0 } }, /policy\.fleet\.beginnings/],
    [{ ...defaultPolicy, fleet: { ...fleet, beginnings: 1.5 } }, /policy\.fleet\.beginnings/],
    [{ ...defaultPolicy, release: {} }, /policy\.release\.bitsPerSecond/],
    [{ ...defaultPolicy, release: { bitsPerSecond: -1 } }, /policy\.release\.bitsPerSecond/],
    [{ ...defaultPolicy, release: { bitsPerSecond: 1, more: 1 } }, /unknown field "more"/],
    [{ ...defaultPolicy, capacity: { ...capacity, step: "none" } }, /policy\.capacity\.step/],
    [{ ...defaultPolicy, capacity: { ...capacity, bitsPerToken: -1 } }, /capacity\.bitsPerToken/],
    [{ ...defaultPolicy, capacity: { ...capacity, minTokens: 0 } }, /capacity\.minTokens/],
  ];
  for (const [json, message] of bad) {
    assert.throws(() => parse(json), { name: "InvalidError", message }, JSON.stringify(json));
  }
  assert.throws(() => parsePolicy(Buffer.alloc(70_000, 0x20)), { code: "policy.size" });
});

test("policy: any bytes -> a policy or an InvalidError; a cut file is never one", () => {
  const whole = Buffer.from(policyText(defaultPolicy).trimEnd());
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), fc.nat(whole.length - 1), (bytes, cut) => {
      assert.throws(() => parsePolicy(bytes), InvalidError);
      assert.throws(() => parsePolicy(whole.subarray(0, cut)), InvalidError);
    }),
  );
});

test("policy: the ladder as numbers -> rises, and shutdown is not before the fleet's threshold", () => {
  const rungs = ladderOf(defaultPolicy, 17.7);
  assert.deepEqual(
    rungs.map(({ step, logE }) => [step, logE]),
    ladderSteps.map((step, i) => [step, [5, 8, 12, 17.7][i]]),
  );
  assert.equal(rungs[0]?.epsilon, 1);
  assert.equal(rungs[1]?.epsilon, null);
  assert.throws(() => ladderOf(defaultPolicy, 11), { message: /ladder\[2\]\.logE must be below/ });
  const early: Policy = { ...defaultPolicy, ladder: [{ step: "shutdown", logE: 17 }] };
  assert.throws(() => ladderOf(early, 17.7), { message: /ladder\[0\]\.logE must be at least/ });
  assert.equal(ladderOf(early, 16)[0]?.logE, 17);
});

test("policy: beginnings and release -> optional, and kept when given", () => {
  const { schema, fleet, ladder, capacity } = defaultPolicy;
  const old: Policy = { schema, fleet, ladder, capacity };
  assert.deepEqual(parse(old), old);
  const lives = { ...old, fleet: { ...old.fleet, beginnings: 12 }, release: { bitsPerSecond: 7 } };
  assert.deepEqual(parse(lives), lives);
});
