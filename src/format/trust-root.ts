/**
 * The trust root, spec/trust-root.md: which keys speak for party A and for party B, and how many of
 * each have to sign. It is a chain: version after version, each signed by enough keys of both parties
 * under the version before it *and* under itself. The first is known by its digest, the anchor, which
 * both parties compare by voice and everybody else is given.
 *
 * Trust: who holds rootThreshold keys of A and rootThreshold keys of B decides who the parties are.
 * Less than that, of either, changes nothing.
 */
import type { KeyObject } from "node:crypto";
import { InvalidError } from "../base/assert.ts";
import { decodeUtf8 } from "../base/bytes.ts";
import { keyFault } from "../base/enrol.ts";
import { sha256 } from "../base/hash.ts";
import { limits } from "../base/limits.ts";
import { encodeEnvelope, parseEnvelope, sealEnvelope, signersOf, type Envelope } from "./dsse.ts";
import { Fields, parseJson } from "./json.ts";

export const trustRootType = "application/vnd.weir.trust-root+json;v=1";

/** What signatures of a party's keys are counted for. */
export type Duty = "whitelist" | "root";

export interface RootParty {
  readonly name: string;
  /** Ed25519 public keys, 64 hex digits each: they sign whitelists and roots. */
  readonly keys: readonly string[];
  /** How many different keys of this party have to sign. */
  readonly thresholds: Readonly<Record<Duty, number>>;
  /** Public keys of people who may propose and approve administrative requests. None sign whitelists. */
  readonly operators: readonly string[];
}

export interface RootContents {
  readonly version: number;
  /** From this moment on nothing under this root is taken up. Milliseconds since 1970. */
  readonly expiresMs: number;
  readonly a: RootParty;
  readonly b: RootParty;
}

export interface TrustRoot extends RootContents {
  /** SHA-256 of the payload's bytes. That of the first version is the anchor. */
  readonly digest: Buffer;
}

/** A verified chain; `current` is its last version. */
export interface RootChain {
  readonly roots: readonly TrustRoot[];
  readonly current: TrustRoot;
}

/** Which keys of each party signed an envelope; each key once, whatever its key ids say. */
export interface Signed {
  readonly a: readonly string[];
  readonly b: readonly string[];
}

const timeMax = 8_640_000_000_000_000;

function partyJson(party: RootParty): Record<string, unknown> {
  const { whitelist, root } = party.thresholds;
  return {
    name: party.name,
    keys: party.keys,
    thresholds: { whitelist, root },
    operators: party.operators,
  };
}

/** The JSON of a root, fields in a fixed order. */
export function rootJson(root: RootContents): Record<string, unknown> {
  const { version, expiresMs, a, b } = root;
  return { version, expiresMs, a: partyJson(a), b: partyJson(b) };
}

/** Refuses what is no sound Ed25519 key. Throws InvalidError `root.key` that names the key. */
export function enrol(hex: string): string {
  const fault = keyFault(hex);
  if (fault === null) return hex;
  throw new InvalidError("root.key", `the key ${hex.slice(0, 64)} cannot be enrolled: ${fault}`);
}

function parseParty(from: Fields): RootParty {
  const name = from.text("name");
  if (!/^[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}$/.test(name)) {
    throw new InvalidError("root.name", `"${name}" is no name of a party`);
  }
  const keys = from.texts("keys").map(enrol);
  if (keys.length < 1 || keys.length > limits.partyKeys) {
    throw new InvalidError("root.keys", `${name} must have 1 to ${limits.partyKeys} keys`);
  }
  const bounds = from.object("thresholds");
  const thresholds = {
    whitelist: bounds.integer("whitelist", 1, keys.length),
    root: bounds.integer("root", 1, keys.length),
  };
  bounds.end();
  const operators = from.texts("operators").map(enrol);
  if (operators.length > limits.partyKeys) {
    throw new InvalidError("root.keys", `${name} has more than ${limits.partyKeys} operators`);
  }
  from.end();
  return { name, keys, thresholds, operators };
}

/** Parses a payload; says nothing of who signed it. Throws InvalidError `root.*` or `json.*`. */
export function parseTrustRoot(payload: Uint8Array): TrustRoot {
  const top = new Fields(parseJson(decodeUtf8(payload)), "root");
  const root = {
    version: top.integer("version", 1, limits.rootVersions),
    expiresMs: top.integer("expiresMs", 1, timeMax),
    a: parseParty(top.object("a")),
    b: parseParty(top.object("b")),
  };
  top.end();
  if (root.a.name === root.b.name) {
    throw new InvalidError("root.name", `both parties are called ${root.a.name}`);
  }
  // One encoding per key (see enrol), so equal keys are equal texts.
  const all = [...root.a.keys, ...root.a.operators, ...root.b.keys, ...root.b.operators];
  const twice = all.find((key, i) => all.indexOf(key) !== i);
  if (twice !== undefined) {
    throw new InvalidError("root.twice", `the key ${twice} stands in two places`);
  }
  return { ...root, digest: sha256(payload) };
}

