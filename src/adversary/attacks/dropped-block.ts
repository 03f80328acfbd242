import { dropBlock } from "../alter.ts";
import { defineAttack } from "../attack.ts";
import { otherEngine } from "../engines.ts";

export const attack = defineAttack({
  id: "dropped-block",
  group: "weights",
  title: "skips one block of the model to save its cost",
  expected: "hard finding",
  why: "Without a block a small model is another model: within a reply some token lies far outside.",
  knobs: { block: 1 },
  prepare: (host, { block }) => otherEngine(host, dropBlock(host.weights, block)),
});
