import { defineAttack } from "../attack.ts";
import { inShare, promptHash } from "../draws.ts";

export const attack = defineAttack({
  id: "unable",
  group: "answers",
  title: "says that it failed where it does not like to answer",
  expected: "not caught",
  why: "A failure has no tokens to recompute. The router asks another server, and the gateway raises its voice only when more than half of the last pairs failed; below that it is a share in the operator's figures.",
  knobs: { share: 0.2 },
  prepare: (_host, { share }) =>
    Promise.resolve({
      serve(job, honest) {
        if (!inShare(3, promptHash(job.prompt), share)) return honest(job);
        job.sink.failed("internal");
        return Promise.resolve();
      },
    }),
});
