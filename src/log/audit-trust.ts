/**
 * The audit's checks of who may say what: the trust root's chain, the whitelists, and the device behind the log. Each
 * signature is checked before what it covers is parsed.
 */
import { enrolledKey } from "../base/enrol.ts";
import { sha256Hex } from "../base/hash.ts";
import { checkTranscript, parseTranscript, type DeviceKeys } from "../format/ceremony.ts";
import { logOrigin } from "../format/checkpoint.ts";
import { parseEnvelope, signersOf, type Envelope } from "../format/dsse.ts";
import { evidencePaths, isNumbered, linesOf, type PartyKeys } from "../format/evidence.ts";
import { noteKeyType, parseVkey, type NoteKey } from "../format/note.ts";
import {
  parseTrustRoot,
  quorumGap,
  signedBy,
  trustRootType,
  type TrustRoot,
} from "../format/trust-root.ts";
import { parseWhitelist, whitelistType, type WhitelistContents } from "../format/whitelist.ts";
import { held, unsound } from "./audit-failure.ts";

export interface Parties {
  readonly a: PartyKeys;
  readonly b: PartyKeys;
}

export type Files = ReadonlyMap<string, Buffer>;

export function fileOf(files: Files, path: string): Buffer {
  return files.get(path) ?? unsound("manifest.missing", path, "the bundle does not hold it");
}

/** Parses an envelope and holds it to its type. */
export function envelopeOf(code: string, where: string, bytes: Uint8Array, type: string): Envelope {
  const envelope = held(code, where, () => parseEnvelope(bytes));
  if (envelope.payloadType !== type) unsound(code, where, `it is not of the type ${type}`);
  return envelope;
}

function firstRoot(envelope: Envelope, where: string, { a, b }: Parties): TrustRoot {
  const signers = signersOf(envelope, trustRootType, [...a.root, ...b.root]);
  for (const { party, root } of [a, b]) {
    if (root.some((key) => signers.has(key))) continue;
    unsound("root.signature", where, `no key of party ${party.toUpperCase()} signed it`);
  }
  const first = held("root.format", where, () => parseTrustRoot(envelope.payload));
  for (const [own, listed] of [
    [a, first.a],
    [b, first.b],
  ] as const) {
    const stranger = listed.keys.find((key) => !own.root.includes(key));
    if (stranger === undefined) continue;
    const party = own.party.toUpperCase();
    unsound(
      "root.party",
      where,
      `it gives party ${party} the key ${stranger}, which is none of its keys`,
    );
  }
  return first;
}

function checkQuorum(envelope: Envelope, where: string, under: TrustRoot): void {
  const gap = quorumGap(under, "root", signedBy(envelope, trustRootType, under));
  if (gap !== null) unsound("root.signature", where, `under version ${under.version}: ${gap}`);
}

/** Step 2: every version of the trust root, from one that only keys of the two parties are in. */
export function auditRoots(files: Files, parties: Parties): TrustRoot[] {
  const path = evidencePaths.root;
  const lines = held("root.format", path, () => linesOf(fileOf(files, path)));
  const roots: TrustRoot[] = [];
  lines.forEach((line, i) => {
    const where = `${path}, line ${i + 1}`;
    const envelope = envelopeOf("root.format", where, Buffer.from(line), trustRootType);
    const before = roots.at(-1);
    if (before !== undefined) checkQuorum(envelope, where, before);
    const root =
      before === undefined
        ? firstRoot(envelope, where, parties)
        : held("root.format", where, () => parseTrustRoot(envelope.payload));
    const wanted = (before?.version ?? 0) + 1;
    if (root.version !== wanted) {
      unsound("root.version", where, `version ${root.version} stands where ${wanted} must`);
    }
    checkQuorum(envelope, where, root);
    roots.push(root);
  });
  if (roots.length === 0) unsound("root.format", path, "it is empty");
  return roots;
}

