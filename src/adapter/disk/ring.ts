/**
 * The encrypted ring of inputs and outputs, spec/ring.md: preallocated segment files, written in
 * order, the oldest overwritten first. A block never spans two segments.
 *
 * Trust: whoever holds these files without the ring key learns sizes and times only. They are
 * trusted for nothing: every block is authenticated, and a missing one shows (sequences are dense).
 * They must not be writable by the server: one who destroys them hides what was said from later
 * disputes, though the leaf log still shows that it was said.
 */
import type { KeyObject } from "node:crypto";
import { join } from "node:path";
import { assert, InvalidError, UnavailableError } from "../../base/assert.ts";
import { limits } from "../../base/limits.ts";
import { randomBytes, type RandomSource } from "../../base/random.ts";
import {
  blockAlign,
  blockHeaderBytes,
  blockKey,
  blockSpan,
  blockTagBytes,
  encodeSegmentHeader,
  recordHeaderBytes,
  ringKinds,
  ringSaltBytes,
  sealBlock,
  segmentKey,
  type Forgotten,
  type RingKind,
  type RingRecord,
} from "../../format/ring-block.ts";
import type { Tag } from "../../format/tag.ts";
import type { Ring, RingStatus } from "../../gateway/store.port.ts";
import { replaceFile, systemDisk, type Disk, type DiskFile } from "./file.ts";
import { RingBatch, type Part } from "./ring-batch.ts";
import { Serial } from "./serial.ts";
import {
  forget,
  keyCache,
  readSegment,
  scanRing,
  walkSegment,
  type RingRecovery,
  type RingScan,
  type Summary,
} from "./ring-scan.ts";

const blockOverhead = blockHeaderBytes + blockTagBytes;

/** The largest payload of any one record: an input, a prompt's ids, or a TOKENS frame. */
export const largestRecord = Math.max(
  8 + limits.input + 4096,
  4 + 4 * limits.tokens,
  8 + 4 * limits.tokensPerFrame + limits.outputText,
);

/**
 * Bytes of ring that one pair can take at worst: the largest input, `tokens` of context, and every
 * token in a block of its own. The ring must be larger, or a pair could overwrite its own beginning.
 */
export function largestPair(tokens: number): number {
  const records =
    blockSpan(recordHeaderBytes + 8 + limits.input + 4096) + blockSpan(4 * tokens + 64);
  return records + tokens * blockAlign + blockSpan(limits.outputText) + 4 * blockAlign;
}

export interface RingOptions {
  readonly dir: string;
  /** The ring's own key, derived from the gateway's root key; never stored beside the data. */
  readonly key: KeyObject;
  /** The boot epoch; must be above that of every block in the ring. */
  readonly epoch: number;
  /** A multiple of 512. */
  readonly segmentBytes: number;
  readonly segments: number;
  readonly random: RandomSource;
  /** Largest payload that `add` will get; default `largestRecord`. */
  readonly recordBytes?: number;
  /** Largest pair; default `largestPair(limits.tokens)`. A gateway gives what its whitelist allows. */
  readonly pairBytes?: number;
  readonly disk?: Disk;
}

/** A ring with what its opening found. */
export interface DiskRing extends Ring {
  readonly recovered: RingRecovery;
}

function checkOptions(options: RingOptions): void {
  const { segmentBytes, segments } = options;
  const record = options.recordBytes ?? largestRecord;
  const pair = options.pairBytes ?? largestPair(limits.tokens);
  const whole = (value: number): boolean => Number.isInteger(value) && value > 0;
  if (!whole(segmentBytes) || segmentBytes % blockAlign !== 0 || segmentBytes > 2 ** 30) {
    throw new InvalidError(
      "ring.config",
      `segmentBytes must be a multiple of ${blockAlign}, to 1 GiB`,
    );
  }
  if (!whole(segments) || segments < 2 || segments > 65_536) {
    throw new InvalidError("ring.config", "segments must be from 2 to 65536");
  }
  if (blockAlign + blockSpan(recordHeaderBytes + record) > segmentBytes) {
    throw new InvalidError(
      "ring.config",
      `segmentBytes is too small for a record of ${record} bytes`,
    );
  }
  if ((segments - 1) * (segmentBytes - blockAlign) < pair) {
    throw new InvalidError(
      "ring.config",
      `a ring of ${segments} segments of ${segmentBytes} bytes cannot hold a pair of ${pair} bytes`,
    );
  }
}

function segmentPath(dir: string, index: number): string {
  return join(dir, `segment-${String(index).padStart(5, "0")}.ring`);
}

