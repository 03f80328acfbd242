import { defineAttack } from "../attack.ts";
import { requesting } from "../draws.ts";

export const attack = defineAttack({
  id: "temperature-high",
  group: "sampling",
  title: "draws at a temperature a tenth hotter than asked for",
  expected: "evidence",
  why: "About one token in fifteen differs, by a fraction of a nat: seldom proof, quickly evidence. Nothing differs where the temperature asked for is 0.",
  knobs: { factor: 1.1 },
  prepare: (_host, { factor }) =>
    Promise.resolve(
      requesting(({ params, ...request }) => ({
        ...request,
        params: { ...params, temperature: params.temperature * factor },
      })),
    ),
});