/** A whitelist that both parties signed, with what the log may say of it. */
export interface AuditedWhitelist extends WhitelistContents {
  readonly path: string;
  /** SHA-256 of the file: what boot entries name. */
  readonly fileDigest: string;
  /** From here on no server boots under it: its own end or its root's. */
  readonly overMs: number;
}

/** Step 3: the whitelists, each under the root version that it names. */
export function auditWhitelists(files: Files, roots: readonly TrustRoot[]): AuditedWhitelist[] {
  const lists: AuditedWhitelist[] = [];
  for (const [path, bytes] of files) {
    if (!isNumbered("whitelist", path)) continue;
    const envelope = envelopeOf("whitelist.format", path, bytes, whitelistType);
    const gaps = roots.map((root) => ({
      root,
      gap: quorumGap(root, "whitelist", signedBy(envelope, whitelistType, root)),
    }));
    const met = gaps.filter(({ gap }) => gap === null).map(({ root }) => root);
    if (met.length === 0) {
      unsound("whitelist.signature", path, gaps.at(-1)?.gap ?? "nobody signed it");
    }
    const list = held("whitelist.format", path, () => parseWhitelist(envelope.payload));
    const root = met.find(({ version }) => version === list.rootVersion);
    if (root === undefined) {
      const why = `it is for root version ${list.rootVersion}, under which it is not signed`;
      return unsound("whitelist.root", path, why);
    }
    if (lists.some(({ version }) => version === list.version)) {
      unsound("whitelist.version", path, `version ${list.version} stands in another file too`);
    }
    const overMs = Math.min(list.expiresMs, root.expiresMs);
    lists.push({ ...list, path, fileDigest: sha256Hex(bytes), overMs });
  }
  return lists;
}

/** What is known of the gateway's keys. `device`: null without a ceremony. */
export interface AuditedDevice {
  readonly log: NoteKey;
  readonly device: DeviceKeys | null;
}

function ceremonyOf(files: Files, gateway: string, { a, b }: Parties): DeviceKeys | null {
  const path = evidencePaths.ceremony;
  const bytes = files.get(path);
  if (bytes === undefined) return null;
  const transcript = held("ceremony.format", path, () => parseTranscript(bytes));
  const { proposal } = transcript;
  for (const own of [a, b]) {
    if (own.boot.includes(proposal[own.party])) continue;
    const party = own.party.toUpperCase();
    unsound("ceremony.party", path, `it was held with another key than party ${party}'s boot keys`);
  }
  const keys = held("ceremony.signature", path, () => checkTranscript(transcript, proposal));
  if (proposal.gateway !== gateway) {
    unsound(
      "ceremony.gateway",
      path,
      `it made the device of ${proposal.gateway}, not of ${gateway}`,
    );
  }
  for (const key of [keys.log, keys.device]) held("ceremony.key", path, () => enrolledKey(key));
  return keys;
}

/** Step 4: which key signs this gateway's log. `given`: by the inspector, from outside. */
export function auditDevice(
  files: Files,
  gateway: string,
  parties: Parties,
  given: NoteKey | null,
): AuditedDevice {
  const device = ceremonyOf(files, gateway, parties);
  const path = evidencePaths.logKey;
  const [vkey = "", ...more] = held("log.key", path, () => linesOf(fileOf(files, path)));
  if (more.length > 0) unsound("log.key", path, "it has more than one line");
  const log = held("log.key", path, () => parseVkey(vkey));
  if (log.type !== noteKeyType.note || log.name !== logOrigin(gateway, log.publicKey)) {
    unsound("log.key", path, `it is no key of a log of ${gateway}`);
  }
  if (device !== null && device.log !== log.publicKey) {
    unsound(
      "log.key",
      path,
      `the ceremony made the log key ${device.log}, this is ${log.publicKey}`,
    );
  }
  if (given !== null && (given.publicKey !== log.publicKey || given.name !== log.name)) {
    unsound("log.key", path, "it is another key than the one that was named to the audit");
  }
  return { log, device };
}
