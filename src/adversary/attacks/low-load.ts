import { defineAttack } from "../attack.ts";
import { cheaper } from "../engines.ts";

export const attack = defineAttack({
  id: "low-load",
  group: "partial",
  title: "serves from 4-bit weights while few requests run",
  expected: "hard finding",
  why: "When it cheats makes no difference to the coin. A share of pairs is caught like any other share.",
  knobs: { most: 1 },
  prepare: (host, { most }) => cheaper(host, () => host.running() <= most),
});
