import { defineAttack } from "../attack.ts";
import { otherEngine } from "../engines.ts";

export const attack = defineAttack({
  id: "kv-q8_0",
  group: "weights",
  title: "keeps its attention cache in 8 bits (Q8_0)",
  expected: "evidence",
  why: "The keys are rounded by a part in 250 and the weights not at all, so tokens differ rarely and by little: 6,087 tokens in the middle and 11,240 in nine of ten, about the default budget of the red team. `values` = 1 rounds the values too, with flash attention.",
  takes: 22_000,
  knobs: { values: 0 },
  prepare: (host, { values }) =>
    otherEngine(host, null, { kvType: "q8_0", flashAttention: values !== 0 }),
});
