import { defineAttack } from "../attack.ts";
import { respelling } from "../respell.ts";

/** Characters that look the same: the first three are equal even under Unicode's canonical forms. */
const twins: Readonly<Record<string, string>> = {
  K: "\u212a",
  ";": "\u037e",
  "`": "\u1fef",
  " ": "\u00a0",
};

export const attack = defineAttack({
  id: "other-unicode-forms",
  group: "answers",
  title: "writes letters in another Unicode form",
  expected: "hard finding",
  why: "The recomputer spells the ids itself and compares byte by byte, with nothing normalised.",
  knobs: { share: 0.1 },
  prepare: (host, { share }) =>
    Promise.resolve(
      respelling((text) =>
        Array.from(text, (letter) => {
          if (host.dice.uniform() >= share) return letter;
          return twins[letter] ?? letter.normalize("NFD");
        }).join(""),
      ),
    ),
});
