/** Sizes of frames as carriers: one token says 0, several say 1. */
import type { Host, Job, Mind, Observed, Received, Receiver } from "./attack.ts";
import { Ballot, type MessageKnobs, Sender } from "./message.ts";
import { until } from "./pauses.ts";

export type FrameKnobs = MessageKnobs & {
  /** Tokens in a frame that says 1. */
  readonly many: number;
  /** Time between frames, at least. */
  readonly paceMs: number;
};

/** Honest tokens, put into frames of the sizes that say the bits. */
export function framing(host: Host, knobs: FrameKnobs): Mind {
  const sender = new Sender(knobs, host.weights);
  return {
    async serve(job, honest) {
      const framer = new Framer(host, knobs, sender, job);
      let finish: "stop" | "length" | null = null;
      await honest(job, {
        sink: {
          ...job.sink,
          tokens: (ids, text) => framer.tokens(ids, text),
          end: (how) => {
            finish = how;
          },
        },
      });
      await framer.flush();
      if (finish !== null && !job.cancelled()) job.sink.end(finish);
    },
  };
}

class Framer {
  readonly #host: Host;
  readonly #knobs: FrameKnobs;
  readonly #sender: Sender;
  readonly #job: Job;
  #ids: number[] = [];
  #text = "";
  #pieces = 0;
  #letters = 0;
  #lastMs = -Infinity;

  constructor(host: Host, knobs: FrameKnobs, sender: Sender, job: Job) {
    this.#host = host;
    this.#knobs = knobs;
    this.#sender = sender;
    this.#job = job;
  }

  async tokens(ids: readonly number[], text: string): Promise<void> {
    this.#ids.push(...ids);
    this.#text += text;
    if (text !== "") this.#pieces++;
    const bit = this.#sender.bit(this.#job.tag, this.#letters);
    if (this.#pieces >= (bit === 0 ? 1 : this.#knobs.many)) await this.flush();
  }

  /** Sends what is held back. */
  async flush(): Promise<void> {
    if (this.#ids.length === 0) return;
    const { clock } = this.#host;
    await until(clock, this.#lastMs + this.#knobs.paceMs);
    if (this.#job.cancelled()) return;
    this.#lastMs = clock.monotonicMs();
    const [ids, text] = [this.#ids, this.#text];
    [this.#ids, this.#text, this.#pieces] = [[], "", 0];
    this.#letters += text.length;
    await this.#job.sink.tokens(ids, text);
  }
}

/** Reads how many tokens came in each piece but the last, which the end cuts. */
export function readFrames(
  observed: readonly Observed[],
  knobs: FrameKnobs,
  receiver: Receiver,
): Promise<Received> {
  const ballot = new Ballot(knobs, receiver.weights);
  for (const { tag, text, chunks } of observed) {
    let letters = 0;
    for (const chunk of chunks.slice(0, -1)) {
      const tokens = receiver.tokenise(chunk.text).length;
      ballot.vote(tag, letters, tokens > (1 + knobs.many) / 2 ? 1 : 0);
      letters += chunk.text.length;
    }
    ballot.seen(receiver.tokenise(text).length);
  }
  return Promise.resolve(ballot.result(observed));
}
