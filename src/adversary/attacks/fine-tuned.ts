import { InvalidError } from "../../base/assert.ts";
import { defineAttack } from "../attack.ts";
import { otherEngine } from "../engines.ts";
import { mergeLora } from "../requantise.ts";

export const attack = defineAttack({
  id: "fine-tuned",
  group: "weights",
  usesAdapter: true,
  title: "serves a fine-tuned model (an adapter merged into the weights)",
  expected: "hard finding",
  why: "A fine-tune is meant to say other things, and does: its tokens are not what the whitelisted weights draw. `strength` below 1 merges less of it.",
  knobs: { strength: 1 },
  async prepare(host, { strength }) {
    if (host.adapter === null) {
      throw new InvalidError("attack.adapter", "no trained adapter was smuggled in");
    }
    return otherEngine(host, mergeLora(host.weights, host.adapter, strength));
  },
});
