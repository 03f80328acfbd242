import { defineAttack } from "../attack.ts";

export const attack = defineAttack({
  id: "truncated-context",
  group: "sampling",
  title: "reads only the end of each prompt",
  expected: "hard finding",
  why: "It claims all of the prompt's ids, so the recomputer computes with all. Prompts of at most `keep` tokens show nothing.",
  knobs: { keep: 8 },
  prepare: (_host, { keep }) =>
    Promise.resolve({
      serve: (job, honest) =>
        honest(job, { evaluated: job.request.promptIds.slice(-Math.max(1, keep)) }),
    }),
});
