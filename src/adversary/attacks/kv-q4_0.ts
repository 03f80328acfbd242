import { defineAttack } from "../attack.ts";
import { otherEngine } from "../engines.ts";

export const attack = defineAttack({
  id: "kv-q4_0",
  group: "weights",
  title: "keeps its attention cache in 4 bits (Q4_0)",
  expected: "evidence",
  why: "The keys are rounded to one of 16 levels: tokens differ more often than with 8 bits, the more the longer the context. `values` = 1 rounds the values too, with flash attention.",
  knobs: { values: 0 },
  prepare: (host, { values }) =>
    otherEngine(host, null, { kvType: "q4_0", flashAttention: values !== 0 }),
});
