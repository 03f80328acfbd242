/**
 * The mirror of a party that takes part in the draw: it takes no entry that `refusesEntry` (share.ts) has something
 * against, so that a log with such an entry is never cosigned. It knows which round the log opened last from the
 * mirror itself: nothing else has to be kept in step with it.
 */
import { InvalidError } from "../base/assert.ts";
import { leafBytes } from "../format/leaf.ts";
import type { Mirror } from "./mirror.port.ts";
import { lastOpened, roundOpened, type DrawShares } from "./share.ts";

class VettedMirror implements Mirror {
  readonly #mirror: Mirror;
  readonly #refuses: (opened: bigint, entry: Buffer) => string | null;
  /** Round opened last by what counts, and by that with what is held aside; null: not looked yet. */
  #opened: { readonly counts: bigint; readonly ahead: bigint } | null = null;

  constructor(mirror: Mirror, refuses: (opened: bigint, entry: Buffer) => string | null) {
    this.#mirror = mirror;
    this.#refuses = refuses;
  }

  get size(): number {
    return this.#mirror.size;
  }

  get root(): Buffer {
    return this.#mirror.root;
  }

  get note(): Buffer | null {
    return this.#mirror.note;
  }

  get staged(): number {
    return this.#mirror.staged;
  }

  /** As Mirror; besides throws InvalidError `witness.draw`, and then holds none of these entries aside. */
  async stage(entries: Buffer): Promise<void> {
    const { counts, ahead } = await this.#look();
    let opened = ahead;
    for (let at = 0; at < entries.length; at += leafBytes) {
      const entry = entries.subarray(at, at + leafBytes);
      const why = this.#refuses(opened, entry);
      if (why !== null) throw new InvalidError("witness.draw", why);
      opened = roundOpened(entry) ?? opened;
    }
    await this.#mirror.stage(entries);
    this.#opened = { counts, ahead: opened };
  }

  async #look(): Promise<{ readonly counts: bigint; readonly ahead: bigint }> {
    if (this.#opened !== null) return this.#opened;
    const counts = await lastOpened({
      size: this.#mirror.size,
      entries: (from, count) => this.#mirror.entries(from, count),
    });
    this.#opened = { counts, ahead: counts };
    return this.#opened;
  }

  stagedRoot(): Buffer {
    return this.#mirror.stagedRoot();
  }

  async drop(): Promise<void> {
    await this.#mirror.drop();
    if (this.#opened !== null) this.#opened = { ...this.#opened, ahead: this.#opened.counts };
  }

  async commit(note: Buffer): Promise<void> {
    await this.#mirror.commit(note);
    if (this.#opened !== null) this.#opened = { ...this.#opened, counts: this.#opened.ahead };
  }

  annotate(note: Buffer): Promise<void> {
    return this.#mirror.annotate(note);
  }

  entries(from: number, count: number): Promise<Buffer> {
    return this.#mirror.entries(from, count);
  }

  node(k: number, index: number): Buffer {
    return this.#mirror.node(k, index);
  }

  consistency(from: number, to: number): Promise<Buffer[]> {
    return this.#mirror.consistency(from, to);
  }

  close(): Promise<void> {
    return this.#mirror.close();
  }
}

/** Wraps a mirror that holds nothing aside yet. `deviceKey`: the gateway's; without shares no round is looked at. */
export function vetted(mirror: Mirror, deviceKey: string, shares: DrawShares | null): Mirror {
  if (shares === null) return mirror;
  return new VettedMirror(mirror, (opened, entry) => shares.refuses(deviceKey, opened, entry));
}
