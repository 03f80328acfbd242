import { defineAttack } from "../attack.ts";
import { respelling } from "../respell.ts";

/** Zero-width space, non-joiner, word joiner. */
const invisible = ["\u200b", "\u200c", "\u2060"];

export const attack = defineAttack({
  id: "invisible-characters",
  group: "answers",
  title: "puts invisible characters into the text",
  expected: "hard finding",
  why: "The recomputer spells the ids itself and compares byte by byte.",
  knobs: { share: 0.1 },
  prepare: (host, { share }) =>
    Promise.resolve(
      respelling((text) =>
        Array.from(text, (letter) =>
          letter === " " && host.dice.uniform() < share
            ? letter + (invisible[host.dice.word() % invisible.length] ?? "")
            : letter,
        ).join(""),
      ),
    ),
});
