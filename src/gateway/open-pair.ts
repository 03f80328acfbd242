/** A pair between its admission and its leaf, and what a tick makes of it. */
import type { FinishReason } from "../format/pair.ts";
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
