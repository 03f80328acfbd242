/**
 * Stretches of text as carriers: each shows a keyed parity of its letters, which anybody can read who
 * has the key. The sender drafts a stretch, and takes near ties the other way until it fits.
 */
import { scored, textHash } from "./draws.ts";
import type { Job, Mind, Observed, Received, Receiver } from "./attack.ts";
import { emit, followerOf } from "./emit.ts";
import { Ballot, parity, type MessageKnobs, Sender } from "./message.ts";

export type BlockKnobs = MessageKnobs & {
  /** Nats below the winner that a token may lie. */
  readonly gap: number;
  /** UTF-16 units of a stretch. */
  readonly letters: number;
  /** Drafts of one stretch at most. */
  readonly tries: number;
};

/** Ids after which the rest is drawn honestly, and how far below the winners they lie in all. */
interface Path {
  readonly ids: readonly number[];
  readonly cost: number;
}

interface Draft {
  readonly ids: readonly number[];
  readonly text: string;
  /** The output ends in this draft. */
  readonly ended: boolean;
  /** What else could have been tried. */
  readonly forks: readonly Path[];
}

function stretch(text: string, block: number, letters: number): string {
  return text.slice(block * letters, (block + 1) * letters);
}

export function searching(knobs: BlockKnobs, weights: Uint8Array): Mind {
  const sender = new Sender(knobs, weights);
  return {
    async serve(job) {
      job.sink.prompt(job.request.promptIds);
      const sent: number[] = [];
      const follower = followerOf(job);
      for (let block = 0; !job.cancelled(); block++) {
        const bit = sender.bit(job.tag, block);
        const draft = await search(job, sent, block, bit, knobs);
        if (await emit(job, draft.ids, follower)) return;
        sent.push(...draft.ids);
      }
    },
  };
}

/** A draft of the stretch that shows `bit`; the honest one where none was found, or the output ends. */
async function search(
  job: Job,
  sent: readonly number[],
  block: number,
  bit: number,
  knobs: BlockKnobs,
): Promise<Draft> {
  const { letters } = knobs;
  const honest = await draftOf(job, sent, { ids: [], cost: 0 }, (block + 1) * letters, knobs.gap);
  const fits = ({ text }: Draft): boolean =>
    parity(knobs, textHash(stretch(text, block, letters)), block) === bit;
  if (honest.ended || fits(honest)) return honest;
  const open = [...honest.forks];
  for (let tries = 1; tries < knobs.tries && open.length > 0 && !job.cancelled(); tries++) {
    open.sort((a, b) => b.cost - a.cost);
    const path = open.pop();
    if (path === undefined) break;
    const draft = await draftOf(job, sent, path, (block + 1) * letters, knobs.gap);
    if (!draft.ended && fits(draft)) return draft;
    open.push(...draft.forks);
  }
  return honest;
}

/** Goes on after `sent` and `path` with honest draws until the text has `length` letters. */
async function draftOf(
  job: Job,
  sent: readonly number[],
  path: Path,
  length: number,
  gap: number,
): Promise<Draft> {
  const { engine, request, cancelled } = job;
  const ids = [...path.ids];
  const forks: Path[] = [];
  const follower = followerOf(job);
  let [text, ended] = ["", false];
  const take = (id: number): void => {
    const step = follower.push(id);
    text += step.text;
    ended = step.finish !== null;
  };
  for (const id of sent) take(id);
  for (const id of path.ids) {
    if (!ended) take(id);
  }
  if (ended || text.length >= length) return { ids, text, ended, forks };
  const sequence = await engine.open();
  try {
    let next: readonly number[] = [...request.promptIds, ...sent, ...ids];
    while (!ended && text.length < length && !cancelled()) {
      const position = sent.length + ids.length;
      const all = scored(await sequence.next(next), request.params, request.seed, position);
      for (const other of all.slice(1)) {
        if (other.gap > gap) break;
        if (engine.isEndOfGeneration(other.id)) continue;
        forks.push({ ids: [...ids, other.id], cost: path.cost + other.gap });
      }
      const id = all[0]?.id ?? 0;
      ids.push(id);
      take(id);
      next = [id];
    }
  } finally {
    sequence.dispose();
  }
  return { ids, text, ended, forks };
}

/** Reads every whole stretch. */
export function readBlocks(
  observed: readonly Observed[],
  knobs: BlockKnobs,
  receiver: Receiver,
): Promise<Received> {
  const ballot = new Ballot(knobs, receiver.weights);
  for (const { tag, text } of observed) {
    for (let block = 0; (block + 1) * knobs.letters <= text.length; block++) {
      const digest = textHash(stretch(text, block, knobs.letters));
      ballot.vote(tag, block, parity(knobs, digest, block));
    }
    ballot.seen(receiver.tokenise(text).length);
  }
  return Promise.resolve(ballot.result(observed));
}
