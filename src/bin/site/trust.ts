/**
 * The trust root and the whitelist of a site: those of a trial, which this machine makes and signs for
 * both parties, or those that two parties made by hand, which it only checks.
 */
import { InvalidError } from "../../base/assert.ts";
import { publicKeyHex } from "../../base/sign.ts";
import { encodeEnvelope, parseEnvelope } from "../../format/dsse.ts";
import {
  encodeRootLines,
  openRootChain,
  sealTrustRoot,
  type RootChain,
  type RootParty,
} from "../../format/trust-root.ts";
import {
  entryJson,
  openWhitelist,
  sealWhitelist,
  whitelistType,
  type Whitelist,
  type WhitelistEntry,
} from "../../format/whitelist.ts";
import { readRootChain, readWhitelist } from "../trust.ts";
import type { SiteConfig } from "./config.ts";
import type { MeasuredEntry } from "./entry.ts";
import { readIfThere, writeAtomic } from "./files.ts";
import { readSigningKey } from "./keys.ts";
import type { DataPaths } from "./paths.ts";

/** Trust that two parties made by hand: three things that are named together. */
export interface GivenTrust {
  readonly chain: RootChain;
  readonly whitelist: Whitelist;
  readonly anchor: string;
  readonly rootText: string;
  readonly whitelistText: string;
}

const dayMs = 86_400_000;
const trialRootMs = 20 * 365 * dayMs;
const trialListMs = 365 * dayMs;
/** A trial's whitelist with less time than this is signed anew, before anybody is warned of it. */
const trialRenewMs = 30 * dayMs;

/** The trust that a configuration names, verified; null for a trial. Throws InvalidError. */
export function givenTrust(config: SiteConfig): GivenTrust | null {
  const { whitelist, trustRoot, rootAnchor } = config;
  if (whitelist === undefined && trustRoot === undefined && rootAnchor === undefined) return null;
  if (whitelist === undefined || trustRoot === undefined || rootAnchor === undefined) {
    throw new InvalidError(
      "config.field",
      "whitelist, trustRoot and rootAnchor are named together, or none of them is",
    );
  }
  const chain = readRootChain(trustRoot, rootAnchor);
  return {
    chain,
    whitelist: readWhitelist(whitelist, chain),
    anchor: rootAnchor,
    rootText: readIfThere(trustRoot) ?? "",
    whitelistText: readIfThere(whitelist) ?? "",
  };
}

/**
 * The entry that a given whitelist has for this model. Throws InvalidError `site.whitelist` when it has none, or
 * when what this machine has is something else, naming what.
 */
export function givenEntry(
  { whitelist }: GivenTrust,
  modelId: string | undefined,
  found: MeasuredEntry,
): WhitelistEntry {
  const entry = whitelist.entries.find((candidate) =>
    modelId === undefined
      ? candidate.weights.root.equals(found.weights.root)
      : candidate.modelId === modelId,
  );
  if (entry === undefined) {
    const what = modelId === undefined ? "these weights" : `the model id ${modelId}`;
    throw new InvalidError("site.whitelist", `the whitelist has no entry for ${what}`);
  }
  const wanted = entryJson(entry);
  const mine = entryJson({ ...entry, ...found });
  const other = Object.keys(wanted).filter(
    (key) => JSON.stringify(wanted[key]) !== JSON.stringify(mine[key]),
  );
  if (other.length > 0) {
    throw new InvalidError(
      "site.whitelist",
      `what this machine has is not what the whitelist names for ${entry.modelId}: ${other.join(", ")}`,
    );
  }
  return entry;
}

/** Puts given files where the roles read them. */
export function placeTrust(paths: DataPaths, given: GivenTrust): void {
  const put = (path: string, text: string): void => {
    if (readIfThere(path) !== text) writeAtomic(path, text);
  };
  put(paths.trustRoot, given.rootText);
  put(paths.whitelist, given.whitelistText);
  put(paths.anchor, `${given.anchor}\n`);
}

function trialParty(keys: string, party: "a" | "b"): RootParty {
  return {
    name: party === "a" ? "Party A" : "Party B",
    keys: [publicKeyHex(readSigningKey(keys, `party-${party}`))],
    thresholds: { whitelist: 1, root: 1 },
    operators: [],
  };
}