class SegmentRing implements DiskRing {
  readonly recovered: RingRecovery;
  readonly #options: RingOptions;
  readonly #files: readonly DiskFile[];
  readonly #salt: Buffer;
  readonly #key: KeyObject;
  readonly #headerKey: KeyObject;
  readonly #summaries: (Summary | null)[];
  #forgotten: Forgotten;
  #segment: number;
  #at: number;
  #sequence: bigint;
  /** `add` fills one batch while `commit` writes the other. */
  #open: RingBatch;
  #spare: RingBatch;
  readonly #commits = new Serial();
  #broken: UnavailableError | null = null;

  constructor(options: RingOptions, files: readonly DiskFile[], salt: Buffer, scan: RingScan) {
    this.recovered = scan.recovered;
    this.#options = options;
    this.#files = files;
    this.#salt = salt;
    this.#key = blockKey(options.key, salt);
    this.#headerKey = segmentKey(options.key, salt);
    this.#summaries = [...scan.summaries];
    this.#forgotten = scan.forgotten;
    this.#segment = scan.segment;
    this.#at = scan.at;
    this.#sequence = scan.lastSequence;
    // Half, because records that do not fit the end of a segment leave it empty.
    const most = ((options.segments - 1) * (options.segmentBytes - blockAlign)) / 2;
    this.#open = new RingBatch(most);
    this.#spare = new RingBatch(most);
  }

  get pending(): number {
    return this.#open.records;
  }

  add(kind: RingKind, tag: Tag, payload: Uint8Array): void {
    if (this.#broken !== null) throw this.#broken;
    const most = this.#options.recordBytes ?? largestRecord;
    assert(payload.length <= most, "a ring record is within its limit");
    this.#open.add(ringKinds.indexOf(kind), tag, payload);
  }

  /** A second call while one is in flight waits for it, then commits what was added since. */
  commit(): Promise<void> {
    // The batch is taken at once when nothing is in flight: what is added later is not in it.
    return this.#commits.run(() => this.#commit());
  }

  async #commit(): Promise<void> {
    if (this.#broken !== null) throw this.#broken;
    const batch = this.#open;
    if (batch.records === 0) return;
    this.#open = this.#spare;
    this.#spare = batch;
    try {
      await this.#write(batch);
    } catch (error) {
      // After a failed write or sync nobody knows what the disk holds: only a restart reads it again.
      const why = error instanceof Error ? error.message : String(error);
      this.#broken = new UnavailableError(
        "ring.commit",
        `the ring cannot be written: ${why}`,
        "unknown",
      );
      throw error instanceof UnavailableError ? this.#broken : error;
    }
    batch.reset();
  }

