/**
 * A copy of one log on disk, for a witness or the publisher: `entries.log`, an array of 128-byte entries, and
 * `checkpoint`, the note of the newest tree for which it is complete, with the witness's own cosignature.
 *
 * A commit makes entries durable first and replaces the note second, whole or not at all. At start the note must carry
 * the signatures that it was written with, and the entries must hash to its root; bytes behind them were never
 * cosigned and are dropped. Anything else (no note, a note that does not verify, fewer entries, another root) was not
 * left by a crash and is refused: a witness that guesses could cosign a fork.
 *
 * Trust: whoever can write here can put everything back to an older state, and the witness then cosigns what follows
 * from that. It is found by the other party's witness, which refuses the fork, and by the gateway's own signatures.
 */
import { join } from "node:path";
import { assert, InvalidError } from "../../base/assert.ts";
import { groupLeaves, groupsOfConsistency, HashLevels } from "../../base/hash-levels.ts";
import { emptyRoot, leafHash, MerkleFrontier, merkleRoot } from "../../base/merkle.ts";
import { openCheckpoint, type SignedCheckpoint } from "../../format/checkpoint.ts";
import { cosignatureOf } from "../../format/cosignature.ts";
import { leafBytes } from "../../format/leaf.ts";
import type { NoteKey } from "../../format/note.ts";
import type { Mirror } from "../../log/mirror.port.ts";
import { replaceFile, systemDisk, type Disk, type DiskFile } from "./file.ts";

export interface MirrorOptions {
  readonly dir: string;
  readonly log: NoteKey;
  /** The witness whose cosignature every note here carries; null for the publisher, who has none. */
  readonly witness: NoteKey | null;
  readonly disk?: Disk;
}

export interface DiskMirror extends Mirror {
  /** The checkpoint that counts, as found at start, and its cosignature's time in seconds (0 without a witness). */
  readonly found: (SignedCheckpoint & { readonly time: number }) | null;
}

/** What `checkpoint` holds before the first one. */
const unsignedYet = Buffer.from("weir mirror/1: nothing yet\n");

class FileMirror implements DiskMirror {
  readonly found: DiskMirror["found"];
  readonly #disk: Disk;
  readonly #path: string;
  readonly #file: DiskFile;
  readonly #levels: HashLevels;
  #frontier: MerkleFrontier;
  #note: Buffer | null;
  #root: Buffer;
  /** The tree with what is held aside, and the leaf hashes of that. */
  #ahead: MerkleFrontier;
  #aside: Buffer[] = [];

  constructor(
    options: { disk: Disk; path: string; file: DiskFile },
    tree: { levels: HashLevels; frontier: MerkleFrontier },
    found: { note: Buffer | null; checkpoint: DiskMirror["found"] },
  ) {
    this.#disk = options.disk;
    this.#path = options.path;
    this.#file = options.file;
    this.#levels = tree.levels;
    this.#frontier = tree.frontier;
    this.#ahead = tree.frontier.clone();
    this.#root = tree.frontier.root();
    this.#note = found.note;
    this.found = found.checkpoint;
  }

  get size(): number {
    return this.#frontier.size;
  }

  get root(): Buffer {
    return this.#root;
  }

  get note(): Buffer | null {
    return this.#note;
  }

  get staged(): number {
    return this.#aside.length;
  }

  async stage(entries: Buffer): Promise<void> {
    assert(entries.length % leafBytes === 0, "whole entries");
    await this.#file.write([entries], (this.size + this.staged) * leafBytes);
    for (let at = 0; at < entries.length; at += leafBytes) {
      const hash = leafHash(entries.subarray(at, at + leafBytes));
      this.#ahead.append(hash);
      this.#aside.push(hash);
    }
  }

  stagedRoot(): Buffer {
    return this.#ahead.root();
  }

  async drop(): Promise<void> {
    this.#aside = [];
    this.#ahead = this.#frontier.clone();
    await this.#file.truncate(this.size * leafBytes);
  }

