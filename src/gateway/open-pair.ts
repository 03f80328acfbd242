/** A pair between its admission and its leaf, and what a tick makes of it. */
import { Writer } from "../base/bytes.ts";
import { sha256 } from "../base/hash.ts";
import { encodeLeaf, inputDigestOf, startOutputDigest } from "../format/leaf.ts";
import type { FinishReason } from "../format/pair.ts";
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
  /** The release tick of its admission, then of the last sign of it that left; number of the grid's point. */
  signTick: number;
  /** ADMITTED was sent. */
  announced: boolean;
  /** Bytes of its text that are durable, and that were released. */
  durable: number;
  released: number;
  /** Set when the pair is over; its leaf is due at the next tick. */
  over: { readonly finish: FinishReason; readonly abort: Abort | null } | null;
  /** Set once its leaf was appended, and once all of it is durable. */
  leaf: LoggedLeaf | null;
  complete: boolean;
  /** It has news for the next commit; for the next release. */
  dirty: boolean;
  ready: boolean;
}

export interface LoggedLeaf {
  readonly index: bigint;
  readonly leaf: Buffer;
  readonly finish: FinishReason;
}

/** What one commit makes durable of one pair. */
export interface Part {
  readonly pair: OpenPair;
  /** Bytes of its text, from the start. */
  readonly text: number;
  readonly complete: boolean;
}

/** Encoded outputs are laid out here to be hashed, one at a time. */
const scratch = new Writer(65_536);

/** The leaf of a pair that is over; `salt` is its own. */
export function leafOf(
  pair: OpenPair,
  finish: FinishReason,
  salt: Buffer,
  entryDigest: Buffer,
  completedMs: number,
): Buffer {
  const { tag, seed, assembler } = pair;
  scratch.reset();
  startOutputDigest(scratch, salt);
  assembler.write(scratch, finish);
  const inputDigest = inputDigestOf(salt, pair.input);
  const outputDigest = sha256(scratch.bytes());
  const tokens = assembler.tokenCount;
  const digests = { entryDigest, inputDigest, outputDigest };
  return encodeLeaf({ tag, completedMs, seed, ...digests, finish, tokens });
}

/** The proof request of a kept pair. */
export function requestOf(pair: OpenPair, { index, leaf, finish }: LoggedLeaf): Buffer {
  const output = new Writer();
  pair.assembler.write(output, finish);
  const { input } = pair;
  return encodeProofRequest({ leafIndex: index, leaf, input, output: output.bytes() });
}