/** Which keys of the two parties signed this envelope. Throws InvalidError `dsse.type`. */
export function signedBy(envelope: Envelope, payloadType: string, root: TrustRoot): Signed {
  const signers = signersOf(envelope, payloadType, [...root.a.keys, ...root.b.keys]);
  return {
    a: root.a.keys.filter((key) => signers.has(key)),
    b: root.b.keys.filter((key) => signers.has(key)),
  };
}

/** What lacks until both parties' thresholds are met, in words; null when nothing does. */
export function quorumGap(root: RootContents, duty: Duty, signed: Signed): string | null {
  const gap = (party: RootParty, keys: readonly string[]): string[] => {
    const needed = party.thresholds[duty];
    return keys.length >= needed
      ? []
      : [`${party.name} has given ${keys.length} of ${needed} signatures`];
  };
  const gaps = [...gap(root.a, signed.a), ...gap(root.b, signed.b)];
  return gaps.length === 0 ? null : gaps.join("; ");
}

/** What lacks until a root may follow `before` (null: be the first), in words; null: nothing. */
export function rootGap(envelope: Envelope, before: TrustRoot | null): string | null {
  const next = parseTrustRoot(envelope.payload);
  const own = quorumGap(next, "root", signedBy(envelope, trustRootType, next));
  if (before === null) return own;
  const old = quorumGap(before, "root", signedBy(envelope, trustRootType, before));
  const said = [
    ...(old === null ? [] : [`under version ${before.version}: ${old}`]),
    ...(own === null ? [] : [`under version ${next.version}: ${own}`]),
  ];
  return said.length === 0 ? null : said.join("; ");
}

/** Verifies one step of a chain. Throws InvalidError `root.version` or `root.unsigned`. */
export function verifyRootStep(envelope: Envelope, before: TrustRoot | null): TrustRoot {
  const root = parseTrustRoot(envelope.payload);
  const wanted = before === null ? 1 : before.version + 1;
  if (root.version !== wanted) {
    throw new InvalidError("root.version", `version ${root.version} stands where ${wanted} must`);
  }
  const gap = rootGap(envelope, before);
  if (gap !== null) throw new InvalidError("root.unsigned", `root version ${root.version}: ${gap}`);
  return root;
}

/** The envelopes of a chain file: one a line, oldest first. Throws InvalidError `root.chain`, `dsse.*`. */
export function parseRootLines(bytes: Uint8Array): Envelope[] {
  if (bytes.length > limits.rootChainBytes) {
    throw new InvalidError("root.chain", `a root file has at most ${limits.rootChainBytes} bytes`);
  }
  const lines = decodeUtf8(bytes).replace(/\n$/, "").split("\n");
  return lines.map((line) => parseEnvelope(Buffer.from(line)));
}

/** The text of a chain file. */
export function encodeRootLines(envelopes: readonly Envelope[]): string {
  return envelopes.map((envelope) => `${encodeEnvelope(envelope)}\n`).join("");
}

/** Verifies envelopes of a chain, from the anchor on (64 hex digits; null: whatever the first is). */
export function verifyRoots(envelopes: readonly Envelope[], anchor: string | null): TrustRoot[] {
  const roots: TrustRoot[] = [];
  for (const envelope of envelopes) {
    if (roots.length === 0 && anchor !== null) {
      const digest = sha256(envelope.payload).toString("hex");
      if (digest !== anchor) {
        throw new InvalidError(
          "root.anchor",
          `the first root is ${digest}, not the anchor ${anchor}`,
        );
      }
    }
    roots.push(verifyRootStep(envelope, roots.at(-1) ?? null));
  }
  return roots;
}

/**
 * Verifies a chain file. `anchor` is the digest of version 1 in hex; null only to look at a file, never to
 * rely on it. Throws InvalidError `root.*`, `dsse.*` or `json.*`.
 */
export function openRootChain(bytes: Uint8Array, anchor: string | null): RootChain {
  const roots = verifyRoots(parseRootLines(bytes), anchor);
  const current = roots.at(-1);
  if (current === undefined) throw new InvalidError("root.chain", "the root file is empty");
  return { roots, current };
}

/** Signs a root with some keys, of either party. */
export function sealTrustRoot(root: RootContents, keys: readonly KeyObject[]): Envelope {
  return sealEnvelope(trustRootType, Buffer.from(JSON.stringify(rootJson(root))), keys);
}
