/**
 * The leaf log, spec/leaf.md: an array of 128-byte entries in one file, and a head (size and root)
 * beside it that says how much of it counts. Entries of every kind; tags lead to those of pairs.
 *
 * A commit makes leaves durable first and the head second. So the head never speaks of leaves that
 * are not there, and at start a log that is shorter than its head, or has another root, was cut or
 * changed: that is refused, never repaired. Leaves beyond the head were never reported durable; they
 * are dropped, and recovery appends them again from the ring.
 *
 * Trust: the head carries an HMAC under a key of the gateway's. Whoever holds the disk without it
 * can read digests and tags (no text), and can put back an older log together with its older head;
 * only a copy elsewhere shows that (the recomputer's proof requests, later the witnesses' checkpoints).
 * A thief of the head key can rewrite the log, and again only copies elsewhere show it.
 */
import type { KeyObject } from "node:crypto";
import { join } from "node:path";
import { assert, InvalidError, UnavailableError } from "../../base/assert.ts";
import { equalBytes, Reader, Writer } from "../../base/bytes.ts";
import { hmacSha256 } from "../../base/hash.ts";
import { HashLevels, groupLeaves, groupsOfPath, groupsOfRoot } from "../../base/hash-levels.ts";
import { emptyRoot, leafHash, MerkleFrontier, merkleRoot } from "../../base/merkle.ts";
import {
  decodeLeaf,
  decodeLogEntry,
  kindOfEntry,
  leafBytes,
  tagOfLeaf,
  type Leaf,
} from "../../format/leaf.ts";
import type { Tag } from "../../format/tag.ts";
import type { LeafLog, Mark } from "../../gateway/store.port.ts";
import { replaceFile, systemDisk, type Disk, type DiskFile } from "./file.ts";
import { TagIndex } from "./tag-index.ts";
import { Serial } from "./serial.ts";

export interface LeafLogOptions {
  readonly dir: string;
  /** HMAC key of the head. */
  readonly key: KeyObject;
  readonly disk?: Disk;
}

/** A log with what its opening found. */
export interface DiskLeafLog extends LeafLog {
  /** `dropped`: bytes after the last committed leaf, left by a crash in the middle of a commit. */
  readonly recovered: { readonly size: bigint; readonly dropped: number };
  /** Highest tag of any leaf; null in an empty log. */
  readonly highest: Tag | null;
}

const headMagic = 0x574c4801;
/**
 * Two slots, each a sector of its own, written by turns: where a disk tears a sector after all, the
 * head before it is still there for people to read. The log itself then refuses to open.
 */
const slotBytes = 512;

interface Head {
  readonly generation: bigint;
  readonly size: bigint;
  readonly root: Buffer;
}

function encodeHead(head: Head, key: KeyObject): Buffer {
  const out = new Writer(slotBytes);
  out.u32(headMagic).u64(head.generation).u64(head.size).raw(head.root);
  out.raw(Buffer.alloc(slotBytes - 32 - out.length));
  return out.raw(hmacSha256(key, out.bytes())).bytes();
}

/** Parses one slot; null when it was never written. Throws InvalidError `log.head`. */
function decodeHead(slot: Buffer, key: KeyObject): Head | null {
  if (slot.every((byte) => byte === 0)) return null;
  const body = slot.subarray(0, slotBytes - 32);
  const from = new Reader(body, "log");
  const magic = from.u32();
  const mac = slot.subarray(slotBytes - 32);
  if (magic !== headMagic || !equalBytes(mac, hmacSha256(key, body))) {
    throw new InvalidError("log.head", "the head of the leaf log is damaged, or of another key");
  }
  const generation = from.u64();
  const size = from.u64();
  return { generation, size, root: Buffer.from(from.raw(32)) };
}

/** What the files gave at start. */
interface Loaded {
  readonly levels: HashLevels;
  readonly tags: TagIndex;
  readonly frontier: MerkleFrontier;
  readonly marks: Mark[];
  readonly highest: Tag | null;
  readonly generation: bigint;
  readonly dropped: number;
}

