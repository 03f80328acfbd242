/**
 * Payloads between a recomputer and its executor, spec/executor.md. The recomputer does not believe
 * the executor: these few forms, strictly checked, are all that is ever read from it.
 */
import { InvalidError } from "../base/assert.ts";
import { Reader, Writer } from "../base/bytes.ts";
import { limits } from "../base/limits.ts";
import type { Candidates } from "./noise.ts";

export const executorLimits = {
  /** Sequences that advance together. */
  slots: 256,
  /** Candidates of one position. */
  candidates: 131_072,
} as const;

/** SLOT_READY, executor -> recomputer: the model is loaded. */
export interface ExecutorReady {
  readonly slots: number;
  readonly vocabularySize: number;
  /** Prompt and output together, per slot. */
  readonly contextTokens: number;
}

export function encodeReady(ready: ExecutorReady): Buffer {
  const { slots, vocabularySize, contextTokens } = ready;
  return new Writer(12).u32(slots).u32(vocabularySize).u32(contextTokens).bytes();
}

export function decodeReady(bytes: Uint8Array): ExecutorReady {
  const from = new Reader(bytes, "slot-ready");
  const slots = from.count(executorLimits.slots);
  const vocabularySize = from.u32();
  const contextTokens = from.u32();
  from.end();
  if (slots === 0 || vocabularySize === 0 || contextTokens === 0) {
    throw new InvalidError("slot-ready.zero", "an executor has slots, tokens and a context");
  }
  return { slots, vocabularySize, contextTokens };
}

/** SLOT_OPEN, recomputer -> executor; id = slot. */
export interface SlotOpen {
  /** Candidates wanted at each position. */
  readonly count: number;
  readonly promptIds: ArrayLike<number>;
}

export function encodeOpen({ count, promptIds }: SlotOpen): Buffer {
  return new Writer(8 + 4 * promptIds.length).u32(count).ids(promptIds).bytes();
}

export function decodeOpen(bytes: Uint8Array): SlotOpen {
  const from = new Reader(bytes, "slot-open");
  const count = from.count(executorLimits.candidates);
  const promptIds = from.ids(limits.tokens);
  from.end();
  if (count === 0 || promptIds.length === 0) {
    throw new InvalidError("slot-open.empty", "candidates are wanted after at least one token");
  }
  return { count, promptIds };
}

/** SLOT_STEP, recomputer -> executor; id = number of the step, from 1. */
export interface SlotMove {
  readonly slot: number;
  /** null in a slot's first move. */
  readonly token: number | null;
}

export function encodeStep(moves: readonly SlotMove[]): Buffer {
  const out = new Writer(4 + 9 * moves.length).u32(moves.length);
  for (const { slot, token } of moves)
    out
      .u32(slot)
      .u8(token === null ? 0 : 1)
      .u32(token ?? 0);
  return out.bytes();
}

/** Each slot at most once, and at least one. */
export function decodeStep(bytes: Uint8Array): SlotMove[] {
  const from = new Reader(bytes, "slot-step");
  const moves: SlotMove[] = [];
  const seen = new Set<number>();
  for (let left = from.count(executorLimits.slots); left > 0; left--) {
    const slot = from.count(executorLimits.slots - 1);
    const flag = from.u8();
    const token = from.u32();
    if (flag > 1 || (flag === 0 && token !== 0)) {
      throw new InvalidError("slot-step.token", "a move has a token or none");
    }
    if (seen.has(slot)) throw new InvalidError("slot-step.twice", `slot ${slot} moves twice`);
    seen.add(slot);
    moves.push({ slot, token: flag === 0 ? null : token });
  }
  from.end();
  if (moves.length === 0) throw new InvalidError("slot-step.empty", "a step moves a slot");
  return moves;
}

/** SLOT_CANDIDATES, executor -> recomputer; id = slot. Logits are float32, as llama.cpp has them. */
export function encodeCandidates({ ids, logProbs }: Candidates): Buffer {
  const logits = Float32Array.from(logProbs);
  const bits = new Uint32Array(logits.buffer);
  return new Writer(8 + 8 * ids.length).ids(ids).ids(bits).bytes();
}

/** What the next position's candidates must look like to be believed at all. */
export interface CandidatesExpected {
  readonly count: number;
  readonly vocabularySize: number;
}

/**
 * Exactly `count` tokens of the vocabulary, none twice, by falling logit, ties by rising id; the
 * first logit finite, none of them NaN or above all numbers. Throws InvalidError `candidates.*`.
 */
export function decodeCandidates(bytes: Uint8Array, expected: CandidatesExpected): Candidates {
  const { count, vocabularySize } = expected;
  const from = new Reader(bytes, "candidates");
  const ids = from.ids(count);
  const bits = from.ids(count);
  from.end();
  if (ids.length !== count || bits.length !== count) {
    throw new InvalidError("candidates.count", `${count} candidates are due, ${ids.length} came`);
  }
  const logProbs = Float64Array.from(new Float32Array(bits.buffer));
  if (!Number.isFinite(logProbs[0])) {
    throw new InvalidError("candidates.logit", "the highest logit is no finite number");
  }
  checkOrder(ids, logProbs);
  for (const id of ids) {
    if (id < vocabularySize) continue;
    throw new InvalidError("candidates.token", `there is no token ${id}`);
  }
  if (new Set(ids).size !== count) throw new InvalidError("candidates.twice", "a token came twice");
  return { ids, logProbs };
}

function checkOrder(ids: Uint32Array, logits: Float64Array): void {
  for (let i = 1; i < ids.length; i++) {
    const [before, logit] = [logits[i - 1] ?? 0, logits[i] ?? 0];
    // So written, a NaN is found too.
    const falls = logit < before || (logit === before && (ids[i] ?? 0) > (ids[i - 1] ?? 0));
    if (!falls) throw new InvalidError("candidates.order", `candidate ${i} is out of order`);
  }
}