  async commit(note: Buffer): Promise<void> {
    if (this.#aside.length > 0) await this.#file.datasync();
    await replaceFile(this.#disk, this.#path, [note]);
    for (const hash of this.#aside) this.#levels.append(hash);
    this.#aside = [];
    this.#frontier = this.#ahead;
    this.#ahead = this.#frontier.clone();
    this.#root = this.#frontier.root();
    this.#note = note;
  }

  async annotate(note: Buffer): Promise<void> {
    await replaceFile(this.#disk, this.#path, [note]);
    this.#note = note;
  }

  async entries(from: number, count: number): Promise<Buffer> {
    assert(from >= 0 && from + count <= this.size, "the entries exist");
    const bytes = Buffer.alloc(count * leafBytes);
    if ((await this.#file.read(bytes, from * leafBytes)) !== bytes.length) {
      throw new InvalidError("mirror.truncated", "the mirror became shorter while it was in use");
    }
    return bytes;
  }

  node(k: number, index: number): Buffer {
    return this.#levels.node(k, index);
  }

  async consistency(from: number, to: number): Promise<Buffer[]> {
    assert(from > 0 && from <= to && to <= this.size, "both trees are held");
    const edge = this.#levels.edge();
    const edgeStart = this.size - edge.length;
    const groups = new Map<number, Buffer[]>();
    for (const group of groupsOfConsistency(from, to)) {
      if (group * groupLeaves < edgeStart) groups.set(group, await this.#group(group));
    }
    return this.#levels.consistency(from, to, (i) => {
      const hash =
        i < edgeStart
          ? groups.get(Math.floor(i / groupLeaves))?.[i % groupLeaves]
          : edge[i - edgeStart];
      assert(hash !== undefined, "a proof needs leaves of the groups that were named only");
      return hash;
    });
  }

  async #group(group: number): Promise<Buffer[]> {
    const bytes = await this.entries(group * groupLeaves, groupLeaves);
    const hashes: Buffer[] = [];
    for (let i = 0; i < groupLeaves; i++) {
      hashes.push(leafHash(bytes.subarray(i * leafBytes, (i + 1) * leafBytes)));
    }
    if (!merkleRoot(hashes).equals(this.#levels.node(0, group))) {
      throw new InvalidError("mirror.altered", "the mirror was changed while it was in use");
    }
    return hashes;
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}

async function load(
  file: DiskFile,
  size: number,
): Promise<{ levels: HashLevels; frontier: MerkleFrontier }> {
  const levels = new HashLevels();
  const frontier = new MerkleFrontier();
  const chunk = Buffer.alloc(8192 * leafBytes);
  for (let at = 0; at < size;) {
    const count = Math.min(8192, size - at);
    const part = chunk.subarray(0, count * leafBytes);
    if ((await file.read(part, at * leafBytes)) !== part.length) {
      throw new InvalidError(
        "mirror.truncated",
        "the mirror has fewer entries than its checkpoint",
      );
    }
    for (let i = 0; i < count; i++) {
      const hash = leafHash(part.subarray(i * leafBytes, (i + 1) * leafBytes));
      frontier.append(hash);
      levels.append(hash);
    }
    at += count;
  }
  return { levels, frontier };
}

/** Throws InvalidError `mirror.checkpoint` unless the note carries the signatures that it was written with. */
function open(note: Buffer, options: MirrorOptions): NonNullable<DiskMirror["found"]> {
  try {
    const checkpoint = openCheckpoint(note, options.log);
    if (options.witness === null) return { ...checkpoint, time: 0 };
    const own = cosignatureOf(checkpoint.note, options.witness);
    if (own !== null) return { ...checkpoint, time: own.time };
  } catch (error) {
    if (!(error instanceof InvalidError)) throw error;
  }
  throw new InvalidError(
    "mirror.checkpoint",
    `the checkpoint in ${options.dir} is damaged, or not of this log and this witness: refused`,
  );
}

async function readNote(disk: Disk, options: MirrorOptions): Promise<Buffer | null> {
  const path = join(options.dir, "checkpoint");
  if (!(await disk.exists(path))) {
    // Made before the entries: those alone were never left by a crash.
    if (await disk.exists(join(options.dir, "entries.log"))) {
      throw new InvalidError(
        "mirror.checkpoint",
        `the mirror in ${options.dir} lost its checkpoint`,
      );
    }
    await replaceFile(disk, path, [unsignedYet]);
    return null;
  }
  const note = await disk.read(path);
  return note.equals(unsignedYet) ? null : note;
}

/**
 * Opens a mirror, making it where there is none. Reads and hashes every entry. Throws InvalidError `mirror.*` (refuse to
 * start; nothing was repaired) and UnavailableError `disk.*`.
 */
export async function openMirror(options: MirrorOptions): Promise<DiskMirror> {
  const disk = options.disk ?? systemDisk;
  await disk.makeDirectory(options.dir);
  const note = await readNote(disk, options);
  const checkpoint = note === null ? null : open(note, options);
  const file = await disk.open(join(options.dir, "entries.log"));
  try {
    await disk.syncDirectory(options.dir);
    const size = checkpoint?.size ?? 0;
    const tree = await load(file, size);
    if (!tree.frontier.root().equals(checkpoint?.root ?? emptyRoot)) {
      throw new InvalidError(
        "mirror.altered",
        `the entries in ${options.dir} do not hash to the root`,
      );
    }
    if ((await file.size()) > size * leafBytes) await file.truncate(size * leafBytes);
    const path = join(options.dir, "checkpoint");
    return new FileMirror({ disk, path, file }, tree, { note, checkpoint });
  } catch (error) {
    await file.close();
    throw error;
  }
}
