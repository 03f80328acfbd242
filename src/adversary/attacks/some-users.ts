import { defineAttack } from "../attack.ts";
import { inShare, promptHash } from "../draws.ts";
import { cheaper } from "../engines.ts";

export const attack = defineAttack({
  id: "some-users",
  group: "partial",
  title: "serves some users from 4-bit weights",
  expected: "hard finding",
  why: "A server sees of its users only what they write, so it picks by that. The recomputer is no user whom it could spare: it recomputes what was served.",
  knobs: { share: 0.2 },
  prepare: (host, { share }) =>
    cheaper(host, ({ prompt }) => inShare(2, promptHash(prompt), share)),
});
