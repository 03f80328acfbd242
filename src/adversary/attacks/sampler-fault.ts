import { drawToken } from "../../format/noise.ts";
import { defineAttack } from "../attack.ts";
import { drawing } from "../draws.ts";

export const attack = defineAttack({
  id: "sampler-fault",
  group: "partial",
  title: "draws a token in a hundred with other randomness",
  expected: "hard finding",
  why: "Half of the faults change nothing; most others lie nats away, and one is proof. What is seldom takes long: it is found after about 1 / q tokens that are recomputed.",
  knobs: { q: 0.01 },
  prepare: (host, { q }) =>
    Promise.resolve(
      drawing(() => (candidates, params, seed, position) => {
        const faulty = host.dice.uniform() < q;
        return drawToken(candidates, params, faulty ? host.dice.seed() : seed, position);
      }),
    ),
});
