import { defineAttack } from "../attack.ts";
import { inShare } from "../draws.ts";
import { cheaper } from "../engines.ts";

export const attack = defineAttack({
  id: "some-requests",
  group: "partial",
  title: "serves a tenth of its requests from 4-bit weights",
  expected: "hard finding",
  why: "The coin that picks pairs for recomputation falls after they are logged, so none can be spared: it takes 1 / beta times as many.",
  knobs: { beta: 0.1 },
  prepare: (host, { beta }) => cheaper(host, ({ tag }) => inShare(1, tag, beta)),
});
