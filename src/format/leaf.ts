/**
 * The entries of a gateway's log, spec/leaf.md: 128 bytes each, so the log file is an array. The first
 * three bytes tell the kind and its version. The leaf hash is RFC 6962's (base/merkle.ts).
 *
 *   "WL" 2 | u8 finish | u64 tag | u64 completed, Unix ms | u64 seed |
 *          32 model (whitelist entry digest) | 32 input digest | 32 output digest | u32 tokens
 *   "WR" 1 | u8 0 | u64 round | u64 Unix ms | 32 c_G | 32 c_A | 32 c_B | u64 threshold | 4 zeros
 *   "WV" 1 | u8 0 | u64 round | u64 Unix ms | 32 s_G | 32 s_A | 32 s_B | 12 zeros
 *   "WB" 1 | u8 0 | u64 Unix ms | u32 epoch | u32 boot | 32 device key | 32 measurement | 32 whitelist | 12 zeros
 */
import type { KeyObject } from "node:crypto";
import { InvalidError } from "../base/assert.ts";
import { Reader, Writer } from "../base/bytes.ts";
import { hmacOf, hmacSha256, sha256 } from "../base/hash.ts";
import { finishReasons, type FinishReason } from "./pair.ts";
import { asTag, type Tag } from "./tag.ts";

export const leafBytes = 128;

/** A pair that was begun: whole, or cut off. */
export interface Leaf {
  readonly tag: Tag;
  readonly completedMs: number;
  readonly seed: bigint;
  /** SHA-256 of the whitelist entry under which the pair was served. */
  readonly entryDigest: Buffer;
  /** Salted digests: `inputDigestOf`, `outputDigestOf`. */
  readonly inputDigest: Buffer;
  readonly outputDigest: Buffer;
  readonly finish: FinishReason;
  readonly tokens: number;
}

/** A round of the joint draw is agreed (spec/draw.md): three commitments, and the share to keep. */
export interface RoundOpen {
  /** From 1, rising by one at each gateway. */
  readonly round: bigint;
  readonly atMs: number;
  /** Commitments of the gateway and of parties A and B; 32 bytes each. */
  readonly gateway: Buffer;
  readonly a: Buffer;
  readonly b: Buffer;
  /** Epsilon x 2^53, from 0 to 2^53: a coin keeps its pair when its first 53 bits are below it. */
  readonly threshold: bigint;
}

/** A round is over: the three secrets behind its commitments; 32 bytes each. */
export interface RoundReveal {
  readonly round: bigint;
  readonly atMs: number;
  readonly gateway: Buffer;
  readonly a: Buffer;
  readonly b: Buffer;
}

/** A gateway started. */
export interface BootEntry {
  readonly atMs: number;
  readonly epoch: number;
  readonly boot: number;
  /** Its device key (gateway/identity.ts): 32 bytes, Ed25519. */
  readonly deviceKey: Buffer;
  /** Digest of the boot manifest; zeros: it was not measured. */
  readonly measurement: Buffer;
  /** SHA-256 of the whitelist's envelope as read at this start. */
  readonly whitelist: Buffer;
}

export type LogEntry =
  | ({ readonly kind: "pair" } & Leaf)
  | ({ readonly kind: "round-open" } & RoundOpen)
  | ({ readonly kind: "round-reveal" } & RoundReveal)
  | ({ readonly kind: "boot" } & BootEntry);

export type LogEntryKind = LogEntry["kind"];

/** The magic and version of each kind. */
const kinds: readonly (readonly [LogEntryKind, number, number])[] = [
  ["pair", 0x4c, 2],
  ["round-open", 0x52, 1],
  ["round-reveal", 0x56, 1],
  ["boot", 0x42, 1],
];

/** 2^53: the threshold that keeps every pair. */
export const thresholdMax = 1n << 53n;

const saltLabel = Buffer.from("weir leaf salt/1");
const inputLabel = Buffer.from("i");
const outputLabel = Buffer.from("o");

/** The message whose HMAC-SHA256 under the epoch key is the salt of a pair. */
function saltMessage(tag: Tag): Buffer {
  const message = Buffer.alloc(saltLabel.length + 8);
  message.set(saltLabel);
  message.writeBigUInt64BE(tag, saltLabel.length);
  return message;
}

/** The salt of a pair's digests: HMAC-SHA256(epoch key, "weir leaf salt/1" || u64 tag); 32 bytes. */
export function saltOf(epochKey: KeyObject, tag: Tag): Buffer {
  return hmacSha256(epochKey, saltMessage(tag));
}

/** `saltOf` under one key, for many pairs. */
export function salterOf(epochKey: KeyObject): (tag: Tag) => Buffer {
  const hmac = hmacOf(epochKey, saltLabel.length + 8);
  return (tag) => hmac(saltMessage(tag));
}

/** SHA-256("i" || salt || encoded input). Whoever lacks the salt can test no guess of the text by it. */
export function inputDigestOf(salt: Uint8Array, input: Uint8Array): Buffer {
  return sha256(Buffer.concat([inputLabel, salt, input]));
}

/** SHA-256("o" || salt || encoded output). */
export function outputDigestOf(salt: Uint8Array, output: Uint8Array): Buffer {
  return sha256(Buffer.concat([outputLabel, salt, output]));
}

/** What `outputDigestOf` hashes before the output, for those who lay it out themselves. */
export function startOutputDigest(out: Writer, salt: Uint8Array): void {
  out.raw(outputLabel).raw(salt);
}

/** Begins an entry: its magic, its version and the fourth byte. */
function begin(kind: LogEntryKind, fourth: number): Writer {
  const found = kinds.find(([name]) => name === kind);
  const [, letter = 0, version = 0] = found ?? [];
  return new Writer(leafBytes).u8(0x57).u8(letter).u8(version).u8(fourth);
}

