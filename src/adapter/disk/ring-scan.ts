/**
 * Reading a ring's segment files: at start to find what survived, and later for receipts.
 *
 * What a crash may leave: a torn block right after the last whole one of the newest segment, or a
 * torn header of the segment after it. Nothing of either was ever reported durable. Everything else
 * that cannot be read is damage, and sequences are dense, so damage can be counted.
 */
import type { KeyObject } from "node:crypto";
import { assert, InvalidError } from "../../base/assert.ts";
import {
  blockAlign,
  blockHeaderBytes,
  blockKey,
  blockSpan,
  decodeBlockHeader,
  decodeRecords,
  decodeSegmentHeader,
  openBlock,
  segmentKey,
  type BlockHeader,
  type Forgotten,
  type RingRecord,
  type SegmentHeader,
} from "../../format/ring-block.ts";
import type { Tag } from "../../format/tag.ts";
import type { DiskFile } from "./file.ts";

/** What a segment holds, kept in memory for when it is overwritten. */
export interface Summary {
  /** Sequence of its first block. */
  readonly first: bigint;
  /** Pairs that begin in it (input records). */
  readonly inputs: number;
  readonly highest: Tag | null;
  /** Bytes in use, header included. */
  readonly used: number;
}

export interface RingRecovery {
  /** Whole blocks found. */
  readonly blocks: number;
  /** A write was cut short by a crash: normal, and nothing in it was ever released. */
  readonly torn: boolean;
  /** Blocks and segment headers that were durable once and cannot be read now: never normal. */
  readonly damaged: number;
}

export interface RingScan {
  readonly summaries: readonly (Summary | null)[];
  /** Segment to go on writing in, and the offset of its first free sector. */
  readonly segment: number;
  readonly at: number;
  readonly lastSequence: bigint;
  readonly lastEpoch: number;
  readonly forgotten: Forgotten;
  readonly recovered: RingRecovery;
}

export interface FoundBlock {
  readonly at: number;
  readonly header: BlockHeader;
  readonly records: RingRecord[];
}

/** Caches the keys of the salts met so far: one per opening of the ring. */
export function keyCache(derive: (salt: Buffer) => KeyObject): (salt: Buffer) => KeyObject {
  const keys = new Map<string, KeyObject>();
  return (salt) => {
    const name = salt.toString("latin1");
    const key = keys.get(name) ?? derive(salt);
    // Damaged or hostile headers carry salts of no meaning: the cache stays small.
    if (keys.size >= 1024) keys.clear();
    keys.set(name, key);
    return key;
  };
}

function tryOpen(
  bytes: Buffer,
  at: number,
  from: bigint,
  through: bigint,
  keyOf: (salt: Buffer) => KeyObject,
): FoundBlock | null {
  try {
    const { sequence } = decodeBlockHeader(bytes.subarray(at, at + blockHeaderBytes));
    if (sequence < from || sequence > through) return null;
    const { header, plaintext } = openBlock(bytes.subarray(at), keyOf);
    return { at, header, records: decodeRecords(plaintext, header.records) };
  } catch (error) {
    if (error instanceof InvalidError) return null;
    throw error;
  }
}

/**
 * Every readable block of a segment with a sequence in [from, through], in order. A sector that
 * begins none is stepped over: older laps leave such sectors, and so does damage.
 */
export function* walkSegment(
  bytes: Buffer,
  from: bigint,
  through: bigint,
  keyOf: (salt: Buffer) => KeyObject,
): Generator<FoundBlock> {
  let expected = from;
  for (let at = blockAlign; at + blockAlign <= bytes.length;) {
    const found = tryOpen(bytes, at, expected, through, keyOf);
    if (found === null) {
      at += blockAlign;
      continue;
    }
    yield found;
    expected = found.header.sequence + 1n;
    at += blockSpan(found.header.plaintextBytes);
  }
}

const zeroSector = Buffer.alloc(blockAlign);

