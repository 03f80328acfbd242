import assert from "node:assert/strict";
import { test } from "node:test";
import { modes, type Mode } from "../format/router-link.ts";
import { nextMode, type ModeEvent } from "./mode.ts";

const events: readonly ModeEvent[] = [
  "power-on",
  "weights-complete",
  "kill",
  "memory-gone",
  "halt-stands",
];

test("mode: every mode and event -> exactly the six legal transitions", () => {
  const legal = modes.flatMap((mode) =>
    events.flatMap((event) => {
      const next = nextMode(mode, event);
      return next === null ? [] : [`${mode} ${event} ${next}`];
    }),
  );
  assert.deepEqual(legal, [
    "OFF power-on UPLOAD",
    "OFF halt-stands KILLED",
    "UPLOAD weights-complete SERVING",
    "UPLOAD kill KILLED",
    "SERVING kill KILLED",
    "KILLED memory-gone OFF",
  ]);
});

test("mode: SERVING is reached only by way of UPLOAD, and left only by way of KILLED", () => {
  // Breadth first over all event sequences: whoever stands in SERVING came from UPLOAD at once before.
  const into = new Map<Mode, Set<Mode>>();
  for (const from of modes) {
    for (const event of events) {
      const to = nextMode(from, event);
      if (to !== null) into.set(to, (into.get(to) ?? new Set()).add(from));
    }
  }
  assert.deepEqual([...(into.get("SERVING") ?? [])], ["UPLOAD"]);
  assert.deepEqual([...(into.get("OFF") ?? [])], ["KILLED"]);
});
