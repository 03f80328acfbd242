/**
 * Every order of events that a gateway can meet, with a crash between any two, on the shipped reducers. Each
 * seeded bug shows that the invariant it breaks can break; its story is printed.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { modes } from "../../src/format/router-link.ts";
import { assertFinds, assertHolds, explore, tell } from "./explore.ts";
import { bugs } from "./gateway-bugs.ts";
import { gatewayModel, shipped } from "./gateway-world.ts";

test("model: a gateway, everything that can happen -> every invariant holds", (t) => {
  const { states, transitions, depth, reached } = assertHolds(gatewayModel());
  t.diagnostic(`${states} states, ${transitions} transitions, depth ${depth}`);
  assert.ok(states > 1000, "the model is worth the name");
  const seen = new Set(reached.map((world) => world.life?.mode));
  assert.ok(
    modes.every((mode) => seen.has(mode)),
    "every mode is reached",
  );
  const serves = reached.filter(({ life: at }) => at !== null && shipped.accepting(at) === "yes");
  assert.ok(serves.length > 0, "a gateway that never serves proves nothing");
  const served = serves.some(({ disk }) => disk.released.length === 2);
  assert.ok(served, "it serves again after both halts were released");
});

for (const [what, { rules, breaks }] of Object.entries(bugs)) {
  test(`model: a gateway where ${what} -> found`, (t) => {
    const model = gatewayModel({ rules: { ...shipped, ...rules } });
    for (const invariant of breaks) {
      const { states, violation } = assertFinds(model, invariant);
      t.diagnostic(`found at depth ${violation.labels.length} after ${states} states`);
      t.diagnostic(tell(violation));
    }
  });
}

test("model: every invariant of the gateway -> broken by one of the bugs at least", () => {
  const broken = new Set(Object.values(bugs).flatMap(({ breaks }) => breaks));
  const names = gatewayModel().invariants.map(({ name }) => name);
  assert.deepEqual(
    names.filter((name) => !broken.has(name)),
    [],
  );
});

test("model: a gateway whose old disk is put back -> a halt is lifted; nothing that is physical breaks", (t) => {
  // Known, docs/TRUST.md: only a counter outside the disk, or a copy elsewhere, shows an old disk.
  const model = gatewayModel({ rollback: true, halts: 1 });
  const { violation } = explore(model);
  assert.equal(violation?.invariant, "what was answered as obeyed is on disk");
  assert.ok(violation.labels.includes("the thief puts the copy back"), tell(violation));
  const known = /obeyed|own release/;
  const rest = model.invariants.filter(({ name }) => !known.test(name));
  const { states } = assertHolds({ ...model, invariants: rest });
  t.diagnostic(`${states} states with an old disk put back`);
  assert.ok(rest.length >= 6);
});
