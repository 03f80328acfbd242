import { randomAdapter } from "../alter.ts";
import { defineAttack } from "../attack.ts";
import { otherEngine } from "../engines.ts";

export const attack = defineAttack({
  id: "lora",
  group: "weights",
  usesAdapter: true,
  title: "applies a LoRA adapter at run time",
  expected: "evidence",
  why: "The weights stay as they were checked; the adapter is applied in the computation. Recomputation has none, so it draws other tokens. Without a trained adapter it uses a random one of `share` of the matrices' size.",
  knobs: { rank: 4, share: 0.1 },
  prepare: (host, { rank, share }) =>
    otherEngine(host, null, {
      lora: host.adapter ?? randomAdapter(host.weights, rank, share, host.dice),
    }),
});
