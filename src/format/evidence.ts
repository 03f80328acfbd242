/**
 * The evidence bundle, spec/evidence.md: what an inspector carries away from a gateway's log, its manifest, and the small
 * documents that exist in it alone. Everything here is parsed and nothing is believed: log/audit.ts judges.
 */
import type { KeyObject } from "node:crypto";
import { InvalidError } from "../base/assert.ts";
import { decodeUtf8, fromHex } from "../base/bytes.ts";
import { enrolledKey } from "../base/enrol.ts";
import { sha256Hex } from "../base/hash.ts";
import { sealEnvelope, type Envelope } from "./dsse.ts";
import { Fields, parseJson } from "./json.ts";
import { fromBase64, noteKeyType, parseVkey, type NoteKey } from "./note.ts";

/** Where things lie in a bundle. */
export const evidencePaths = {
  root: "trust/root.jsonl",
  ceremony: "boot/ceremony.json",
  chain: "boot/chain.json",
  logKey: "log/key",
  checkpoint: "log/checkpoint",
  entries: "log/entries",
  commits: "draw/commits.jsonl",
  record: "recomputer/record.json",
  orders: "recomputer/orders.jsonl",
  pairs: "pairs.jsonl",
} as const;

/** Without these there is nothing to audit. */
const requiredPaths = [
  evidencePaths.root,
  evidencePaths.logKey,
  evidencePaths.checkpoint,
  evidencePaths.entries,
];

/** Of these there may be several, each with a number. */
const numbered = {
  whitelist: /^trust\/whitelist-[1-9][0-9]{0,8}\.json$/,
  bootManifest: /^boot\/manifest-[1-9][0-9]{0,8}\.json$/,
  earlier: /^log\/earlier-[1-9][0-9]{0,8}$/,
} as const;
export type NumberedKind = keyof typeof numbered;

export function isNumbered(kind: NumberedKind, path: string): boolean {
  return numbered[kind].test(path);
}

const fixed = new Set<string>(Object.values(evidencePaths));

function isKnownPath(path: string): boolean {
  return fixed.has(path) || Object.values(numbered).some((pattern) => pattern.test(path));
}

export const evidenceFormat = "weir evidence/1";
export const manifestPath = "manifest.json";
const filesMax = 4096;
const timeMax = 8_640_000_000_000_000;

export interface EvidenceFile {
  readonly path: string;
  readonly bytes: number;
  /** 64 hex digits. */
  readonly sha256: string;
}

export interface EvidenceManifest {
  readonly gateway: string;
  /** When it was made, by the exporter's clock. */
  readonly createdMs: number;
  readonly files: readonly EvidenceFile[];
}

/** The manifest of these files, as JSON text. */
export function encodeEvidenceManifest(
  head: Pick<EvidenceManifest, "gateway" | "createdMs">,
  files: ReadonlyMap<string, Uint8Array>,
): string {
  const list = [...files].map(([path, content]) => ({
    path,
    bytes: content.length,
    sha256: sha256Hex(content),
  }));
  const { gateway, createdMs } = head;
  return `${JSON.stringify({ format: evidenceFormat, gateway, createdMs, files: list }, null, 1)}\n`;
}

const namePattern = /^[a-z0-9][a-z0-9-]{0,30}$/;

function wrong(code: string, why: string): never {
  throw new InvalidError(code, why);
}

function parseFile(from: Fields): EvidenceFile {
  const path = from.text("path");
  if (!isKnownPath(path)) wrong("manifest.format", `a bundle has no file "${path.slice(0, 80)}"`);
  const bytes = from.integer("bytes", 0, Number.MAX_SAFE_INTEGER);
  const sha256 = from.text("sha256");
  fromHex(sha256, 32);
  from.end();
  return { path, bytes, sha256 };
}

/** Parses a manifest. Throws InvalidError `manifest.format`, `json.*`, `bytes.*`. */
export function parseEvidenceManifest(bytes: Uint8Array): EvidenceManifest {
  const top = new Fields(parseJson(decodeUtf8(bytes)), "manifest");
  if (top.text("format") !== evidenceFormat) {
    wrong("manifest.format", `this is no bundle of the form "${evidenceFormat}"`);
  }
  const gateway = top.text("gateway");
  if (!namePattern.test(gateway)) wrong("manifest.format", "the gateway's name is none");
  const createdMs = top.integer("createdMs", 0, timeMax);
  const files = top.objects("files").map(parseFile);
  top.end();
  if (files.length > filesMax) wrong("manifest.format", "the bundle has too many files");
  const paths = new Set(files.map(({ path }) => path));
  if (paths.size !== files.length) wrong("manifest.format", "a file is named twice");
  return { gateway, createdMs, files };
}

