/** A witness, everything that can happen to it, on the shipped reducer; seeded bugs; a disk put back. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { parseCheckpoint } from "../../src/format/checkpoint.ts";
import { parseNote } from "../../src/format/note.ts";
import { stepWitness } from "../../src/log/witness.ts";
import { assertFinds, assertHolds, tell } from "./explore.ts";
import { begins, treeOf, trees, witnessModel, type StepWitness } from "./witness-world.ts";

/** Any entries that are served are taken for those of the tree under way. */
const anyEntries: StepWitness = (context, state, event) => {
  const root = state.underWay?.checkpoint.root;
  const blind = event.kind === "mirrored" && root !== undefined ? { ...event, root } : event;
  return stepWitness(context, state, blind);
};

/** The newest tree is whatever a proof may lead from: what it would be were no proof looked at. */
const anyProof: StepWitness = (context, state, event) => {
  if (event.kind !== "submit" || state.latest.size === 0) return anyEntries(context, state, event);
  const { root } = parseCheckpoint(parseNote(event.submission.request.note).text);
  const next = treeOf(root);
  const old = trees.find(
    (one) => one.leaves.length === state.latest.size && next !== undefined && begins(one, next),
  );
  const latest = { ...state.latest, root: old?.root ?? state.latest.root };
  return anyEntries(context, { ...state, latest }, event);
};

const bugs: Readonly<Record<string, { step: StepWitness; breaks: readonly string[] }>> = {
  "answers before it is durable": {
    breaks: [
      "a cosignature leaves only when its tree is durable",
      "no two trees of one size are ever cosigned",
    ],
    step: (context, state, event) => {
      const first = stepWitness(context, state, event);
      if (event.kind !== "mirrored" || first.state.underWay?.cosigned == null) return first;
      const second = stepWitness(context, first.state, { kind: "persisted" });
      return { state: second.state, effects: [...first.effects, ...second.effects] };
    },
  },
  "forgets when it cosigned": {
    breaks: ["a larger tree never has an earlier time"],
    step: (context, state, event) =>
      stepWitness(context, { ...state, latest: { ...state.latest, time: 0 } }, event),
  },
  "takes any entries for the right ones": {
    breaks: ["a tree is cosigned only when its entries are held"],
    step: anyEntries,
  },
  "looks neither at proofs nor at entries": {
    breaks: [
      "all trees that were cosigned are one history",
      "no two trees of one size are ever cosigned",
    ],
    step: anyProof,
  },
};

test("model: a witness, everything that can happen -> every invariant holds", (t) => {
  const { states, transitions, depth, reached } = assertHolds(witnessModel({ most: 2 }));
  t.diagnostic(`${states} states, ${transitions} transitions, depth ${depth}`);
  assert.ok(states > 1000);
  const most = Math.max(...reached.map(({ left }) => new Set(left.map((one) => one.tree)).size));
  assert.equal(most, 3, "three trees of one history are cosigned, one after the other");
  const before = reached.some(({ disk, left }) => disk.size > 0 && left.length === 0);
  assert.ok(before, "a crash between durable and answered is among it");
});

for (const [what, { step, breaks }] of Object.entries(bugs)) {
  test(`model: a witness that ${what} -> found`, (t) => {
    for (const invariant of breaks) {
      const { states, violation } = assertFinds(witnessModel({ step, most: 2 }), invariant);
      t.diagnostic(`found at depth ${violation.labels.length} after ${states} states`);
      t.diagnostic(`${invariant}: ${violation.labels.join(" | ")}`);
    }
  });
}

test("model: every invariant of the witness -> broken by one of the bugs at least", () => {
  const broken = new Set(Object.values(bugs).flatMap(({ breaks }) => breaks));
  const names = witnessModel().invariants.map(({ name }) => name);
  assert.deepEqual(
    names.filter((name) => !broken.has(name)),
    [],
  );
});

test("model: a witness whose old disk is put back -> cosigns a fork; the other party's witness shows it", (t) => {
  // Known: one witness alone cannot tell. docs/TRUST.md.
  const { violation } = assertFinds(
    witnessModel({ rollback: true, most: 1 }),
    "no two trees of one size are ever cosigned",
  );
  assert.ok(violation.labels.includes("the thief puts the copy back"), tell(violation));
  t.diagnostic(`found at depth ${violation.labels.length}: ${violation.labels.join(" | ")}`);
});
