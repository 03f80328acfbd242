/**
 * The leaf: what the pair log holds of one complete pair, spec/leaf.md. Fixed size, so the log file
 * is an array. The leaf hash is RFC 6962's (base/merkle.ts).
 *
 *   "WL" | u8 version 1 | u8 finish | u64 tag | u64 completed, Unix ms | u64 seed |
 *   32 model (whitelist entry digest) | 32 input digest | 32 output digest | u32 tokens
 */
import { InvalidError } from "../base/assert.ts";
import { Reader, Writer } from "../base/bytes.ts";
import { finishReasons, type FinishReason } from "./pair.ts";
import { asTag, type Tag } from "./tag.ts";

export const leafBytes = 128;

export interface Leaf {
  readonly tag: Tag;
  readonly completedMs: number;
  readonly seed: bigint;
  /** SHA-256 of the whitelist entry under which the pair was served. */
  readonly entryDigest: Buffer;
  readonly inputDigest: Buffer;
  readonly outputDigest: Buffer;
  readonly finish: FinishReason;
  readonly tokens: number;
}

export function encodeLeaf(leaf: Leaf): Buffer {
  const out = new Writer(leafBytes);
  out.u8(0x57).u8(0x4c).u8(1).u8(finishReasons.indexOf(leaf.finish));
  out.u64(leaf.tag).u64(BigInt(leaf.completedMs)).u64(leaf.seed);
  out.raw(leaf.entryDigest).raw(leaf.inputDigest).raw(leaf.outputDigest).u32(leaf.tokens);
  return out.bytes();
}

/** The tag of an encoded leaf that this process made itself: nothing else of it is looked at. */
export function tagOfLeaf(leaf: Buffer): Tag {
  return asTag(leaf.readBigUInt64BE(4));
}

/** Parses a leaf; copies its digests. Throws InvalidError `leaf.*`. */
export function decodeLeaf(bytes: Uint8Array): Leaf {
  const from = new Reader(bytes, "leaf");
  if (from.u8() !== 0x57 || from.u8() !== 0x4c || from.u8() !== 1) {
    throw new InvalidError("leaf.magic", "not a version 1 leaf");
  }
  const finish = finishReasons[from.u8()];
  if (finish === undefined) throw new InvalidError("leaf.finish", "unknown finish reason");
  const tag = asTag(from.u64());
  const completedMs = Number(from.u64());
  const seed = from.u64();
  const entryDigest = Buffer.from(from.raw(32));
  const inputDigest = Buffer.from(from.raw(32));
  const outputDigest = Buffer.from(from.raw(32));
  const tokens = from.u32();
  from.end();
  return { tag, completedMs, seed, entryDigest, inputDigest, outputDigest, finish, tokens };
}
