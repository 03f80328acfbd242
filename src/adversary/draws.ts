/** What the sampling and steganography attacks share: scores under the noise law, minds made of a draw. */
import {
  drawToken,
  gumbel,
  supportSize,
  type Candidates,
  type DrawParams,
} from "../format/noise.ts";
import type { Prompt } from "../format/pair.ts";
import type { Draw, GenerateRequest } from "../server/generate.ts";
import { hash32 } from "./dice.ts";
import type { Job, Mind } from "./attack.ts";

/** Honest but for how it draws. */
export function drawing(draw: (job: Job) => Draw): Mind {
  return { serve: (job, honest) => honest(job, { draw: draw(job) }) };
}

/** Honest but for the parameters and the seed that it draws with. */
export function requesting(change: (request: GenerateRequest, job: Job) => GenerateRequest): Mind {
  return { serve: (job, honest) => honest(job, { request: change(job.request, job) }) };
}

export interface Scored {
  readonly id: number;
  /** Nats of logit below the winner, noise included: the margin this token will be found with. */
  readonly gap: number;
}

/** The kept candidates, best first: the first is what the honest server draws. */
export function scored(
  candidates: Candidates,
  params: DrawParams,
  seed: bigint,
  position: number,
): Scored[] {
  const { temperature } = params;
  const kept = temperature === 0 ? params.topK : supportSize(candidates, params);
  const all = Array.from({ length: Math.min(kept, candidates.ids.length) }, (_, i) => {
    const id = candidates.ids[i] ?? 0;
    const noise = temperature === 0 ? 0 : temperature * gumbel(seed, position, id);
    return { id, z: (candidates.logProbs[i] ?? -Infinity) + noise };
  });
  all.sort((a, b) => b.z - a.z || a.id - b.id);
  const best = all[0]?.z ?? 0;
  return all.map(({ id, z }) => ({ id, gap: best - z }));
}

/** A 32-bit hash of texts (FNV-1a over UTF-16 units): only spread is needed. */
export function textHash(...texts: readonly string[]): number {
  let hash = 0x811c9dc5;
  for (const text of texts) {
    for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  }
  return hash >>> 0;
}

/** A hash of what a prompt says, for attacks that pick their victims by it. */
export function promptHash(prompt: Prompt): number {
  if (prompt.kind === "text") return textHash(prompt.text);
  return textHash(...prompt.messages.map(({ content }) => content));
}

/** Whether a number falls into a share of all numbers, by a hash. */
export function inShare(key: number, value: bigint | number, share: number): boolean {
  const big = BigInt(value);
  return (
    hash32(key, Number(big & 0xffff_ffffn), Number((big >> 32n) & 0xffff_ffffn)) < share * 2 ** 32
  );
}

/** Draws honestly among candidates whose logits were changed by `change(id, logProb)`. */
export function drawChanged(
  candidates: Candidates,
  change: (id: number, logProb: number) => number,
  params: DrawParams,
  seed: bigint,
  position: number,
): number {
  const all = Array.from(candidates.ids, (id, i) => ({
    id,
    logProb: change(id, candidates.logProbs[i] ?? -Infinity),
  }));
  all.sort((a, b) => b.logProb - a.logProb || a.id - b.id);
  const changed = { ids: all.map(({ id }) => id), logProbs: all.map(({ logProb }) => logProb) };
  return drawToken(changed, params, seed, position);
}