/** What a bundle must hold and this manifest does not name; null when nothing is missing. */
export function missingFile({ files }: EvidenceManifest): string | null {
  const paths = files.map(({ path }) => path);
  const missing = requiredPaths.find((path) => !paths.includes(path));
  if (missing !== undefined) return missing;
  return paths.some((path) => isNumbered("whitelist", path)) ? null : "trust/whitelist-1.json";
}

/** Lines of a file that ends in a newline; none when it is empty. Throws InvalidError `evidence.lines`, `bytes.utf8`. */
export function linesOf(bytes: Uint8Array): string[] {
  const text = decodeUtf8(bytes);
  if (text === "") return [];
  if (!text.endsWith("\n")) wrong("evidence.lines", "the last line has no newline");
  return text.slice(0, -1).split("\n");
}

/** What a party says its keys are: the one thing that an inspector has from outside the bundle. */
export interface PartyKeys {
  readonly party: "a" | "b";
  /** Keys of the trust root's first version; 64 hex digits each, as are all but `witness`. */
  readonly root: readonly string[];
  readonly witness: readonly NoteKey[];
  readonly draw: readonly string[];
  /** They sign ceremonies and boot manifests. */
  readonly boot: readonly string[];
  /** Recomputers that this party believes, and operators whose releases it accepts. */
  readonly recomputer: readonly string[];
  readonly operator: readonly string[];
}

const duties = ["root", "witness", "draw", "boot", "recomputer", "operator"] as const;
type PartyDuty = (typeof duties)[number];

export const partyKeysFirstLine = "weir party keys/1";

/** Parses a party's key file. Throws InvalidError `keys.*`, `enrol.key`, `note.*`, `bytes.*`. */
export function parsePartyKeys(bytes: Uint8Array): PartyKeys {
  const [first, second, ...lines] = linesOf(bytes);
  if (first !== partyKeysFirstLine)
    wrong("keys.format", `the first line is not "${partyKeysFirstLine}"`);
  const party = second === "party a" ? "a" : second === "party b" ? "b" : null;
  if (party === null) return wrong("keys.format", 'the second line is not "party a" or "party b"');
  const found: Record<PartyDuty, string[]> = {
    ...{ root: [], witness: [], draw: [], boot: [], recomputer: [], operator: [] },
  };
  for (const line of lines) {
    const [word = "", value, ...more] = line.split(" ");
    const duty = duties.find((known) => known === word);
    if (duty === undefined || value === undefined || more.length > 0) {
      return wrong("keys.format", `"${line.slice(0, 80)}" is no line of a duty and a key`);
    }
    if (duty !== "witness") enrolledKey(value);
    found[duty].push(value);
  }
  const witness = found.witness.map(parseVkey);
  if (witness.some(({ type }) => type !== noteKeyType.cosignature)) {
    wrong("keys.witness", "a witness has a key of type 4");
  }
  if (found.root.length === 0 || witness.length === 0) {
    wrong("keys.missing", "a party has at least one root key and one witness key");
  }
  return { ...found, party, witness };
}

/** Refuses key files that are not of two parties. Throws InvalidError `keys.*`. */
export function checkParties(a: PartyKeys, b: PartyKeys): void {
  if (a.party !== "a") wrong("keys.party", "the first key file is not party A's");
  if (b.party !== "b") wrong("keys.party", "the second key file is not party B's");
  const own = (keys: PartyKeys): string[] => [
    ...[...keys.root, ...keys.draw, ...keys.boot],
    ...keys.witness.map(({ publicKey }) => publicKey),
  ];
  const ofA = new Set(own(a));
  const both = own(b).find((key) => ofA.has(key));
  if (both !== undefined) wrong("keys.shared", `both parties name the key ${both} as their own`);
}

/** A judged pair, as its recomputer says. */
export interface RecordedVerdict {
  /** 16 hex digits. */
  readonly tag: string;
  /** Where its leaf stands in the log. */
  readonly index: number;
  readonly kind: "pass" | "fail";
  readonly atMs: number;
  /** SHA-256 of the proof request that was judged, 64 hex digits. */
  readonly request: string;
  /** Names of findings, spec/verdict.md. */
  readonly findings: readonly string[];
}

/** What a recomputer says it did about one gateway; signed by its order key. */
export interface RecomputerRecord {
  readonly gateway: string;
  /** Origin of the gateway's log. */
  readonly origin: string;
  readonly atMs: number;
  readonly verdicts: readonly RecordedVerdict[];
  /** `settledMs`: when the gateway answered that it obeys; 0: not yet. */
  readonly orders: readonly { readonly digest: string; readonly settledMs: number }[];
  readonly releases: readonly string[];
}

