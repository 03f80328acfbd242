/**
 * A copy of one log on disk, with the newest checkpoint for which it is complete. adapter/disk/mirror.ts implements it for
 * witnesses and for the publisher.
 */

/** A log whose parts can be read: what the tile interface serves from (tiles.ts). */
export interface LogReader {
  /** Entries that count, the root over them, and the note that says so; null before the first. */
  readonly size: number;
  readonly root: Buffer;
  readonly note: Buffer | null;
  /** The bytes of `count` entries from `from` on, which exist. */
  entries(from: number, count: number): Promise<Buffer>;
  /** Root over the leaves [index, index + 1) * 256 * 2^k, which exist. */
  node(k: number, index: number): Buffer;
  /** RFC 9162 consistency proof from the first `from` leaves, at least one, to the first `to`. */
  consistency(from: number, to: number): Promise<Buffer[]>;
}

export interface Mirror extends LogReader {
  /** Entries held aside behind those that count. */
  readonly staged: number;
  /** Adds entries to those held aside. */
  stage(entries: Buffer): Promise<void>;
  /** Root over all entries, those held aside with them. */
  stagedRoot(): Buffer;
  /** Forgets the entries held aside. */
  drop(): Promise<void>;
  /**
   * What is held aside counts from now on: entries durable first, then the note. Throws UnavailableError; then nobody
   * may go on with this mirror.
   */
  commit(note: Buffer): Promise<void>;
  /** Another note for the tree that counts (with more cosignatures), durable. What is held aside stays aside. */
  annotate(note: Buffer): Promise<void>;
  close(): Promise<void>;
}

/** Where entries come from: C2SP entry bundles. */
export interface BundleSource {
  /** The bytes of the bundle's first `width` entries. Throws UnavailableError. */
  bundle(index: number, width: number): Promise<Buffer>;
}