function isZero(bytes: Buffer, at: number): boolean {
  return at >= bytes.length || bytes.subarray(at, at + blockAlign).equals(zeroSector);
}

/** Adds what a segment holds to what is forgotten. `oldest` is the lowest sequence left. */
export function forget(before: Forgotten, gone: Summary | null, oldest: bigint): Forgotten {
  if (gone === null) return { ...before, oldest };
  const highest = gone.highest;
  const through =
    before.through === null || (highest !== null && highest > before.through)
      ? highest
      : before.through;
  return { oldest, pairs: before.pairs + BigInt(gone.inputs), through };
}

/** Reads a whole segment into `into`. Throws InvalidError `ring.geometry` when it is too short. */
export async function readSegment(file: DiskFile, into: Buffer, index: number): Promise<void> {
  if ((await file.read(into, 0)) !== into.length) {
    throw new InvalidError("ring.geometry", `ring segment ${index} is shorter than it was made`);
  }
}

function checkGeometry(
  header: SegmentHeader,
  index: number,
  segments: number,
  bytes: number,
): void {
  const fits =
    header.index === index && header.segments === segments && header.segmentBytes === bytes;
  if (!fits) {
    throw new InvalidError(
      "ring.geometry",
      `ring segment ${index} was made as ${header.index} of ${header.segments} with ` +
        `${header.segmentBytes} bytes, not of ${segments} with ${bytes}: a ring keeps its size`,
    );
  }
}

/** "zero": never used; null: used, or damaged, but not readable. */
type HeaderState = SegmentHeader | "zero" | null;

async function readHeaders(
  files: readonly DiskFile[],
  segmentBytes: number,
  ringKey: KeyObject,
): Promise<HeaderState[]> {
  const keyOf = keyCache((salt) => segmentKey(ringKey, salt));
  const headers: HeaderState[] = [];
  for (const [index, file] of files.entries()) {
    const size = await file.size();
    if (size !== segmentBytes) {
      throw new InvalidError(
        "ring.geometry",
        `ring segment ${index} has ${size} bytes, expected ${segmentBytes}: a ring keeps its size`,
      );
    }
    const start = Buffer.alloc(2 * blockAlign);
    await file.read(start, 0);
    try {
      const header = decodeSegmentHeader(start.subarray(0, blockAlign), keyOf);
      checkGeometry(header, index, files.length, segmentBytes);
      headers.push(header);
    } catch (error) {
      if (!(error instanceof InvalidError) || error.code === "ring.geometry") throw error;
      headers.push(isZero(start, 0) && isZero(start, blockAlign) ? "zero" : null);
    }
  }
  return headers;
}

interface Newest {
  readonly index: number;
  readonly header: SegmentHeader;
}

function newestOf(headers: readonly HeaderState[]): Newest {
  let newest: Newest | undefined;
  for (const [index, header] of headers.entries()) {
    if (header === null || header === "zero") continue;
    if (newest === undefined || header.first > newest.header.first) newest = { index, header };
  }
  if (newest === undefined) {
    throw new InvalidError(
      "ring.key",
      "no segment of the ring opens with this key: a wrong key, or every header is damaged",
    );
  }
  return newest;
}

const sequenceMax = 2n ** 64n - 1n;

/** One pass over all segments, from the oldest to the newest. */
class Scanner {
  readonly #files: readonly DiskFile[];
  readonly #headers: readonly HeaderState[];
  readonly #bytes: Buffer;
  readonly #keyOf: (salt: Buffer) => KeyObject;
  readonly summaries: (Summary | null)[];
  blocks = 0;
  lastSequence: bigint;
  lastEpoch = 0;
  /** Where the last segment with blocks ends, and whether something unreadable follows. */
  end = blockAlign;
  dirty = false;

  constructor(
    files: readonly DiskFile[],
    headers: readonly HeaderState[],
    segmentBytes: number,
    ringKey: KeyObject,
    oldest: bigint,
  ) {
    this.#files = files;
    this.#headers = headers;
    this.#bytes = Buffer.allocUnsafe(segmentBytes);
    this.#keyOf = keyCache((salt) => blockKey(ringKey, salt));
    this.summaries = headers.map(() => null);
    this.lastSequence = oldest - 1n;
  }

