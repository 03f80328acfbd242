/**
 * What a gateway keeps on disk, as ports. adapter/disk and adapter/sqlite implement them.
 *
 *   ring    inputs and outputs, encrypted, fixed size; durable before a byte leaves; forgets oldest
 *   log     one leaf per complete pair, for ever
 *   outbox  kept pairs on their way to a recomputer; bounded; never drops
 *   state   boot epoch, orders that stand: some bytes, replaced atomically
 */
import type { Leaf, LogEntry } from "../format/leaf.ts";
import type { RingKind, RingRecord } from "../format/ring-block.ts";
import type { Tag } from "../format/tag.ts";
import type { TrustSeen } from "../format/trust-memory.ts";

export type { RingKind, RingRecord } from "../format/ring-block.ts";

export interface RingStatus {
  readonly bytes: number;
  readonly capacity: number;
  readonly pairsForgotten: number;
  /** Highest tag of which at least one record was overwritten; null when none was. */
  readonly forgottenThrough: Tag | null;
}

/** Fixed-size encrypted ring. One writer. */
export interface Ring {
  /** Adds a record to the open batch: a memory copy, nothing durable yet. */
  add(kind: RingKind, tag: Tag, payload: Uint8Array): void;
  /** Records in the open batch. */
  readonly pending: number;
  /**
   * Seals the batch as one or more encrypted blocks, writes them and makes them durable with one
   * fdatasync. Never runs twice at once. Rejects with UnavailableError (effect unknown): the
   * gateway then kills power and stops.
   */
  commit(): Promise<void>;
  /** Everything readable, oldest first, as found at start: for recovery and for receipts. */
  read(): AsyncIterable<RingRecord>;
  status(): RingStatus;
  close(): Promise<void>;
}

/** An entry of the log that is no pair. */
export interface Mark {
  readonly index: bigint;
  readonly entry: Exclude<LogEntry, { kind: "pair" }>;
}

/** Append-only log of leaves and marks. One writer. */
export interface LeafLog {
  /** Entries of every kind, durable or not; how many of them are pairs. */
  readonly size: bigint;
  readonly pairs: bigint;
  /** Entries that are no pairs, durable or not, oldest first. */
  readonly marks: readonly Mark[];
  /** Adds an entry (memory only) and returns its index. The bytes may not change afterwards. */
  append(leaf: Buffer): bigint;
  /** Makes appended leaves durable; no-op when there are none. */
  commit(): Promise<void>;
  /** RFC 6962 root over all leaves, durable or not. */
  root(): Buffer;
  /** Where the leaf of a tag stands; null when there is none. */
  find(tag: Tag): bigint | null;
  /** The leaf of a pair. Throws InvalidError `leaf.kind` where another entry stands. */
  read(index: bigint): Promise<Leaf>;
  /** Size and root of the leaves that are durable: the tree that a checkpoint may speak of. */
  readonly durable: { readonly size: bigint; readonly root: Buffer };
  /** RFC 6962 root over the first `size` leaves. Throws InvalidError `log.altered`. */
  rootAt(size: bigint): Promise<Buffer>;
  /** Inclusion proof of `index` in the tree of the first `size` leaves (all, if left out), bottom first. */
  prove(index: bigint, size?: bigint): Promise<Buffer[]>;
  /** The bytes of at most `count` durable leaves from `from` on, one after the other. */
  entries(from: bigint, count: number): Promise<Buffer>;
  close(): Promise<void>;
}

export interface OutboxItem {
  readonly tag: Tag;
  /** An encoded ProofRequest (format/proof-request.ts). */
  readonly request: Buffer;
}

export interface SettledItem {
  readonly tag: Tag;
  /** One word: `pass` or `fail`. */
  readonly verdict: string;
}

/** Durable queue of kept pairs. Payloads are encrypted at rest. */
export interface Outbox {
  readonly capacity: number;
  readonly waiting: number;
  /** Whether `pairs` more items of `bytes` in all would fit. */
  roomFor(pairs: number, bytes: number): boolean;
  /**
   * All at once or none; durable when it returns. A tag that was ever put is ignored. Throws
   * UnavailableError `outbox.full` when they do not fit, unless `overfull`: recovery may not drop what
   * was kept, and until a verdict makes room nothing new is admitted.
   */
  put(items: readonly OutboxItem[], overfull?: boolean): void;
  /** Whether a tag was ever put (settled or not). */
  knows(tag: Tag): boolean;
  /** The item of a tag; null when it is settled, or was never put. */
  find(tag: Tag): OutboxItem | null;
  /** Unsettled items with a tag above `after` (null: from the start), by rising tag. */
  list(after: Tag | null, max: number): OutboxItem[];
  /**
   * Verdicts came: their payloads are erased, the tags remembered with them; one transaction. Again
   * with the same verdict: nothing. Throws InvalidError `outbox.unknown`, or `outbox.settled` when
   * another came before; then none of the list is settled.
   */
  settle(verdicts: readonly SettledItem[]): void;
  /** The verdict a tag was settled with, or null. */
  verdictOf(tag: Tag): string | null;
  close(): void;
}

export interface StoredHalt {
  readonly digest: string;
  readonly reason: string;
  readonly sinceMs: number;
}

/** A halt, and whose it is: one key's halts never keep another's out. */
export interface StandingHalt extends StoredHalt {
  /** Public key that signed it, 64 hex digits; "" of one that an older version stored. */
  readonly signer: string;
}

/** A raised epsilon. */
export interface StoredSample extends StoredHalt {
  readonly epsilon: number;
}

/** A recheck of the ring, under way or done. */
export interface StoredRecheck extends StoredHalt {
  /** Pairs with a higher tag came after the order. */
  readonly through: Tag;
  /** Pairs that were sent because of it, and that could not be, for the ring had forgotten part of them. */
  readonly sent: number;
  readonly lost: number;
  /** How many pairs there were to send when it began, those that the ring forgot since among them; null: not counted yet. */
  readonly of: number | null;
  readonly done: boolean;
}

/** What signed orders have laid on this gateway. */
export interface StandingOrders {
  /** Oldest first. Any one of them stops the server; each ends by its own release alone. */
  readonly halts: readonly StandingHalt[];
  readonly quarantine: StoredHalt | null;
  readonly sample: StoredSample | null;
  readonly recheck: StoredRecheck | null;
}

/** Releases that were obeyed and that the recomputer has not answered: the ORDER payloads, as signed. */
export interface UntoldRelease {
  readonly digest: string;
  readonly sealed: Buffer;
}

/** One change of the state; what is left out stays. */
export interface StateChange extends Partial<StandingOrders> {
  /** The newest root and whitelist that were accepted. */
  readonly trust?: TrustSeen;
  /** Digests of orders that were released. */
  readonly released?: readonly string[];
  readonly untold?: UntoldRelease;
  /** The recomputer has answered this release. */
  readonly told?: string;
}

/** Small state, each write atomic and durable before it returns. */
export interface StateFile extends StandingOrders {
  /** Takes the next boot epoch: strictly above every earlier one, durable when it resolves. */
  nextEpoch(): Promise<number>;
  /** The newest root and whitelist that were accepted here; null: none yet. */
  readonly trust: TrustSeen | null;
  /** Digests of orders that were released: they are not obeyed again. */
  readonly released: ReadonlySet<string>;
  /** Oldest first. */
  readonly untold: readonly UntoldRelease[];
  change(change: StateChange): Promise<void>;
}

export interface GatewayStore {
  readonly ring: Ring;
  readonly log: LeafLog;
  readonly outbox: Outbox;
  readonly state: StateFile;
}
