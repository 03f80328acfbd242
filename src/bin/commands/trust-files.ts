/** Files of roots, whitelists and signing keys, as the offline commands of two parties read and write them. */
import { existsSync, readFileSync, statSync } from "node:fs";
import type { KeyObject } from "node:crypto";
import { InvalidError } from "../../base/assert.ts";
import { fromHex } from "../../base/bytes.ts";
import { privateKeyFromSeed, publicKeyHex } from "../../base/sign.ts";
import { encodeEnvelope, parseEnvelope, sealEnvelope, type Envelope } from "../../format/dsse.ts";
import {
  parseRootLines,
  parseTrustRoot,
  rootGap,
  verifyRoots,
  type TrustRoot,
} from "../../format/trust-root.ts";
import { UsageError, type Arguments } from "../site/arguments.ts";
import { writeAtomic } from "../site/files.ts";

/** Reads a file for a person: the error says which. */
export function readNamed<T>(path: string, what: string, parse: (bytes: Buffer) => T): T {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new InvalidError("file.read", `cannot read the ${what} ${path}: ${why}`);
  }
  try {
    return parse(bytes);
  } catch (error) {
    if (!(error instanceof InvalidError)) throw error;
    throw new InvalidError(error.code, `${what} ${path}: ${error.message}`);
  }
}

export function need(args: Arguments, name: string): string {
  const value = args.text(name);
  if (value === undefined) throw new UsageError(`--${name} is required`);
  return value;
}

/** The one bare word after the subcommand. */
export function wordOf(args: Arguments, what: string): string {
  const [word] = args.words;
  if (word === undefined) throw new UsageError(`${what} is missing`);
  return word;
}

/** A new file: nothing is written over. */
export function writeNew(path: string, text: string, mode = 0o644): void {
  if (existsSync(path)) {
    throw new InvalidError("file.exists", `${path} is there already and is not written over`);
  }
  writeAtomic(path, text, mode);
}

/** A party's signing key: 64 hex digits in a file that nobody else may read. */
export function readKey(path: string): KeyObject {
  const key = readNamed(path, "signing key", (bytes) =>
    privateKeyFromSeed(fromHex(bytes.toString("latin1").trim(), 32)),
  );
  if ((statSync(path).mode & 0o077) !== 0) {
    throw new InvalidError("file.mode", `others may read the signing key ${path}: chmod 600 it`);
  }
  return key;
}

/** The envelope with one more signature, over the very bytes that it carries. */
export function addSignature(envelope: Envelope, key: KeyObject, what: string): Envelope {
  const hex = publicKeyHex(key);
  const [made] = sealEnvelope(envelope.payloadType, envelope.payload, [key]).signatures;
  if (made === undefined) return envelope;
  if (envelope.signatures.some(({ sig }) => sig.equals(made.sig))) {
    throw new InvalidError("sign.twice", `${what} carries the signature of ${hex} already`);
  }
  return { ...envelope, signatures: [...envelope.signatures, made] };
}

export function readEnvelope(path: string, what: string): Envelope {
  return readNamed(path, what, parseEnvelope);
}

export function encodeFile(envelope: Envelope): string {
  return `${encodeEnvelope(envelope)}\n`;
}

/** A root file that may end in a version which not enough keys have signed yet. */
export interface RootDraft {
  readonly envelopes: readonly Envelope[];
  readonly last: Envelope;
  readonly root: TrustRoot;
  /** The version before the last; null for a first one. */
  readonly before: TrustRoot | null;
  /** What lacks until the last version counts, in words; null: nothing. */
  readonly gap: string | null;
  readonly anchor: string;
}

export function readRootDraft(path: string, anchor: string | null): RootDraft {
  return readNamed(path, "trust root", (bytes) => {
    const envelopes = parseRootLines(bytes);
    const last = envelopes.at(-1);
    if (last === undefined) throw new InvalidError("root.chain", "the root file is empty");
    const before = verifyRoots(envelopes.slice(0, -1), anchor).at(-1) ?? null;
    const gap = rootGap(last, before);
    if (gap === null) verifyRoots(envelopes, anchor);
    const root = parseTrustRoot(last.payload);
    const first = envelopes[0] ?? last;
    const found = parseTrustRoot(first.payload).digest.toString("hex");
    if (anchor !== null && found !== anchor) {
      throw new InvalidError("root.anchor", `the first root is ${found}, not the anchor ${anchor}`);
    }
    const wanted = before === null ? 1 : before.version + 1;
    if (root.version !== wanted) {
      throw new InvalidError("root.version", `version ${root.version} stands where ${wanted} must`);
    }
    return { envelopes, last, root, before, gap, anchor: found };
  });
}

const dayMs = 86_400_000;

/** The end that `--days N` or `--until 2027-01-31` gives; midnight UTC, never in the past. */
export function expiryOf(args: Arguments, fallbackDays: number): number {
  const until = args.text("until");
  const days = args.number("days", 1, 36_500);
  if (until !== undefined && days !== undefined) {
    throw new UsageError("--until and --days exclude each other");
  }
  if (until === undefined) {
    return Math.ceil((Date.now() + (days ?? fallbackDays) * dayMs) / dayMs) * dayMs;
  }
  const ms = /^\d{4}-\d{2}-\d{2}$/.test(until) ? Date.parse(`${until}T00:00:00Z`) : NaN;
  if (!(ms > Date.now())) {
    throw new UsageError(`--until must be a day to come, like 2027-01-31, not "${until}"`);
  }
  return ms;
}