  /**
   * Scans one segment for blocks up to `through`; returns whether it was ever begun. A zero header
   * is believed unless the segment is `suspect`.
   */
  async segment(index: number, through: bigint, suspect = false): Promise<boolean> {
    const header = this.#headers[index];
    const file = this.#files[index];
    assert(header !== undefined && file !== undefined, "the segment exists");
    if (header === "zero" && !suspect) return false;
    await readSegment(file, this.#bytes, index);
    const own = isHeader(header) ? header : null;
    const from = own?.first ?? this.lastSequence + 1n;
    let first = own?.first;
    let inputs = 0;
    let highest: Tag | null = null;
    let end = blockAlign;
    for (const block of walkSegment(this.#bytes, from, through, this.#keyOf)) {
      first ??= block.header.sequence;
      this.blocks++;
      this.lastSequence = block.header.sequence;
      this.lastEpoch = Math.max(this.lastEpoch, block.header.epoch);
      end = block.at + blockSpan(block.header.plaintextBytes);
      for (const record of block.records) {
        if (record.kind === "input") inputs++;
        if (highest === null || record.tag > highest) highest = record.tag;
      }
    }
    if (first === undefined) return false;
    this.summaries[index] = { first, inputs, highest, used: end };
    this.end = end;
    this.dirty = !isZero(this.#bytes, end);
    return true;
  }
}

/** Scans a ring. Throws InvalidError `ring.geometry`, `ring.key`; UnavailableError `disk.*`. */
export async function scanRing(
  files: readonly DiskFile[],
  segmentBytes: number,
  ringKey: KeyObject,
): Promise<RingScan> {
  const headers = await readHeaders(files, segmentBytes, ringKey);
  const newest = newestOf(headers);
  const { now, next } = newest.header;
  // Ring order: the segment after the newest is the oldest, unless its beginning was cut short.
  const order = headers.map((_, i) => (newest.index + 1 + i) % headers.length);
  const after = order[0] ?? 0;
  const unused = headers[after] === "zero" && next.oldest === now.oldest;
  const begun = !isHeader(headers[after]) && !unused;
  const scanner = new Scanner(files, headers, segmentBytes, ringKey, now.oldest);
  let damagedHeaders = 0;
  for (const [i, index] of order.entries()) {
    if (i === 0 && begun) continue;
    if (headers[index] === null) damagedHeaders++;
    await scanner.segment(index, limitOf(headers, order.slice(i + 1)));
  }
  let torn = scanner.dirty;
  let segment = newest.index;
  if (begun) {
    // Blocks in it mean that its header was durable once: then that is damage, not a torn start.
    const used = await scanner.segment(after, sequenceMax, true);
    if (used) segment = after;
    if (used) damagedHeaders++;
    torn = used ? scanner.dirty : true;
  }
  const forgotten = begun ? next : now;
  const last =
    scanner.lastSequence < newest.header.first - 1n
      ? newest.header.first - 1n
      : scanner.lastSequence;
  const missing = last - forgotten.oldest + 1n - BigInt(scanner.blocks);
  return {
    summaries: scanner.summaries,
    segment,
    at: scanner.end,
    lastSequence: last,
    lastEpoch: Math.max(scanner.lastEpoch, newest.header.epoch),
    forgotten,
    recovered: { blocks: scanner.blocks, torn, damaged: Number(missing) + damagedHeaders },
  };
}

function isHeader(header: HeaderState | undefined): header is SegmentHeader {
  return header !== undefined && header !== null && header !== "zero";
}

/** The highest sequence that a segment may hold, given those after it: below the next readable one. */
function limitOf(headers: readonly HeaderState[], following: readonly number[]): bigint {
  for (const index of following) {
    const header = headers[index];
    if (isHeader(header)) return header.first - 1n;
  }
  return sequenceMax;
}
