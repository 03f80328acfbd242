import { defineAttack } from "../attack.ts";
import { requesting } from "../draws.ts";

export const attack = defineAttack({
  id: "seed-reused",
  group: "sampling",
  title: "draws every reply with the seed of the first",
  expected: "hard finding",
  why: "The first reply is honest; each later one has a seed of its own in the gateway's record.",
  knobs: {},
  prepare() {
    let first: bigint | null = null;
    return Promise.resolve(
      requesting((request) => {
        first ??= request.seed;
        return { ...request, seed: first };
      }),
    );
  },
});
