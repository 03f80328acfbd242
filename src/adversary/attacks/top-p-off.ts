import { defineAttack } from "../attack.ts";
import { requesting } from "../draws.ts";

export const attack = defineAttack({
  id: "top-p-off",
  group: "sampling",
  title: "ignores top-p",
  expected: "hard finding",
  why: "A token that top-p cuts cannot be drawn at all. Only requests that set top-p below 1 show it.",
  knobs: {},
  prepare: () =>
    Promise.resolve(
      requesting((request) => ({ ...request, params: { ...request.params, topP: 1 } })),
    ),
});
