import { defineAttack } from "../attack.ts";
import { replaying } from "../replay.ts";

export const attack = defineAttack({
  id: "cached-answers",
  group: "answers",
  title: "gives a prompt that comes again its earlier answer",
  expected: "hard finding",
  why: "The second request has a seed of its own, from which the old answer does not follow. A prompt that never comes again shows nothing, nor does temperature 0, where the answer is the right one.",
  knobs: {},
  prepare: () => Promise.resolve(replaying((job) => job.request.promptIds.join(","))),
});
