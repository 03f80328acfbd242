import { nudgeRow } from "../alter.ts";
import { defineAttack } from "../attack.ts";
import { otherEngine } from "../engines.ts";

export const attack = defineAttack({
  id: "nudged-row",
  group: "weights",
  title: "one row of one matrix, 1 % off",
  expected: "not caught",
  why: "The weakest change there is: its logits differ by less than honest machines differ among themselves, so whatever catches it accuses honest servers. Nor can it do much. Turn `by` up to see where it is found.",
  knobs: { block: 0, row: 0, by: 0.01 },
  prepare: (host, { block, row, by }) => otherEngine(host, nudgeRow(host.weights, block, row, by)),
});