class FileLeafLog implements DiskLeafLog {
  readonly recovered: { readonly size: bigint; readonly dropped: number };
  readonly #leaves: DiskFile;
  readonly #head: DiskFile;
  readonly #key: KeyObject;
  readonly #levels: HashLevels;
  readonly #tags: TagIndex;
  readonly #frontier: MerkleFrontier;
  readonly #marks: Mark[];
  #highest: Tag | null;
  /** Leaves that are durable, and those that are not yet. */
  #durable: number;
  #durableRoot: Buffer;
  #pending: Buffer[] = [];
  #generation: bigint;
  readonly #commits = new Serial();
  #broken: UnavailableError | null = null;

  constructor(files: { leaves: DiskFile; head: DiskFile }, key: KeyObject, loaded: Loaded) {
    this.#leaves = files.leaves;
    this.#head = files.head;
    this.#key = key;
    this.#levels = loaded.levels;
    this.#tags = loaded.tags;
    this.#frontier = loaded.frontier;
    this.#marks = loaded.marks;
    this.#highest = loaded.highest;
    this.#durable = loaded.frontier.size;
    this.#durableRoot = loaded.frontier.root();
    this.#generation = loaded.generation;
    this.recovered = { size: BigInt(this.#durable), dropped: loaded.dropped };
  }

  get size(): bigint {
    return BigInt(this.#frontier.size);
  }

  get durable(): { readonly size: bigint; readonly root: Buffer } {
    return { size: BigInt(this.#durable), root: this.#durableRoot };
  }

  get highest(): Tag | null {
    return this.#highest;
  }

  get pairs(): bigint {
    return this.size - BigInt(this.#marks.length);
  }

  get marks(): readonly Mark[] {
    return this.#marks;
  }

  append(leaf: Buffer): bigint {
    if (this.#broken !== null) throw this.#broken;
    const index = this.#frontier.size;
    if (kindOfEntry(leaf) === "pair") this.#indexPair(tagOfLeaf(leaf), index);
    else {
      const entry = decodeLogEntry(leaf);
      assert(entry.kind !== "pair", "its kind was just looked at");
      this.#marks.push({ index: BigInt(index), entry });
    }
    this.#pending.push(leaf);
    const hash = leafHash(leaf);
    this.#frontier.append(hash);
    this.#levels.append(hash);
    return BigInt(index);
  }

  #indexPair(tag: Tag, index: number): void {
    assert(this.#tags.find(tag) === null, "a tag has at most one leaf");
    this.#tags.set(tag, index);
    if (this.#highest === null || tag > this.#highest) this.#highest = tag;
  }

  commit(): Promise<void> {
    return this.#commits.run(() => this.#commit());
  }

  async #commit(): Promise<void> {
    if (this.#broken !== null) throw this.#broken;
    const count = this.#pending.length;
    if (count === 0) return;
    // Taken now: leaves appended while this commit is in flight belong to the next one.
    const size = this.#durable + count;
    assert(size === this.#frontier.size, "the frontier covers what is durable and what is pending");
    const root = this.#frontier.root();
    const generation = this.#generation + 1n;
    try {
      await this.#leaves.write(this.#pending.slice(0, count), this.#durable * leafBytes);
      await this.#leaves.datasync();
      const head = encodeHead({ generation, size: BigInt(size), root }, this.#key);
      await this.#head.write([head], Number(generation % 2n) * slotBytes);
      await this.#head.datasync();
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      this.#broken = new UnavailableError(
        "log.commit",
        `the leaf log cannot be written: ${why}`,
        "unknown",
      );
      throw error instanceof UnavailableError ? this.#broken : error;
    }
    this.#durable = size;
    this.#durableRoot = root;
    this.#generation = generation;
    this.#pending.splice(0, count);
  }

  root(): Buffer {
    return this.#frontier.root();
  }

  find(tag: Tag): bigint | null {
    const index = this.#tags.find(tag);
    return index === null ? null : BigInt(index);
  }

  async read(index: bigint): Promise<Leaf> {
    assert(index >= 0n && index < this.size, "the leaf exists");
    return decodeLeaf(await this.#bytes(Number(index), 1));
  }

  /** `count` leaves from `start`, one after the other, from the file or from memory. */
  async #bytes(start: number, count: number): Promise<Buffer> {
    const durable = this.#durable;
    // A copy: a commit may finish, and move leaves out of #pending, while the file is read.
    const pending = this.#pending.slice();
    const fromFile = Math.max(0, Math.min(count, durable - start));
    const bytes = Buffer.alloc(count * leafBytes);
    const got = await this.#leaves.read(bytes.subarray(0, fromFile * leafBytes), start * leafBytes);
    if (got !== fromFile * leafBytes) {
      throw new InvalidError("log.truncated", "the leaf log became shorter while it was in use");
    }
    for (let i = fromFile; i < count; i++) {
      const leaf = pending[start + i - durable];
      assert(leaf !== undefined, "the leaf is in the file or pending");
      bytes.set(leaf, i * leafBytes);
    }
    return bytes;
  }

  entries(from: bigint, count: number): Promise<Buffer> {
    const start = Number(from);
    return this.#bytes(start, Math.max(0, Math.min(count, this.#durable - start)));
  }

  async prove(index: bigint, size = this.size): Promise<Buffer[]> {
    assert(index >= 0n && index < size && size <= this.size, "the leaf exists in that tree");
    const leaf = await this.#leafHashes(groupsOfPath(Number(index), Number(size)));
    return this.#levels.path(Number(index), Number(size), leaf);
  }

  async rootAt(size: bigint): Promise<Buffer> {
    assert(size >= 0n && size <= this.size, "the log is that long");
    if (size === 0n) return emptyRoot;
    const leaf = await this.#leafHashes(groupsOfRoot(Number(size)));
    return Buffer.from(this.#levels.range(0, Number(size), leaf));
  }

  /** Leaf hashes of these groups, as the tree stands at the moment of the call. */
  async #leafHashes(groups: readonly number[]): Promise<(index: number) => Buffer> {
    const edge = this.#levels.edge();
    const edgeStart = this.#frontier.size - edge.length;
    const complete = groups.filter((group) => group * groupLeaves < edgeStart);
    const read = new Map<number, Buffer[]>();
    for (const group of complete) read.set(group, await this.#group(group));
    return (i) => {
      const hashes = read.get(Math.floor(i / groupLeaves));
      const hash = i < edgeStart ? hashes?.[i % groupLeaves] : edge[i - edgeStart];
      assert(hash !== undefined, "a proof needs leaves of the groups that were named only");
      return hash;
    };
  }

  /** Leaf hashes of a complete group, read again and checked against what was hashed when it was added. */
  async #group(group: number): Promise<Buffer[]> {
    const bytes = await this.#bytes(group * groupLeaves, groupLeaves);
    const hashes: Buffer[] = [];
    for (let i = 0; i < groupLeaves; i++) {
      hashes.push(leafHash(bytes.subarray(i * leafBytes, (i + 1) * leafBytes)));
    }
    if (!merkleRoot(hashes).equals(this.#levels.groupRoot(group))) {
      throw new InvalidError(
        "log.altered",
        `the leaf log was changed at leaf ${group * groupLeaves} or soon after`,
      );
    }
    return hashes;
  }

  async close(): Promise<void> {
    await this.#commits.idle();
    this.#broken ??= new UnavailableError("log.closed", "the leaf log is closed", "none");
    await this.#leaves.close();
    await this.#head.close();
  }
}

/** The newer of the two slots. Throws InvalidError `log.head`. */
async function readHead(file: DiskFile, key: KeyObject): Promise<Head> {
  const bytes = Buffer.alloc(2 * slotBytes);
  if ((await file.read(bytes, 0)) !== bytes.length) {
    throw new InvalidError("log.head", "the head of the leaf log is too short");
  }
  const slots = [0, 1].map((i) =>
    decodeHead(bytes.subarray(i * slotBytes, (i + 1) * slotBytes), key),
  );
  let newest: Head | undefined;
  for (const slot of slots) {
    if (slot !== null && (newest === undefined || slot.generation > newest.generation))
      newest = slot;
  }
  if (newest === undefined) throw new InvalidError("log.head", "the head of the leaf log is empty");
  return newest;
}

/** Hashes and indexes the leaves that the head covers. Throws InvalidError `log.*`, `leaf.*`. */
async function load(leaves: DiskFile, head: Head): Promise<Loaded> {
  const bytes = await leaves.size();
  const size = Number(head.size);
  if (bytes < size * leafBytes) {
    throw new InvalidError(
      "log.truncated",
      `the leaf log has ${bytes} bytes, but its head speaks of ${size} leaves: it was cut`,
    );
  }
  const levels = new HashLevels();
  const tags = new TagIndex();
  const frontier = new MerkleFrontier();
  const marks: Mark[] = [];
  let highest: Tag | null = null;
  const chunk = Buffer.alloc(8192 * leafBytes);
  for (let at = 0; at < size;) {
    const count = Math.min(8192, size - at);
    const part = chunk.subarray(0, count * leafBytes);
    if ((await leaves.read(part, at * leafBytes)) !== part.length) {
      throw new InvalidError("log.truncated", "the leaf log ends too early");
    }
    for (let i = 0; i < count; i++) {
      const leaf = part.subarray(i * leafBytes, (i + 1) * leafBytes);
      const hash = leafHash(leaf);
      frontier.append(hash);
      levels.append(hash);
      const entry = decodeLogEntry(leaf);
      if (entry.kind !== "pair") {
        marks.push({ index: BigInt(at + i), entry });
        continue;
      }
      const { tag } = entry;
      if (tags.find(tag) !== null) {
        throw new InvalidError("log.altered", `leaf ${at + i} repeats the tag of an earlier one`);
      }
      tags.set(tag, at + i);
      if (highest === null || tag > highest) highest = tag;
    }
    at += count;
  }
  if (!equalBytes(frontier.root(), head.root)) {
    throw new InvalidError("log.altered", "the leaves do not hash to the root in the head");
  }
  const dropped = bytes - size * leafBytes;
  return { levels, tags, frontier, marks, highest, generation: head.generation, dropped };
}

/**
 * Opens the leaf log in a directory, making it where there is none. Reads and hashes every leaf
 * (about 3 us each). Throws InvalidError `log.head` (damaged, lost, or of another key),
 * `log.truncated`, `log.altered`, `leaf.*`; UnavailableError `disk.*`.
 */
export async function openLeafLog(options: LeafLogOptions): Promise<DiskLeafLog> {
  const disk = options.disk ?? systemDisk;
  const { key, dir } = options;
  await disk.makeDirectory(dir);
  const leavesPath = join(dir, "leaves.log");
  const headPath = join(dir, "leaves.head");
  if (!(await disk.exists(headPath))) {
    // The head is made first, so leaves without a head were never left by a crash.
    if (await disk.exists(leavesPath)) {
      throw new InvalidError("log.head", "the leaf log has lost its head file");
    }
    const first = encodeHead({ generation: 0n, size: 0n, root: emptyRoot }, key);
    await replaceFile(disk, headPath, [first, Buffer.alloc(slotBytes)]);
  }
  const leaves = await disk.open(leavesPath);
  const head = await disk.open(headPath);
  try {
    await disk.syncDirectory(dir);
    const loaded = await load(leaves, await readHead(head, key));
    if (loaded.dropped > 0) {
      await leaves.truncate(loaded.frontier.size * leafBytes);
      await leaves.datasync();
    }
    return new FileLeafLog({ leaves, head }, key, loaded);
  } catch (error) {
    await leaves.close();
    await head.close();
    throw error;
  }
}
