/** The boot reducer among losses of power, tampering and old answers; seeded bugs. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { nextBoot } from "../../src/gateway/boot.ts";
import { bootModel } from "./boot-world.ts";
import { assertFinds, assertHolds } from "./explore.ts";

type Next = typeof nextBoot;

const bugs: Readonly<Record<string, { next: Next; breaks: string }>> = {
  "goes on after a wrong measurement": {
    breaks: "nothing starts unmeasured",
    next: (state, event) =>
      nextBoot(state, event.kind === "measured" ? { ...event, ok: true } : event),
  },
  "takes an answer to no question": {
    breaks: "nothing starts unmeasured",
    next: (state, event) =>
      event.kind === "unlocked" && state.phase === "MEASURING"
        ? nextBoot({ ...state, phase: "UNLOCKING" }, event)
        : nextBoot(state, event),
  },
  "does not hear tampering while it runs": {
    breaks: "tampering that was heard ends service",
    next: (state, event) =>
      event.kind === "tamper" && state.phase === "RUNNING"
        ? { state, effects: [] }
        : nextBoot(state, event),
  },
  "destroys before it marks": {
    breaks: "destroying begins after its mark is durable",
    next: (state, event) => {
      const step = nextBoot(state, event);
      return step.effects.includes("mark")
        ? { ...step, effects: ["cut-power", "destroy", "mark"] }
        : step;
    },
  },
  "does not look for the mark": {
    breaks: "with the mark on disk nothing is measured, unlocked or started anew",
    next: (state, event) =>
      nextBoot(state, event.kind === "power-on" ? { ...event, marked: false } : event),
  },
  "calls itself bricked when destroying failed": {
    breaks: "bricked is said only of a secret that is gone, and serves nothing",
    next: (state, event) =>
      nextBoot(state, event.kind === "destroyed" ? { ...event, ok: true } : event),
  },
};

test("model: a boot, everything that can happen -> every invariant holds", (t) => {
  const { states, transitions, depth, reached } = assertHolds(bootModel());
  t.diagnostic(`${states} states, ${transitions} transitions, depth ${depth}`);
  assert.ok(reached.some(({ serving }) => serving) && states > 50);
  assert.ok(reached.some(({ boot }) => boot.phase === "BRICKED"));
});

for (const [what, { next, breaks }] of Object.entries(bugs)) {
  test(`model: a boot that ${what} -> found`, (t) => {
    const { states, violation } = assertFinds(bootModel(next), breaks);
    t.diagnostic(`found at depth ${violation.labels.length} after ${states} states`);
    t.diagnostic(`${breaks}: ${violation.labels.join(" | ")}`);
  });
}

test("model: every invariant of the boot -> broken by one of the bugs at least", () => {
  const broken = new Set(Object.values(bugs).map(({ breaks }) => breaks));
  const names = bootModel().invariants.map(({ name }) => name);
  assert.deepEqual(
    names.filter((name) => !broken.has(name)),
    [],
  );
});
