import { defineAttack } from "../attack.ts";
import { drawChanged, drawing } from "../draws.ts";

export const attack = defineAttack({
  id: "repetition-penalty",
  group: "sampling",
  title: "hides a repetition penalty",
  expected: "hard finding",
  why: "Common words come again within a few dozen tokens, and each is put back by `nats`: a token is found that lies up to that far from the draw.",
  knobs: { nats: 0.5, window: 64 },
  prepare: (_host, { nats, window }) =>
    Promise.resolve(
      drawing(() => (candidates, params, seed, position, history) => {
        const recent = new Set(history.slice(-window));
        const change = (id: number, logProb: number): number =>
          recent.has(id) ? logProb - nats : logProb;
        return drawChanged(candidates, change, params, seed, position);
      }),
    ),
});
