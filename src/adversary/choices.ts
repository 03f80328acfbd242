/**
 * Near ties as symbols, for a receiver who computes the candidates itself and knows the seed: of 2^b
 * candidates within the gap, which one was taken says b bits.
 */
import type { Engine } from "../server/engine.port.ts";
import type { Candidates, DrawParams } from "../format/noise.ts";
import type { Mind, Observed, Received, Receiver } from "./attack.ts";
import { scored } from "./draws.ts";
import { Ballot, type MessageKnobs, Sender } from "./message.ts";

export type ChoiceKnobs = MessageKnobs & { readonly gap: number };

/** Most bits of one position, and so places per position. */
const bitsMax = 4;

interface Drawn {
  readonly params: DrawParams;
  readonly seed: bigint;
  readonly position: number;
}

/**
 * What a position offers, best first, in a number that is a power of two; only the winner where there
 * is no choice. No piece begins another, so that the text alone tells which one was taken.
 */
function choicesOf(engine: Engine, candidates: Candidates, drawn: Drawn, gap: number): number[] {
  const { params, seed, position } = drawn;
  const near = scored(candidates, params, seed, position).filter((each) => each.gap <= gap);
  const chosen: { id: number; piece: string }[] = [];
  for (const { id } of near) {
    const piece = engine.isEndOfGeneration(id) ? "" : engine.speller().push(id);
    // A winner without text of its own is no carrier; others without are left out.
    if (piece === "" && chosen.length === 0) return [id];
    const clear = (other: string): boolean => !other.startsWith(piece) && !piece.startsWith(other);
    if (piece !== "" && chosen.every((other) => clear(other.piece))) chosen.push({ id, piece });
  }
  const bits = Math.min(bitsMax, Math.floor(Math.log2(Math.max(1, chosen.length))));
  return chosen.slice(0, 2 ** bits).map(({ id }) => id);
}

/** Takes the choice that says the next bits, wherever there is one. */
export function choosing(knobs: ChoiceKnobs, weights: Uint8Array): Mind {
  const sender = new Sender(knobs, weights);
  return {
    serve: ({ engine, tag, ...job }, honest) =>
      honest(
        { engine, tag, ...job },
        {
          draw: (candidates, params, seed, position) => {
            const choices = choicesOf(engine, candidates, { params, seed, position }, knobs.gap);
            let index = 0;
            for (let bit = 0; 2 ** (bit + 1) <= choices.length; bit++) {
              index += sender.bit(tag, position * bitsMax + bit) * 2 ** bit;
            }
            return choices[index] ?? 0;
          },
        },
      ),
  };
}

/** Follows each reply's text with the model, position by position. */
export async function readChoices(
  observed: readonly Observed[],
  knobs: ChoiceKnobs,
  receiver: Receiver,
): Promise<Received> {
  const ballot = new Ballot(knobs, receiver.weights);
  for (const each of observed) await readReply(each, knobs, receiver.engine, ballot);
  return ballot.result(observed);
}

async function readReply(
  { tag, prompt, text, seed, params }: Observed,
  { gap }: ChoiceKnobs,
  engine: Engine,
  ballot: Ballot,
): Promise<void> {
  const sequence = await engine.open();
  const speller = engine.speller();
  let ids: readonly number[] = engine.promptIds(prompt);
  let room = engine.contextTokens - ids.length;
  try {
    for (let [position, at] = [0, 0]; at < text.length && room > 0; position++, room--) {
      const candidates = await sequence.next(ids);
      const choices = choicesOf(engine, candidates, { params, seed, position }, gap);
      const index = choices.findIndex((id) => text.startsWith(engine.speller().push(id), at));
      const id = choices[index];
      // Text that no choice spells: a stop string cut it, or the server took another way.
      if (id === undefined) return;
      for (let bit = 0; 2 ** (bit + 1) <= choices.length; bit++) {
        ballot.vote(tag, position * bitsMax + bit, (index >> bit) & 1);
      }
      ballot.seen(1);
      at += speller.push(id).length;
      ids = [id];
    }
  } finally {
    sequence.dispose();
  }
}
