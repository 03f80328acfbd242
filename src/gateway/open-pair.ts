/** A pair between its admission and its leaf, and what a tick makes of it. */
import { sha256 } from "../base/hash.ts";
import { encodeLeaf } from "../format/leaf.ts";
import { encodeOutput, type FinishReason } from "../format/pair.ts";
import { encodeProofRequest } from "../format/proof-request.ts";
import type { Abort } from "../format/router-link.ts";
import type { Tag } from "../format/tag.ts";
import type { Wire } from "../format/wire.ts";
import type { PairAssembler } from "./pair.ts";

export interface OpenPair {
  readonly tag: Tag;
  readonly seed: bigint;
  readonly requestId: bigint;
  readonly router: Wire;
  readonly input: Buffer;
  readonly assembler: PairAssembler;
  readonly deadlineMs: number;
  /** ADMITTED was sent. */
  announced: boolean;
  /** Text recorded in the ring but not yet released. */
  text: string;
  /** Set when the pair is over; its leaf is due at the next tick. */
  over: { readonly finish: FinishReason; readonly abort: Abort | null } | null;
  dirty: boolean;
}

export interface LoggedLeaf {
  readonly index: bigint;
  readonly leaf: Buffer;
  readonly output: Buffer;
}

/** What one tick lets out of one pair. */
export interface Part {
  readonly pair: OpenPair;
  readonly text: string;
  readonly over: OpenPair["over"];
  readonly leaf: LoggedLeaf | null;
}

/** The leaf of a pair that is over, and the encoded output that it commits to. */
export function leafOf(
  pair: OpenPair,
  finish: FinishReason,
  entryDigest: Buffer,
  completedMs: number,
): { readonly leaf: Buffer; readonly output: Buffer } {
  const { tag, seed, assembler } = pair;
  const output = encodeOutput(assembler.output(finish));
  const inputDigest = sha256(pair.input);
  const outputDigest = sha256(output);
  const tokens = assembler.tokenCount;
  const digests = { entryDigest, inputDigest, outputDigest };
  return { leaf: encodeLeaf({ tag, completedMs, seed, ...digests, finish, tokens }), output };
}

/** The proof request of a kept pair. */
export function requestOf(pair: OpenPair, { index, leaf, output }: LoggedLeaf): Buffer {
  return encodeProofRequest({ leafIndex: index, leaf, input: pair.input, output });
}
