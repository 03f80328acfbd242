import { defineAttack } from "../attack.ts";
import { requesting } from "../draws.ts";

export const attack = defineAttack({
  id: "top-k-off",
  group: "sampling",
  title: "ignores top-k",
  expected: "hard finding",
  why: "A token beyond the k most probable cannot be drawn at all. Requests that leave top-k at the whitelist's maximum show nothing.",
  knobs: {},
  prepare: (host) =>
    Promise.resolve(
      requesting((request) => ({
        ...request,
        params: { ...request.params, topK: host.begin.topKMax },
      })),
    ),
});
