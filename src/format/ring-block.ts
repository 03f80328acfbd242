/**
 * Blocks and segment headers of the gateway's encrypted ring, spec/ring.md. Pure: bytes in, records
 * out.
 *
 *   block    "WRB" | u8 version 1 | u32 epoch | u64 sequence | 16 salt | u32 plaintext bytes |
 *            u32 records | AES-256-GCM ciphertext | 16 tag            (the first 40 bytes are the AAD)
 *   record   u8 kind | u64 tag | u32 payload bytes | payload
 *   segment  "WRS" | u8 version 1 | u32 epoch | 16 salt | u32 index | u32 segments |
 *            u32 segment bytes | u64 first sequence | what is forgotten now | and next | zeros |
 *            32 HMAC-SHA256 over the 480 bytes before it
 *
 * Trust: the ring key is the gateway's alone. A thief of the disk without it learns how many bytes
 * were recorded when, and nothing of any pair; he can destroy blocks (seen: sequences are dense) or
 * put back an older image of the whole ring (not seen here; the epoch and the leaf log see it). A
 * thief of the key reads every pair still in the ring and can forge blocks, but no leaf.
 */
import { createCipheriv, createDecipheriv, type KeyObject } from "node:crypto";
import { InvalidError } from "../base/assert.ts";
import { equalBytes, Reader, Writer } from "../base/bytes.ts";
import { deriveKey, hmacSha256 } from "../base/hash.ts";
import { asTag, type Tag } from "./tag.ts";

/** Payloads: input = u64 seed + encoded Input; prompt, tokens, end = the link payloads as received;
 * coin = one byte, 1 kept, 0 not kept. */
export const ringKinds = ["input", "prompt", "tokens", "end", "coin"] as const;
export type RingKind = (typeof ringKinds)[number];

export interface RingRecord {
  readonly kind: RingKind;
  readonly tag: Tag;
  readonly payload: Buffer;
}

/** Blocks start at multiples of this many bytes: one sector of a disk, written whole or not at all. */
export const blockAlign = 512;
export const blockHeaderBytes = 40;
export const blockTagBytes = 16;
export const ringSaltBytes = 16;
/** Bytes of a record before its payload. */
export const recordHeaderBytes = 13;

const blockMagic = 0x57524201;
const segmentMagic = 0x57525301;
const macAt = blockAlign - 32;

export interface BlockHeader {
  readonly epoch: number;
  /** Dense and strictly rising across the life of the ring: each block is one more. */
  readonly sequence: bigint;
  /** Chosen afresh at each opening of the ring; with the ring key it gives the block key. */
  readonly salt: Buffer;
  readonly plaintextBytes: number;
  readonly records: number;
}

/** Bytes that a block of this much plaintext takes on disk, padding included. */
export function blockSpan(plaintextBytes: number): number {
  const bytes = blockHeaderBytes + plaintextBytes + blockTagBytes;
  return Math.ceil(bytes / blockAlign) * blockAlign;
}

/** The AES-256 key of the blocks written under `salt`: HKDF-SHA256 of the ring key. */
export function blockKey(ringKey: KeyObject, salt: Uint8Array): KeyObject {
  return deriveKey(ringKey, salt, "weir ring/1");
}

/** The HMAC key of the segment headers written under `salt`. */
export function segmentKey(ringKey: KeyObject, salt: Uint8Array): KeyObject {
  return deriveKey(ringKey, salt, "weir ring/1 segment");
}

/** The 40 bytes that open a block and are its additional authenticated data. */
export function encodeBlockHeader(header: BlockHeader): Buffer {
  const out = new Writer(blockHeaderBytes);
  out.u32(blockMagic).u32(header.epoch).u64(header.sequence).raw(header.salt);
  return out.u32(header.plaintextBytes).u32(header.records).bytes();
}

/** Parses the first 40 bytes of a block; nothing in them is authenticated yet. Throws InvalidError `ring.*`. */
export function decodeBlockHeader(bytes: Uint8Array): BlockHeader {
  const from = new Reader(bytes, "ring");
  if (from.u32() !== blockMagic) throw new InvalidError("ring.magic", "not a version 1 ring block");
  const epoch = from.u32();
  const sequence = from.u64();
  const salt = from.raw(ringSaltBytes);
  const plaintextBytes = from.u32();
  const records = from.u32();
  return { epoch, sequence, salt, plaintextBytes, records };
}

/** 4 zero bytes, then the sequence: never used twice under one salt, because sequences rise. */
function blockNonce(sequence: bigint): Buffer {
  const nonce = Buffer.alloc(12);
  nonce.writeBigUInt64BE(sequence, 4);
  return nonce;
}

/**
 * Encrypts `plaintext` (whole records) under `key` = blockKey(ring key, header.salt). Returns the
 * parts in the order in which they go to disk, without padding: header, ciphertext, tag.
 */
export function sealBlock(
  key: KeyObject,
  header: BlockHeader,
  plaintext: Uint8Array,
): readonly [header: Buffer, ciphertext: Buffer, tag: Buffer] {
  const aad = encodeBlockHeader(header);
  const cipher = createCipheriv("aes-256-gcm", key, blockNonce(header.sequence), {
    authTagLength: blockTagBytes,
  });
  cipher.setAAD(aad);
  const ciphertext = cipher.update(plaintext);
  cipher.final();
  return [aad, ciphertext, cipher.getAuthTag()];
}

