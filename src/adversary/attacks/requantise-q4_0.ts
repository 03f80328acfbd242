import { defineAttack } from "../attack.ts";
import { cheaper } from "../engines.ts";

export const attack = defineAttack({
  id: "requantise-q4_0",
  group: "weights",
  title: "serves its weights rounded to 4 bits (Q4_0)",
  expected: "hard finding",
  why: "About one token in twenty differs, and some by far more than honest rounding explains: one of those is proof.",
  knobs: {},
  prepare: (host) => cheaper(host),
});
