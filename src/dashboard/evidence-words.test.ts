import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { EvidenceView } from "./document.ts";
import {
  bitRate,
  capacityExceeded,
  capacityText,
  carriersExceeded,
  carriersText,
  evidenceText,
  fleetText,
  meaning,
  measures,
  odds,
  rateText,
  seldom,
  stepText,
} from "./web/evidence-words.ts";

const fleet = Math.log(50_000_000);

const capacity: EvidenceView["capacity"] = {
  tokens: 20_000_000,
  bitsPerToken: 0.012,
  upperBitsPerToken: 0.1,
  upperBitsPerSecond: 1200,
  limitBitsPerToken: 0.2,
  limitBitsPerSecond: 10_000,
  minTokens: 10_000_000,
};

test("odds: log e-values -> two digits of odds, against or for", () => {
  const told: readonly (readonly [number, string])[] = [
    [0, "1 to 1"],
    [Math.log(41), "41 to 1"],
    [Math.log(1.44), "1.4 to 1"],
    [fleet, "50,000,000 to 1"],
    [Math.log(8e8), "800,000,000 to 1"],
    [Math.log(1e12), "10¹² to 1"],
    [-Math.log(8), "1 to 8"],
    [-0.01, "1 to 1"],
  ];
  for (const [logE, words] of told) assert.equal(odds(logE), words);
});

test("odds: any number -> words without NaN, Infinity or exponents", () => {
  fc.assert(
    fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (logE) => {
      assert.match(odds(logE), /^[\d.,⁰¹²³⁴⁵⁶⁷⁸⁹]+ to [\d.,⁰¹²³⁴⁵⁶⁷⁸⁹]+$/);
    }),
  );
});

test("seldom: evidence of x nats -> at most 2 e^-x of honest servers, as spec/policy.md says", () => {
  assert.equal(seldom(5), "1 in 74");
  assert.equal(seldom(8), "1 in 1,500");
  assert.equal(seldom(fleet), "1 in 25,000,000");
  assert.equal(seldom(0.5), "", "a bound above two thirds says nothing");
});

test("meaning: none, some, beyond, and one bad reply -> different words, never certainty", () => {
  const at = { logEThreshold: fleet, step: "none" } as const;
  assert.match(meaning(-1, at), /this is how honest servers look/);
  assert.match(meaning(0.9, at), /Many honest servers get this far/);
  assert.match(meaning(12, at), /at most 1 in 81,000 ever gets this far/);
  assert.match(meaning(fleet, at), /beyond what shuts a server down/);
  assert.match(meaning(-1, { ...at, step: "shutdown" }), /One reply was wrong beyond doubt/);
  assert.equal(evidenceText(-0.5), "none");
});

test("stepText: raise-epsilon -> the share that its rule names", () => {
  const rung = { step: "raise-epsilon", logE: 5 } as const;
  assert.equal(stepText({ ...rung, epsilon: 1 }), "Every reply is kept for recomputation");
  assert.equal(stepText({ ...rung, epsilon: 0.3 }), "30 % of replies are kept for recomputation");
});

test("measures: a step that the gateway has not confirmed -> said so", () => {
  const steps = ["raise-epsilon", "recheck-ring", "quarantine", "shutdown"] as const;
  for (const step of steps) {
    assert.match(measures(step, null)[0] ?? "", /was ordered; the gateway has not said so yet/);
  }
  assert.deepEqual(measures("none", null), []);
});

test("capacity: below, above and not yet counted -> told, with training beside it", () => {
  assert.match(capacityText(capacity), /at most 0\.1\. The parties allow 0\.2\.$/);
  assert.match(capacityText({ ...capacity, upperBitsPerToken: 0.3 }), /0\.2: this is more\.$/);
  assert.match(capacityText({ ...capacity, tokens: 500 }), /from 10,000,000 .* so far 500\.$/);
  assert.match(capacityText({ ...capacity, tokens: 0 }), /Not known/);
  assert.match(rateText(capacity), /1\.2 kb\/s\. .*6 Mb\/s per peer, 5,000 times as much/);
  assert.match(rateText({ ...capacity, upperBitsPerSecond: 0 }), /speed is not known/);
  assert.match(rateText({ ...capacity, upperBitsPerSecond: 7e6 }), /rules nothing out/);
});

test("capacityExceeded: only above the limits, and only once enough was audited", () => {
  const over = { ...capacity, upperBitsPerToken: 0.3, upperBitsPerSecond: 20_000 };
  assert.deepEqual(capacityExceeded(capacity), { bits: false, rate: false });
  assert.deepEqual(capacityExceeded(over), { bits: true, rate: true });
  assert.deepEqual(capacityExceeded({ ...over, tokens: 500 }), { bits: false, rate: false });
});

test("bitRate: decimal units", () => {
  assert.equal(bitRate(210), "210 bits/s");
  assert.equal(bitRate(63_000), "63 kb/s");
  assert.equal(bitRate(6_000_000), "6 Mb/s");
});

const beside: NonNullable<EvidenceView["carriers"]> = {
  ...{ seconds: 600, tokens: 30_000, release: 80_000, failures: 40, ends: 3000 },
  ...{ bitsPerToken: 2.77, bitsPerSecond: 140, limitBitsPerSecond: 100_000 },
};

test("carriers: below, above, too early and not counted -> told", () => {
  assert.match(carriersText(beside), /can tell at most 140 bits\/s now, 2\.77 bits per token/);
  assert.match(carriersText(beside), /The parties allow 100 kb\/s\.$/);
  const over = { ...beside, bitsPerSecond: 200_000 };
  assert.match(carriersText(over), /allow 100 kb\/s: this is more\.$/);
  assert.match(carriersText({ ...beside, bitsPerSecond: null }), /not known before/);
  assert.match(carriersText(null), /Nobody counts/);
  const all = [beside, over, null, { ...over, limitBitsPerSecond: null }];
  assert.deepEqual(all.map(carriersExceeded), [false, true, false, false]);
});

test("fleetText: the budget -> years between two false shutdowns, and lives where there are several", () => {
  const budget = { servers: 250_000, alpha: 0.01, years: 10, beginnings: 1, yearsBetween: 1000 };
  assert.match(
    fleetText(budget),
    /^Among 250,000 honest servers, .* once in 1,000 years on average/,
  );
  assert.match(fleetText(budget), /a chance of 1 % in 10 years\.$/);
  assert.match(fleetText({ ...budget, beginnings: 12 }), /beginning anew at most 12 times/);
  assert.equal(fleetText(null), "");
});