/** Fills an entry up with zeros. */
function finish(out: Writer): Buffer {
  return out.raw(Buffer.alloc(leafBytes - out.length)).bytes();
}

export function encodeLeaf(leaf: Leaf): Buffer {
  const out = begin("pair", finishReasons.indexOf(leaf.finish));
  out.u64(leaf.tag).u64(BigInt(leaf.completedMs)).u64(leaf.seed);
  out.raw(leaf.entryDigest).raw(leaf.inputDigest).raw(leaf.outputDigest).u32(leaf.tokens);
  return out.bytes();
}

export function encodeRoundOpen(open: RoundOpen): Buffer {
  const out = begin("round-open", 0).u64(open.round).u64(BigInt(open.atMs));
  return finish(out.raw(open.gateway).raw(open.a).raw(open.b).u64(open.threshold));
}

export function encodeRoundReveal(reveal: RoundReveal): Buffer {
  const out = begin("round-reveal", 0).u64(reveal.round).u64(BigInt(reveal.atMs));
  return finish(out.raw(reveal.gateway).raw(reveal.a).raw(reveal.b));
}

export function encodeBootEntry(boot: BootEntry): Buffer {
  const out = begin("boot", 0).u64(BigInt(boot.atMs)).u32(boot.epoch).u32(boot.boot);
  return finish(out.raw(boot.deviceKey).raw(boot.measurement).raw(boot.whitelist));
}

/** The kind of an entry, by its first three bytes. Throws InvalidError `leaf.version`, `leaf.magic`. */
export function kindOfEntry(bytes: Uint8Array): LogEntryKind {
  if (bytes[0] === 0x57 && bytes[1] === 0x4c && bytes[2] === 1) {
    throw new InvalidError(
      "leaf.version",
      "a version 1 leaf, without a salt, of an earlier release: such a log is not continued",
    );
  }
  const found = kinds.find(([, letter, version]) => bytes[1] === letter && bytes[2] === version);
  if (bytes[0] !== 0x57 || found === undefined) {
    throw new InvalidError("leaf.magic", "not a log entry of a kind and version known here");
  }
  return found[0];
}

/** The tag of an encoded leaf that this process made itself: nothing else of it is looked at. */
export function tagOfLeaf(leaf: Buffer): Tag {
  return asTag(leaf.readBigUInt64BE(4));
}

/** Parses the leaf of a pair; copies its digests. Throws InvalidError `leaf.*`. */
export function decodeLeaf(bytes: Uint8Array): Leaf {
  const entry = decodeLogEntry(bytes);
  if (entry.kind !== "pair") {
    throw new InvalidError("leaf.kind", `a log entry of kind ${entry.kind}, not a pair's leaf`);
  }
  return withoutKind(entry);
}

function withoutKind({ kind: _, ...leaf }: Extract<LogEntry, { kind: "pair" }>): Leaf {
  return leaf;
}

/** Parses an entry of any kind; copies. Throws InvalidError `leaf.*`. */
export function decodeLogEntry(bytes: Uint8Array): LogEntry {
  if (bytes.length !== leafBytes) {
    throw new InvalidError("leaf.size", `a log entry has ${leafBytes} bytes, not ${bytes.length}`);
  }
  const kind = kindOfEntry(bytes);
  const from = new Reader(bytes.subarray(3), "leaf");
  if (kind === "pair") return { kind, ...readLeaf(from) };
  if (from.u8() !== 0) throw new InvalidError("leaf.zero", "the fourth byte is not zero");
  switch (kind) {
    case "round-open":
      return { kind, ...readRoundOpen(from) };
    case "round-reveal":
      return { kind, ...readRoundReveal(from) };
    case "boot":
      return { kind, ...readBoot(from) };
  }
}

const copy32 = (from: Reader): Buffer => Buffer.from(from.raw(32));

function readLeaf(from: Reader): Leaf {
  const finish = finishReasons[from.u8()];
  if (finish === undefined) throw new InvalidError("leaf.finish", "unknown finish reason");
  const tag = asTag(from.u64());
  const completedMs = Number(from.u64());
  const seed = from.u64();
  const entryDigest = copy32(from);
  const inputDigest = copy32(from);
  const outputDigest = copy32(from);
  const tokens = from.u32();
  from.end();
  return { tag, completedMs, seed, entryDigest, inputDigest, outputDigest, finish, tokens };
}

/** Round number and time, and three values of 32 bytes. */
function readRound(from: Reader): RoundReveal {
  const round = from.u64();
  if (round === 0n) throw new InvalidError("leaf.round", "rounds are counted from 1");
  const atMs = Number(from.u64());
  return { round, atMs, gateway: copy32(from), a: copy32(from), b: copy32(from) };
}

function readRoundOpen(from: Reader): RoundOpen {
  const round = readRound(from);
  const threshold = from.u64();
  if (threshold > thresholdMax) throw new InvalidError("leaf.threshold", "epsilon is above 1");
  endWithZeros(from, 4);
  return { ...round, threshold };
}

function readRoundReveal(from: Reader): RoundReveal {
  const round = readRound(from);
  endWithZeros(from, 12);
  return round;
}

function readBoot(from: Reader): BootEntry {
  const atMs = Number(from.u64());
  const epoch = from.u32();
  const boot = from.u32();
  const keys = { deviceKey: copy32(from), measurement: copy32(from), whitelist: copy32(from) };
  endWithZeros(from, 12);
  return { atMs, epoch, boot, ...keys };
}

function endWithZeros(from: Reader, count: number): void {
  if (from.raw(count).some((byte) => byte !== 0)) {
    throw new InvalidError("leaf.zero", "the bytes after the last field are not zero");
  }
  from.end();
}
