/**
 * Tokens as carriers of bits: each shows a keyed parity of its id and of where its text ends, which
 * whoever has the model's tokenizer reads off the reply. No seed and no distribution is needed.
 */
import type { Engine } from "../server/engine.port.ts";
import type { Draw } from "../server/generate.ts";
import type { Job, Mind, Observed, Received, Receiver } from "./attack.ts";
import { scored } from "./draws.ts";
import { Ballot, parity, type MessageKnobs, Sender } from "./message.ts";

/** Follows where each token's text ends, in UTF-16 units of the output. */
class Places {
  readonly #speller: ReturnType<Engine["speller"]>;
  #end = 0;

  constructor(engine: Engine) {
    this.#speller = engine.speller();
  }

  /** Where the output ends with `id`. */
  push(id: number): number {
    this.#end += this.#speller.push(id).length;
    return this.#end;
  }
}

/** How far a sender may go for a bit. */
export interface Reach {
  /** Nats of logit below the winner. */
  readonly gap: number;
  /** Candidates, best first. */
  readonly rank: number;
}

/** Sends in every token that has a fitting candidate within reach; the others show what they show. */
export function carrying(knobs: MessageKnobs, weights: Uint8Array, reach: Reach): Mind {
  const sender = new Sender(knobs, weights);
  return {
    serve: (job, honest) => honest(job, { draw: carryingDraw(job, sender, knobs, reach) }),
  };
}

function carryingDraw(job: Job, sender: Sender, knobs: MessageKnobs, reach: Reach): Draw {
  const { engine, tag } = job;
  const lengths = new Map<number, number>();
  const lengthOf = (id: number): number => {
    let length = lengths.get(id);
    if (length === undefined) {
      length = engine.speller().push(id).length;
      lengths.set(id, length);
    }
    return length;
  };
  const places = new Places(engine);
  let end = 0;
  return (candidates, params, seed, position, history) => {
    const last = history.at(-1);
    if (last !== undefined) end = places.push(last);
    const all = scored(candidates, params, seed, position);
    const winner = all[0]?.id ?? 0;
    // The end of a reply is no carrier: its token has no text.
    if (engine.isEndOfGeneration(winner)) return winner;
    const fitting = all.slice(0, reach.rank).find(({ id, gap }) => {
      if (gap > reach.gap || engine.isEndOfGeneration(id)) return false;
      const place = end + lengthOf(id);
      return parity(knobs, id, place) === sender.bit(tag, place);
    });
    return fitting?.id ?? winner;
  };
}

/** Reads the tokens of each reply as its text's own tokenisation gives them. */
export function readCarriers(
  observed: readonly Observed[],
  knobs: MessageKnobs,
  receiver: Receiver,
): Promise<Received> {
  const ballot = new Ballot(knobs, receiver.weights);
  for (const { tag, text } of observed) {
    const ids = receiver.tokenise(text);
    const places = new Places(receiver.engine);
    for (const id of ids) {
      const place = places.push(id);
      ballot.vote(tag, place, parity(knobs, id, place));
    }
    ballot.seen(ids.length);
  }
  return Promise.resolve(ballot.result(observed));
}