  async #write(batch: RingBatch): Promise<void> {
    for (let from = 0; from < batch.length;) {
      const room = this.#options.segmentBytes - this.#at - blockOverhead;
      const part = batch.part(from, room);
      if (part === null) {
        await this.#beginSegment();
        continue;
      }
      await this.#writeBlock(batch.bytes(from, part.end), part);
      from = part.end;
    }
  }

  async #writeBlock(plaintext: Buffer, part: Part): Promise<void> {
    const sequence = this.#sequence + 1n;
    const span = blockSpan(plaintext.length);
    const header = {
      epoch: this.#options.epoch,
      sequence,
      salt: this.#salt,
      plaintextBytes: plaintext.length,
      records: part.records,
    };
    const [aad, ciphertext, tag] = sealBlock(this.#key, header, plaintext);
    // A zero sector follows the last block, so that a later scan can tell a clean end from a torn one.
    const end = Math.min(this.#at + span + blockAlign, this.#options.segmentBytes);
    const tail = Buffer.alloc(end - this.#at - aad.length - ciphertext.length);
    tail.set(tag);
    const file = this.#file(this.#segment);
    await file.write([aad, ciphertext, tail], this.#at);
    await file.datasync();
    this.#sequence = sequence;
    this.#at += span;
    this.#note(part);
  }

  #note(part: Part): void {
    const before = this.#summaries[this.#segment];
    assert(before !== undefined && before !== null, "the current segment was begun");
    const highest = before.highest === null || part.highest > before.highest;
    this.#summaries[this.#segment] = {
      first: before.first,
      inputs: before.inputs + part.inputs,
      highest: highest ? part.highest : before.highest,
      used: this.#at,
    };
  }

  /** The lowest sequence left when segments from `from` on, in ring order, up to `last` remain. */
  #oldestFrom(from: number, last: number, otherwise: bigint): bigint {
    const count = this.#files.length;
    for (let i = from % count; i !== last; i = (i + 1) % count) {
      const summary = this.#summaries[i];
      if (summary !== null && summary !== undefined) return summary.first;
    }
    return otherwise;
  }

  /** Makes durable that the next segment is begun and what that forgets, before anything enters it. */
  async #beginSegment(): Promise<void> {
    const { epoch, segments, segmentBytes } = this.#options;
    const index = (this.#segment + 1) % segments;
    const first = this.#sequence + 1n;
    const gone = this.#summaries[index] ?? null;
    const now = forget(this.#forgotten, gone, this.#oldestFrom(index + 1, index, first));
    const later = this.#summaries[(index + 1) % segments] ?? null;
    const next = forget(now, later, this.#oldestFrom(index + 2, index, first));
    const salt = this.#salt;
    const header = encodeSegmentHeader(
      { epoch, salt, index, segments, segmentBytes, first, now, next },
      this.#headerKey,
    );
    const file = this.#file(index);
    await file.write([header, Buffer.alloc(blockAlign)], 0);
    await file.datasync();
    this.#forgotten = now;
    this.#segment = index;
    this.#at = blockAlign;
    this.#summaries[index] = { first, inputs: 0, highest: null, used: blockAlign };
  }

  #file(index: number): DiskFile {
    const file = this.#files[index];
    assert(file !== undefined, "the segment exists");
    return file;
  }

  /**
   * Everything durable when it is called, oldest first, one segment in memory at a time. Segments
   * overwritten meanwhile are left out: they are forgotten.
   */
  async *read(): AsyncGenerator<RingRecord> {
    const through = this.#sequence;
    const keyOf = keyCache((salt) => blockKey(this.#options.key, salt));
    const count = this.#files.length;
    const start = this.#segment + 1;
    for (let i = 0; i < count; i++) {
      const index = (start + i) % count;
      const summary = this.#summaries[index];
      if (summary === null || summary === undefined || summary.first > through) continue;
      const bytes = Buffer.allocUnsafe(this.#options.segmentBytes);
      await readSegment(this.#file(index), bytes, index);
      if (this.#summaries[index]?.first !== summary.first) continue;
      for (const block of walkSegment(bytes, summary.first, through, keyOf)) yield* block.records;
    }
  }

  status(): RingStatus {
    return {
      bytes: this.#summaries.reduce((sum, summary) => sum + (summary?.used ?? 0), 0),
      capacity: this.#options.segments * this.#options.segmentBytes,
      pairsForgotten: Number(this.#forgotten.pairs),
      forgottenThrough: this.#forgotten.through,
    };
  }

  async close(): Promise<void> {
    await this.#commits.idle();
    this.#broken ??= new UnavailableError("ring.closed", "the ring is closed", "none");
    for (const file of this.#files) await file.close();
  }
}

/** Makes the segment files that are not there: zeros, except that the first one begins sequence 1. */
async function makeSegments(options: RingOptions, disk: Disk, salt: Buffer): Promise<void> {
  const { segments, segmentBytes, epoch } = options;
  const zeros = Buffer.alloc(Math.min(segmentBytes, 2 ** 20));
  // The first segment comes last: it is the only one whose presence says that a ring was begun.
  for (let index = segments - 1; index >= 0; index--) {
    if (await disk.exists(segmentPath(options.dir, index))) continue;
    const empty = { oldest: 1n, pairs: 0n, through: null };
    const start = {
      epoch,
      salt,
      index,
      segments,
      segmentBytes,
      first: 1n,
      now: empty,
      next: empty,
    };
    const head =
      index === 0
        ? encodeSegmentHeader(start, segmentKey(options.key, salt))
        : zeros.subarray(0, blockAlign);
    const parts = [head];
    for (let left = segmentBytes - head.length; left > 0; left -= zeros.length) {
      parts.push(zeros.subarray(0, Math.min(left, zeros.length)));
    }
    await replaceFile(disk, segmentPath(options.dir, index), parts);
  }
}

/**
 * Opens the ring in a directory, making it where there is none; preallocated, so that it never needs
 * more disk. Throws InvalidError `ring.config` (options that cannot work), `ring.geometry` (made with
 * another size), `ring.key` (opens with another key), `ring.epoch` (holds blocks of this epoch or a
 * later one: the state file was put back), and UnavailableError `disk.*`.
 */
export async function openRing(options: RingOptions): Promise<DiskRing> {
  checkOptions(options);
  const disk = options.disk ?? systemDisk;
  const salt = randomBytes(options.random, ringSaltBytes);
  await disk.makeDirectory(options.dir);
  await makeSegments(options, disk, salt);
  const files: DiskFile[] = [];
  try {
    for (let i = 0; i < options.segments; i++) {
      files.push(await disk.open(segmentPath(options.dir, i)));
    }
    const scan = await scanRing(files, options.segmentBytes, options.key);
    const fresh = scan.lastSequence === 0n;
    if (fresh ? scan.lastEpoch > options.epoch : scan.lastEpoch >= options.epoch) {
      throw new InvalidError(
        "ring.epoch",
        `the ring was written in epoch ${scan.lastEpoch}, and this boot is epoch ${options.epoch}: ` +
          "the state file is older than the ring",
      );
    }
    return new SegmentRing(options, files, salt, scan);
  } catch (error) {
    for (const file of files) await file.close();
    throw error;
  }
}
