/** Pauses between the pieces of a reply as carriers: a short one says 0, a long one 1. */
import type { Clock } from "../base/clock.ts";
import type { Host, Mind, Observed, Received, Receiver } from "./attack.ts";
import { Ballot, type MessageKnobs, Sender } from "./message.ts";

export type PauseKnobs = MessageKnobs & { readonly shortMs: number; readonly longMs: number };

/** Resolves at `dueMs` of the monotonic clock, at once where that has passed. */
export function until(clock: Clock, dueMs: number): Promise<void> {
  const delay = dueMs - clock.monotonicMs();
  if (delay <= 0) return Promise.resolve();
  return new Promise((resolve) => {
    clock.after(delay, resolve);
  });
}

/** Honest tokens, each piece of text held back for the pause that says its bit. */
export function pacing({ clock, weights }: Host, knobs: PauseKnobs): Mind {
  const sender = new Sender(knobs, weights);
  return {
    serve(job, honest) {
      const { sink, tag } = job;
      let [letters, lastMs] = [0, -Infinity];
      return honest(job, {
        sink: {
          ...sink,
          async tokens(ids, text) {
            if (text !== "") {
              const pause = sender.bit(tag, letters) === 0 ? knobs.shortMs : knobs.longMs;
              await until(clock, lastMs + pause);
              if (job.cancelled()) return;
              lastMs = clock.monotonicMs();
              letters += text.length;
            }
            await sink.tokens(ids, text);
          },
        },
      });
    },
  };
}

/** Reads the time between one piece and the next. */
export function readPauses(
  observed: readonly Observed[],
  knobs: PauseKnobs,
  receiver: Receiver,
): Promise<Received> {
  const ballot = new Ballot(knobs, receiver.weights);
  for (const { tag, text, chunks } of observed) {
    let [letters, lastMs] = [0, 0];
    for (const chunk of chunks) {
      const pause = chunk.atMs - lastMs;
      const bit = pause > (knobs.shortMs + knobs.longMs) / 2 ? 1 : 0;
      if (letters > 0) ballot.vote(tag, letters, bit);
      letters += chunk.text.length;
      lastMs = chunk.atMs;
    }
    ballot.seen(receiver.tokenise(text).length);
  }
  return Promise.resolve(ballot.result(observed));
}
