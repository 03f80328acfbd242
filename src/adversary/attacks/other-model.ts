import { addNoise } from "../alter.ts";
import { defineAttack } from "../attack.ts";
import { otherEngine } from "../engines.ts";

export const attack = defineAttack({
  id: "other-model",
  group: "weights",
  title: "serves another checkpoint with the same vocabulary",
  expected: "hard finding",
  why: "Every matrix is off by a tenth of its own size, as another training run's checkpoint may be: most replies hold a token that the whitelisted weights would not draw.",
  knobs: { noise: 0.1 },
  prepare: (host, { noise }) => otherEngine(host, addNoise(host.weights, noise, host.dice)),
});
