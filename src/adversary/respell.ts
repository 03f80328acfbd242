/** Minds whose text is not what their ids spell. */
import type { Mind } from "./attack.ts";

/** Honest ids; each piece of text goes through `change`. */
export function respelling(change: (text: string) => string): Mind {
  return {
    serve: (job, honest) =>
      honest(job, {
        sink: { ...job.sink, tokens: (ids, text) => job.sink.tokens(ids, change(text)) },
      }),
  };
}
