import assert from "node:assert/strict";
import { test } from "node:test";
import { attacks } from "../../adversary/attacks/index.ts";
import { alarm, nothingReceived, trialOf } from "./fixture.ts";
import { inWords, quantile, summarise } from "./summary.ts";
import { asExpected, layerOf, thinned } from "./trial.ts";

test("summary: trials that were not caught -> quantiles beyond them are unknown", () => {
  assert.equal(quantile([3, 1, 2], 0.5), 2);
  assert.equal(quantile([3, 1, Infinity], 0.5), 3);
  assert.equal(quantile([3, 1, Infinity], 0.9), null);
  assert.equal(quantile([], 0.5), null);
});

test("summary: 3 of 10 escaped -> Clopper and Pearson's interval, delays of those that were caught", () => {
  const trials = Array.from({ length: 10 }, (_, i) =>
    trialOf({ seed: i, ...(i < 3 ? { alarm: null } : {}) }),
  );
  const [one] = summarise(attacks, trials);
  assert.ok(one !== undefined);
  assert.equal(one.escape.count, 3);
  // Newcombe's tables have 0.0667 to 0.6525 for 3 of 10.
  assert.ok(Math.abs(one.escape.low - 0.0667) < 1e-4);
  assert.ok(Math.abs(one.escape.high - 0.6525) < 1e-4);
  assert.deepEqual(one.tokens, { median: 64, p90: null });
  assert.deepEqual(one.layers, { none: 3, "hard finding": 7 });
  assert.equal(one.asExpected, false);
});

test("summary: what left before -> meter's bound on all tokens until the alarm, or of the budget", () => {
  const [caught] = summarise(attacks, [trialOf()]);
  assert.equal(caught?.bits.bound, 50);
  const [free] = summarise(attacks, [trialOf({ alarm: null })]);
  assert.equal(free?.bits.bound, 75);
});

test("summary: a receiver that reads more than the meter allows -> said loudly", () => {
  const received = { ...nothingReceived, wrong: 0, information: 1000, recovered: true };
  const trial = trialOf({
    attack: "stego-near-ties",
    alarm: null,
    expected: "not caught",
    received,
  });
  const summaries = summarise(attacks, [trial]);
  assert.equal(summaries[0]?.bits.aboveBound, true);
  assert.match(inWords(summaries, []), /ABOVE THE BOUND: stego-near-ties/);
  // Pauses are no tokens: the meter's bound does not speak of them.
  const timing = summarise(attacks, [{ ...trial, attack: "stego-timing" }]);
  assert.equal(timing[0]?.bits.aboveBound, false);
});

test("summary: in words -> what succeeded comes first; the twin is named when accused", () => {
  const twin = { ...trialOf().twin, accusations: ["token.margin: x"] };
  const trials = [
    trialOf({ twin }),
    trialOf({ attack: "expert-iteration", expected: "not caught", alarm: null }),
  ];
  const words = inWords(summarise(attacks, trials), []);
  assert.match(words, /^expert-iteration succeeded in every trial/);
  assert.match(words, /Stopped in every trial: wrong-seed\./);
  assert.match(words, /accused in 1 trials/);
  assert.match(words, /Every outcome is what the attack's author expected\.$/);
});

test("trial: no alarm -> held by the sandbox or the gateway only where there was something to hold", () => {
  assert.equal(layerOf(trialOf({ alarm: null })), "none");
  const learnt = (answer: "yes" | "no" | "cannot tell") => [{ what: "x", answer, detail: "" }];
  assert.equal(layerOf(trialOf({ alarm: null, learnt: learnt("no") })), "isolation");
  assert.equal(layerOf(trialOf({ alarm: null, learnt: learnt("cannot tell") })), "none");
  const leaky = [...learnt("no"), ...learnt("yes")];
  assert.equal(layerOf(trialOf({ alarm: null, learnt: leaky })), "none");
  assert.equal(layerOf(trialOf({ alarm: null, received: nothingReceived })), "gateway");
  const some = { ...nothingReceived, wrong: 100, information: 500 };
  assert.equal(layerOf(trialOf({ alarm: null, received: some })), "none");
});

test("trial: a hard finding where evidence was expected is as expected, the reverse is not", () => {
  assert.ok(asExpected(trialOf({ expected: "evidence" })));
  const evidence = { ...alarm, layer: "evidence", by: "evidence.threshold" } as const;
  assert.ok(!asExpected(trialOf({ alarm: evidence })));
  assert.ok(!asExpected(trialOf({ expected: "not caught" })));
});

test("trial: long curves -> thinned, first and last point kept", () => {
  const curve = Array.from({ length: 1000 }, (_, i) => [i, i / 3, 0] as const);
  const thin = thinned(curve);
  assert.ok(thin.length <= 160);
  assert.equal(thin[0]?.[0], 0);
  assert.equal(thin.at(-1)?.[0], 999);
});

test("summary: a message in pauses -> held against the release counts, one in tokens against the meter", () => {
  const received = { ...nothingReceived, wrong: 0, information: 1000, recovered: true };
  const stego = { alarm: null, expected: "not caught", received } as const;
  const [inTokens] = summarise(attacks, [trialOf({ ...stego, attack: "stego-near-ties" })]);
  const [inPauses] = summarise(attacks, [trialOf({ ...stego, attack: "stego-timing" })]);
  assert.deepEqual([inTokens?.bits.boundBy, inTokens?.bits.boundPerToken], ["capacity meter", 0.5]);
  assert.equal(inPauses?.bits.boundBy, "release counts");
  assert.equal(inPauses.bits.boundPerToken, 200 / 150);
  assert.equal(inPauses.bits.allPerToken, 0.5 + 220 / 150);
});

test("trial: evidence that takes longer than the budget -> as expected; with the budget, not", () => {
  const slow = { attack: "kv-q8_0", expected: "evidence", alarm: null, takes: 22_000 } as const;
  assert.ok(asExpected(trialOf({ ...slow, budget: 10_000 })));
  assert.ok(!asExpected(trialOf({ ...slow, budget: 30_000 })));
});
