import { defineAttack } from "../attack.ts";
import { otherEngine } from "../engines.ts";
import { requantise } from "../requantise.ts";

export const attack = defineAttack({
  id: "requantise-q8_0",
  group: "weights",
  title: "serves its weights rounded to 8 bits (Q8_0)",
  expected: "evidence",
  why: "About one token in a hundred differs, mostly by little: no single one need be proof, but they come on and on.",
  knobs: {},
  prepare: (host) => otherEngine(host, requantise(host.weights, "Q8_0")),
});
