import { defineAttack } from "../attack.ts";
import { switchingEngine } from "../engines.ts";
import { requantise } from "../requantise.ts";

export const attack = defineAttack({
  id: "late-tokens",
  group: "partial",
  title: "goes on with 4-bit weights late in a reply",
  expected: "hard finding",
  why: "Every token of a kept pair is recomputed, the late ones as well. Replies shorter than `after` are honest.",
  knobs: { after: 32 },
  async prepare(host, { after }) {
    const other = await host.open(requantise(host.weights, "Q4_0"));
    return {
      serve: (job, honest) => honest(job, { engine: switchingEngine(job.engine, other, after) }),
      close: () => other.close(),
    };
  },
});
