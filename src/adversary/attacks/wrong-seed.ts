import { defineAttack } from "../attack.ts";
import { requesting } from "../draws.ts";

/** XORed into the seed: any other constant would do. */
const seedChange = 0x5eed_5eed_5eed_5eedn;

export const attack = defineAttack({
  id: "wrong-seed",
  group: "sampling",
  title: "draws with another seed than the gateway's",
  expected: "hard finding",
  why: "The gateway records the seed that it gave; the tokens do not follow from it.",
  knobs: {},
  prepare: () =>
    Promise.resolve(requesting((request) => ({ ...request, seed: request.seed ^ seedChange }))),
});
