import { drawToken } from "../../format/noise.ts";
import { defineAttack } from "../attack.ts";

export const attack = defineAttack({
  id: "unable-after-cheating",
  group: "answers",
  title: "cheats, and fails at the last moment to escape the audit",
  expected: "hard finding",
  why: "A pair that was cut off is logged and drawn for recomputation like any other, with the tokens that came. That it fails every one shows to the gateway as well.",
  knobs: {},
  prepare: (host) =>
    Promise.resolve({
      serve: (job, honest) =>
        honest(job, {
          draw: (candidates, params, _seed, position) =>
            drawToken(candidates, params, host.dice.seed(), position),
          sink: {
            ...job.sink,
            end: () => {
              job.sink.failed("internal");
            },
          },
        }),
    }),
});
