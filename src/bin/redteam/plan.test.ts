import assert from "node:assert/strict";
import { test } from "node:test";
import { attacks } from "../../adversary/attacks/index.ts";
import { UsageError } from "../site/arguments.ts";
import { listText } from "./list.ts";
import { chosenAttacks, readPlan } from "./plan.ts";

test("plan: attacks by id, group and all -> each once, in the registry's order", () => {
  const ids = (words: string): string[] => chosenAttacks(words).map(({ id }) => id);
  assert.deepEqual(ids("wrong-seed,requantise-q4_0"), ["requantise-q4_0", "wrong-seed"]);
  assert.deepEqual(ids("group:blind-spot,expert-iteration"), ["expert-iteration"]);
  assert.equal(ids("all").length, attacks.length);
});

test("plan: defaults -> live, one seed; in the lab ten", () => {
  const plan = readPlan([]);
  assert.equal(plan?.mode, "live");
  assert.deepEqual(plan.seeds, [1]);
  assert.deepEqual(
    readPlan(["--lab", "--seed", "7"])?.seeds,
    [7, 8, 9, 10, 11, 12, 13, 14, 15, 16],
  );
});

test("plan: knobs -> numbers of attacks that have them", () => {
  const plan = readPlan(["--attacks", "sampler-fault", "--knob", "q=0.05"]);
  assert.deepEqual(plan?.knobs, { q: 0.05 });
});

const wrong: readonly (readonly string[])[] = [
  ["--attacks", "nothing"],
  ["--attacks", "group:nothing"],
  ["--knob", "q=0.1"],
  ["--attacks", "sampler-fault", "--knob", "q"],
  ["--attacks", "sampler-fault", "--knob", "q=many"],
  ["--live", "--lab"],
  ["--seeds", "0"],
  ["--seeds", "1.5"],
  ["--epsilon", "2"],
  ["--traffic", "none"],
  ["--surprise"],
];
for (const argv of wrong) {
  test(`plan: ${argv.join(" ")} -> a usage error`, () => {
    assert.throws(() => readPlan(argv), UsageError);
  });
}

test("list: every attack and what is expected of it stands in it", () => {
  const text = listText(attacks);
  for (const { id, expected, title } of attacks) {
    assert.ok(
      text.split("\n").some((line) => [id, expected, title].every((x) => line.includes(x))),
    );
  }
});
