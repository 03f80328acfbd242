import { defineAttack } from "../attack.ts";
import { replaying } from "../replay.ts";

export const attack = defineAttack({
  id: "replayed-answer",
  group: "answers",
  title: "gives everybody the same answer",
  expected: "hard finding",
  why: "Tokens that were drawn for another prompt are improbable for this one, and wrong for its seed.",
  knobs: {},
  prepare: () => Promise.resolve(replaying(() => "")),
});