export const recordType = "application/vnd.weir.recomputer-record+json;v=1";

/** Signs a record with the recomputer's order key. */
export function sealRecord(record: RecomputerRecord, key: KeyObject): Envelope {
  return sealEnvelope(recordType, Buffer.from(JSON.stringify(record)), [key]);
}

function hexOf(from: Fields, key: string, bytes: number): string {
  const text = from.text(key);
  fromHex(text, bytes);
  return text;
}

function parseVerdict(from: Fields): RecordedVerdict {
  const tag = hexOf(from, "tag", 8);
  const index = from.integer("index", 0, Number.MAX_SAFE_INTEGER);
  const kind = from.text("kind");
  if (kind !== "pass" && kind !== "fail") return wrong("record.kind", "a verdict is pass or fail");
  const atMs = from.integer("atMs", 0, timeMax);
  const request = hexOf(from, "request", 32);
  const findings = from.texts("findings");
  from.end();
  return { tag, index, kind, atMs, request, findings };
}

/** Parses the payload of a record. Throws InvalidError `record.*`, `json.*`, `bytes.*`. */
export function parseRecord(payload: Uint8Array): RecomputerRecord {
  const top = new Fields(parseJson(decodeUtf8(payload)), "record");
  const record = {
    gateway: top.text("gateway"),
    origin: top.text("origin"),
    atMs: top.integer("atMs", 0, timeMax),
    verdicts: top.objects("verdicts").map(parseVerdict),
    orders: top.objects("orders").map((from) => {
      const digest = hexOf(from, "digest", 32);
      const settledMs = from.integer("settledMs", 0, timeMax);
      from.end();
      return { digest, settledMs };
    }),
    releases: top.texts("releases"),
  };
  top.end();
  for (const digest of record.releases) fromHex(digest, 32);
  return record;
}

/** A pair whose texts the exporter chose to show. */
export interface DisclosedPair {
  readonly index: number;
  readonly salt: Buffer;
  /** As encoded by format/pair.ts. */
  readonly input: Buffer;
  readonly output: Buffer;
}

export function encodeDisclosedPair({ index, salt, input, output }: DisclosedPair): string {
  const texts = { input: input.toString("base64"), output: output.toString("base64") };
  return `${JSON.stringify({ index, salt: salt.toString("hex"), ...texts })}\n`;
}

/** Parses one line. Throws InvalidError `json.*`, `bytes.*`, `note.base64`. */
export function parseDisclosedPair(line: string): DisclosedPair {
  const from = new Fields(parseJson(line), "pair");
  const index = from.integer("index", 0, Number.MAX_SAFE_INTEGER);
  const salt = Buffer.from(fromHex(from.text("salt"), 32));
  const input = fromBase64(from.text("input"));
  const output = fromBase64(from.text("output"));
  from.end();
  return { index, salt, input, output };
}

/** A DRAW_COMMIT as its party signed it, one a line. */
export function encodeCommitLine(commit: Uint8Array): string {
  return `${JSON.stringify({ commit: Buffer.from(commit).toString("base64") })}\n`;
}

/** Throws InvalidError `json.*`, `note.base64`. */
export function parseCommitLine(line: string): Buffer {
  const from = new Fields(parseJson(line), "commit");
  const commit = fromBase64(from.text("commit"));
  from.end();
  return commit;
}

/** What `boot/chain.json` holds: the chain of format/boot-certificate.ts as the gateway shows it; all hex. */
export interface ShownChain {
  readonly device: string;
  readonly identity: string;
  readonly measurement: string;
  readonly subject: string;
  readonly certificate: string;
  readonly log: string;
  readonly attestation: string;
}

/** Parses a shown chain. Throws InvalidError `json.*`, `bytes.*`. */
export function parseShownChain(bytes: Uint8Array): ShownChain {
  const from = new Fields(parseJson(decodeUtf8(bytes)), "chain");
  const chain = {
    device: hexOf(from, "device", 32),
    identity: hexOf(from, "identity", 32),
    measurement: hexOf(from, "measurement", 32),
    subject: hexOf(from, "subject", 32),
    certificate: hexOf(from, "certificate", 64),
    log: hexOf(from, "log", 32),
    attestation: hexOf(from, "attestation", 64),
  };
  from.end();
  return chain;
}

/** What the audit takes for granted about time and loss; spec/evidence.md. */
export const auditRules = {
  /** Two clocks may differ, and a recomputer may lag, by so much. */
  graceMs: 600_000,
  /** Of the last `crashEntries` entries before a start, so many kept pairs may be lost unproved. */
  crashPairs: 4,
  crashEntries: 1024,
} as const;