/**
 * Decrypts the block that `bytes` begins with (what follows it is ignored). `keyOf` gives the block
 * key for a salt. Nothing of the plaintext is returned before its tag was checked. Throws
 * InvalidError `ring.*`.
 */
export function openBlock(
  bytes: Buffer,
  keyOf: (salt: Buffer) => KeyObject,
): { readonly header: BlockHeader; readonly plaintext: Buffer } {
  const header = decodeBlockHeader(bytes);
  const end = blockHeaderBytes + header.plaintextBytes;
  if (end + blockTagBytes > bytes.length) {
    throw new InvalidError("ring.truncated", "a ring block ends too early");
  }
  const nonce = blockNonce(header.sequence);
  const decipher = createDecipheriv("aes-256-gcm", keyOf(header.salt), nonce, {
    authTagLength: blockTagBytes,
  });
  decipher.setAAD(bytes.subarray(0, blockHeaderBytes));
  decipher.setAuthTag(bytes.subarray(end, end + blockTagBytes));
  const plaintext = decipher.update(bytes.subarray(blockHeaderBytes, end));
  try {
    decipher.final();
  } catch {
    throw new InvalidError("ring.sealed", "a ring block fails its authentication");
  }
  return { header, plaintext };
}

/** Parses the records of an opened block; payloads are views of `plaintext`. Throws InvalidError `ring.*`. */
export function decodeRecords(plaintext: Uint8Array, count: number): RingRecord[] {
  const from = new Reader(plaintext, "ring");
  if (count > plaintext.length / recordHeaderBytes) {
    throw new InvalidError("ring.records", "a ring block is too short for its records");
  }
  const records: RingRecord[] = [];
  for (let i = 0; i < count; i++) {
    const kind = ringKinds[from.u8()];
    if (kind === undefined) throw new InvalidError("ring.kind", "unknown record kind");
    const tag = asTag(from.u64());
    records.push({ kind, tag, payload: from.blob(plaintext.length) });
  }
  from.end();
  return records;
}

/** What a ring no longer holds. */
export interface Forgotten {
  /** Lowest sequence that the ring still holds. */
  readonly oldest: bigint;
  /** Pairs whose first record (their input) was overwritten. */
  readonly pairs: bigint;
  /** Highest tag of which a record was overwritten; null when none was. */
  readonly through: Tag | null;
}

export interface SegmentHeader {
  readonly epoch: number;
  readonly salt: Buffer;
  readonly index: number;
  readonly segments: number;
  readonly segmentBytes: number;
  /** Sequence of the first block in this segment. */
  readonly first: bigint;
  /** Forgotten since this segment was begun. */
  readonly now: Forgotten;
  /** What will be forgotten once the segment after this one is begun: should its header be torn. */
  readonly next: Forgotten;
}

function writeForgotten(out: Writer, forgotten: Forgotten): void {
  out
    .u64(forgotten.oldest)
    .u64(forgotten.pairs)
    .u64(forgotten.through ?? 0n);
}

function readForgotten(from: Reader): Forgotten {
  const oldest = from.u64();
  const pairs = from.u64();
  const through = from.u64();
  return { oldest, pairs, through: through === 0n ? null : asTag(through) };
}

/** One sector: the header, zeros, and an HMAC under `key` = segmentKey(ring key, header.salt). */
export function encodeSegmentHeader(header: SegmentHeader, key: KeyObject): Buffer {
  const out = new Writer(blockAlign);
  out.u32(segmentMagic).u32(header.epoch).raw(header.salt);
  out.u32(header.index).u32(header.segments).u32(header.segmentBytes).u64(header.first);
  writeForgotten(out, header.now);
  writeForgotten(out, header.next);
  out.raw(Buffer.alloc(macAt - out.length));
  return out.raw(hmacSha256(key, out.bytes())).bytes();
}

/** Parses and authenticates one sector. Throws InvalidError `ring.*`. Copies what it keeps. */
export function decodeSegmentHeader(
  bytes: Uint8Array,
  keyOf: (salt: Buffer) => KeyObject,
): SegmentHeader {
  if (bytes.length !== blockAlign) {
    throw new InvalidError("ring.truncated", "a ring segment's header is one sector");
  }
  const from = new Reader(bytes, "ring");
  if (from.u32() !== segmentMagic) {
    throw new InvalidError("ring.segment-magic", "not a version 1 ring segment");
  }
  const epoch = from.u32();
  const salt = Buffer.from(from.raw(ringSaltBytes));
  const index = from.u32();
  const segments = from.u32();
  const segmentBytes = from.u32();
  const first = from.u64();
  const now = readForgotten(from);
  const next = readForgotten(from);
  const mac = hmacSha256(keyOf(salt), bytes.subarray(0, macAt));
  if (!equalBytes(bytes.subarray(macAt), mac)) {
    throw new InvalidError("ring.segment-mac", "a ring segment's header fails its authentication");
  }
  return { epoch, salt, index, segments, segmentBytes, first, now, next };
}
