import { drawToken } from "../../format/noise.ts";
import { defineAttack } from "../attack.ts";

export const attack = defineAttack({
  id: "ends-early",
  group: "answers",
  title: "ends its replies early",
  expected: "hard finding",
  why: "A reply that says stop without the token that stops it has an end that does not follow from its ids. With `claimEnd` = 1 it claims that token, which must then be what the seed draws there.",
  knobs: { after: 16, claimEnd: 0 },
  prepare: (_host, { after, claimEnd }) =>
    Promise.resolve({
      serve(job, honest) {
        const { engine, sink } = job;
        if (claimEnd !== 0) {
          return honest(job, {
            draw: (candidates, params, seed, position) => {
              const ends = Array.from(candidates.ids).find((id) => engine.isEndOfGeneration(id));
              if (position >= after && ends !== undefined) return ends;
              return drawToken(candidates, params, seed, position);
            },
          });
        }
        let [count, over] = [0, false];
        const cut = {
          ...sink,
          async tokens(ids: readonly number[], text: string): Promise<void> {
            await sink.tokens(ids, text);
            count += ids.length;
            over = count >= after && !ids.some((id) => engine.isEndOfGeneration(id));
            if (over && !job.cancelled()) sink.end("stop");
          },
        };
        return honest({ ...job, cancelled: () => over || job.cancelled() }, { sink: cut });
      },
    }),
});