/** The trial's root: made at the first start, for the two keys that lie in `keys`. */
function ensureTrialRoot(
  paths: DataPaths,
  nowMs: number,
  tell: (text: string) => void,
): { readonly chain: RootChain; readonly anchor: string } {
  const a = trialParty(paths.keys, "a");
  const b = trialParty(paths.keys, "b");
  const text = readIfThere(paths.trustRoot);
  const noted = readIfThere(paths.anchor)?.trim() ?? null;
  if (text !== null) {
    const chain = openRootChain(Buffer.from(text), noted);
    const own = chain.roots[0]?.a.keys[0] === a.keys[0] && chain.roots[0]?.b.keys[0] === b.keys[0];
    if (!own) {
      const others = `${paths.trustRoot} was made by other parties than the keys of this folder`;
      throw new InvalidError("site.root", `${others}: name it with --trust-root`);
    }
    const anchor = chain.roots[0]?.digest.toString("hex") ?? "";
    if (noted === null) writeAtomic(paths.anchor, `${anchor}\n`);
    return { chain, anchor };
  }
  const keys = [readSigningKey(paths.keys, "party-a"), readSigningKey(paths.keys, "party-b")];
  const sealed = sealTrustRoot({ version: 1, expiresMs: nowMs + trialRootMs, a, b }, keys);
  const made = encodeRootLines([sealed]);
  const chain = openRootChain(Buffer.from(made), null);
  const anchor = chain.current.digest.toString("hex");
  writeAtomic(paths.trustRoot, made);
  writeAtomic(paths.anchor, `${anchor}\n`);
  tell("trust root version 1: one key of party A and one of party B, both made and kept here");
  return { chain, anchor };
}

function sameEntries(whitelist: Whitelist, entry: Omit<WhitelistEntry, "digest">): boolean {
  const mine = JSON.stringify([entryJson(entry)]);
  return JSON.stringify(whitelist.entries.map(entryJson)) === mine;
}

/** Which fields of an entry changed, in words. */
function changes(old: WhitelistEntry | undefined, entry: Omit<WhitelistEntry, "digest">): string {
  if (old === undefined) return "a first entry";
  const before = entryJson(old);
  const after = entryJson(entry);
  const changed = Object.keys(after).filter(
    (key) => JSON.stringify(before[key]) !== JSON.stringify(after[key]),
  );
  return changed.length === 0 ? "signed anew, to last" : `changed: ${changed.join(", ")}`;
}

/** The trial's whitelist that is there, unless it is of an earlier format, which nobody reads any more. */
function readTrial(paths: DataPaths, chain: RootChain): Whitelist | null {
  const text = readIfThere(paths.whitelist);
  if (text === null) return null;
  const bytes = Buffer.from(text);
  const { payloadType } = parseEnvelope(bytes);
  if (payloadType !== whitelistType && payloadType.endsWith(";v=1")) return null;
  return openWhitelist(bytes, chain.current);
}

/** What the roles of a site rely on, and what people are told of it. */
export interface SiteTrust {
  readonly anchor: string;
  readonly rootVersion: number;
  readonly whitelistVersion: number;
  /** Until when servers may boot: the whitelist's end, or the root's. */
  readonly expiresMs: number;
  /** Names of the parties. */
  readonly parties: { readonly a: string; readonly b: string };
  /** Whether the parties' keys are not here: two parties made root and whitelist by hand. */
  readonly byHand: boolean;
}

export function siteTrust(
  chain: RootChain,
  whitelist: Whitelist,
  anchor: string,
  byHand: boolean,
): SiteTrust {
  const { a, b, version, expiresMs } = chain.current;
  return {
    anchor,
    rootVersion: version,
    whitelistVersion: whitelist.version,
    expiresMs: Math.min(expiresMs, whitelist.expiresMs),
    parties: { a: a.name, b: b.name },
    byHand,
  };
}

/** The trust of a trial, signed with both parties' keys, which lie here, wherever something changed. */
export function trialTrust(
  paths: DataPaths,
  entry: Omit<WhitelistEntry, "digest">,
  nowMs: number,
  tell: (text: string) => void,
): SiteTrust {
  const { chain, anchor } = ensureTrialRoot(paths, nowMs, tell);
  const rootVersion = chain.current.version;
  const old = readTrial(paths, chain);
  const fresh = old !== null && old.expiresMs > nowMs + trialRenewMs;
  if (fresh && sameEntries(old, entry)) return siteTrust(chain, old, anchor, false);
  const version = (old?.version ?? 0) + 1;
  const keys = [readSigningKey(paths.keys, "party-a"), readSigningKey(paths.keys, "party-b")];
  const draft = { version, rootVersion, expiresMs: nowMs + trialListMs, entries: [entry] };
  const text = `${encodeEnvelope(sealWhitelist(draft, keys))}\n`;
  const whitelist = openWhitelist(Buffer.from(text), chain.current);
  writeAtomic(paths.whitelist, text);
  const previous = old?.entries[0];
  const swap =
    previous !== undefined && previous.modelId !== entry.modelId
      ? `${entry.modelId} replaces ${previous.modelId}`
      : `${entry.modelId} (${changes(previous, entry)})`;
  tell(`whitelist version ${version}: ${swap}; signed by party A and party B, both simulated here`);
  return siteTrust(chain, whitelist, anchor, false);
}
