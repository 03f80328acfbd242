import { defineAttack } from "../attack.ts";
import { drawToken } from "../../format/noise.ts";
import { drawing } from "../draws.ts";

export const attack = defineAttack({
  id: "own-randomness",
  group: "sampling",
  title: "draws every token with randomness of its own",
  expected: "hard finding",
  why: "From the right distribution, but not with the gateway's noise: half of the tokens differ, most of them by nats.",
  knobs: {},
  prepare: (host) =>
    Promise.resolve(
      drawing(
        () => (candidates, params, _seed, position) =>
          drawToken(candidates, params, host.dice.seed(), position),
      ),
    ),
});
