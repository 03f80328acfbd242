/**
 * Set-up of a data directory: at its first start everything is made, at later ones only what is
 * missing or has changed. Every step can be cut off and done again.
 */
import { existsSync, mkdirSync, readdirSync, statSync } from "node:fs";
import { basename } from "node:path";
import { InvalidError } from "../../base/assert.ts";
import { encodeEnvelope } from "../../format/dsse.ts";
import { noiseLaw } from "../../format/noise.ts";
import {
  entryJson,
  openWhitelist,
  sealWhitelist,
  type GenerationPolicy,
  type Whitelist,
  type WhitelistEntry,
} from "../../format/whitelist.ts";
import { publicKeyHex } from "../../base/sign.ts";
import { describeModel } from "../../adapter/llama/describe.ts";
import type { SiteConfig } from "./config.ts";
import { privateFolder, readIfThere, readJson, writeAtomic } from "./files.ts";
import { ensureKeys, readSigningKey, type Identity } from "./keys.ts";
import type { DataPaths } from "./paths.ts";
import { ensureProfile, type QuickCalibrate } from "./profile.ts";

export interface Parties {
  readonly a: string;
  readonly b: string;
}

export interface SetUp {
  readonly parties: Parties;
  readonly entry: Omit<WhitelistEntry, "digest">;
  readonly whitelistVersion: number;
}

/** Contexts longer than this cost memory that a trial rarely wants; `generation` raises it. */
const contextDefault = 4096;

/** Names of the gateways of a site of `count` servers. */
export function gatewayNames(count: number): string[] {
  return Array.from({ length: count }, (_, i) => `g${i + 1}`);
}

function identitiesOf(config: SiteConfig): Identity[] {
  return [
    ...gatewayNames(config.servers).map((name): Identity => ({ role: "gateway", name })),
    { role: "depot", name: "depot" },
    { role: "router", name: "router" },
    { role: "recomputer", name: "recomputer" },
    { role: "observer", name: "page" },
    { role: "operator", name: "operator" },
  ];
}

/**
 * Makes sure that `paths.root` is a folder that may be used: ours, empty or absent. Throws
 * InvalidError `site.folder`; nothing is written into a folder that belongs to something else.
 */
export function claimFolder(paths: DataPaths): void {
  if (existsSync(paths.root) && !statSync(paths.root).isDirectory()) {
    throw new InvalidError("site.folder", `${paths.root} is not a folder`);
  }
  mkdirSync(paths.root, { recursive: true, mode: 0o700 });
  const strangers = readdirSync(paths.root).filter((name) => !/^lock(\..*)?$|\.tmp$/.test(name));
  if (strangers.length > 0 && !existsSync(paths.marker)) {
    throw new InvalidError(
      "site.folder",
      `${paths.root} is not empty and is no Weir data directory; name another with --data`,
    );
  }
}

function readMarker(paths: DataPaths): "none" | "begun" | "complete" {
  if (!existsSync(paths.marker)) return "none";
  const { format, setUp } = readJson(paths.marker) as { format?: unknown; setUp?: unknown };
  if (format !== 1) {
    throw new InvalidError("site.format", `${paths.root} was made by another version of Weir`);
  }
  return setUp === "complete" ? "complete" : "begun";
}

function mark(paths: DataPaths, setUp: "begun" | "complete"): void {
  writeAtomic(paths.marker, `${JSON.stringify({ format: 1, setUp })}\n`);
}

/** The model's id for clients: configured, or the file's name. */
export function modelIdOf(config: SiteConfig): string {
  return config.modelId ?? basename(config.model).replace(/\.gguf$/i, "");
}

function policy(config: SiteConfig, modelContext: number): GenerationPolicy {
  const asked = config.generation ?? {};
  const contextTokens = asked.contextTokens ?? Math.min(modelContext, contextDefault);
  if (contextTokens > modelContext) {
    throw new InvalidError(
      "config.field",
      `generation.contextTokens: the model's context is ${modelContext} tokens, not ${contextTokens}`,
    );
  }
  return {
    temperatureMax: asked.temperatureMax ?? 2,
    topPMin: asked.topPMin ?? 0.05,
    topKMax: asked.topKMax ?? 64,
    maxTokens: Math.min(asked.maxTokens ?? contextTokens, contextTokens),
    contextTokens,
  };
}

async function describeEntry(
  config: SiteConfig,
): Promise<Omit<WhitelistEntry, "digest" | "profile">> {
  const facts = await describeModel(config.model).catch((error: unknown) => {
    if (!(error instanceof InvalidError)) throw error;
    throw new InvalidError(error.code, `model ${config.model}: ${error.message}`);
  });
  return {
    modelId: modelIdOf(config),
    weights: { sizeBytes: facts.sizeBytes, chunkBytes: facts.chunkBytes, root: facts.root },
    tokenizerDigest: facts.tokenizerDigest,
    templateDigest: facts.templateDigest,
    engine: facts.engine,
    noiseLaw,
    generation: policy(config, facts.contextTokens),
  };
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
  return `changed: ${changed.join(", ")}`;
}

function ensureWhitelist(
  paths: DataPaths,
  parties: Parties,
  entry: Omit<WhitelistEntry, "digest">,
  tell: (text: string) => void,
): number {
  const text = readIfThere(paths.whitelist);
  const old = text === null ? null : openWhitelist(Buffer.from(text), parties);
  if (old !== null && sameEntries(old, entry)) return old.version;
  const version = (old?.version ?? 0) + 1;
  const keys = [readSigningKey(paths.keys, "party-a"), readSigningKey(paths.keys, "party-b")];
  writeAtomic(paths.whitelist, `${encodeEnvelope(sealWhitelist(version, [entry], keys))}\n`);
  const previous = old?.entries[0];
  const swap =
    previous !== undefined && previous.modelId !== entry.modelId
      ? `${entry.modelId} replaces ${previous.modelId}`
      : `${entry.modelId} (${changes(previous, entry)})`;
  tell(`whitelist version ${version}: ${swap}; signed by party A and party B, both simulated here`);
  return version;
}

/**
 * Makes or completes the data directory (whose lock the caller holds). `tell` hears what was done.
 * `calibrate` measures a profile for a model that comes without one.
 * Throws InvalidError for a model that cannot be read, before anything is written for it.
 */
export async function setUp(
  config: SiteConfig,
  paths: DataPaths,
  tell: (text: string) => void,
  calibrate: QuickCalibrate,
): Promise<SetUp> {
  if (!existsSync(config.model)) {
    throw new InvalidError("site.model", `there is no model file ${config.model}`);
  }
  const state = readMarker(paths);
  const described = await describeEntry(config);
  if (state === "begun") tell("an earlier set-up was cut off: continuing it");
  if (state === "none") mark(paths, "begun");
  const { digest } = await ensureProfile(config, paths, described, calibrate);
  const entry = { ...described, profile: digest };
  const made = await ensureKeys(paths.keys, identitiesOf(config), Date.now());
  if (made > 0) tell(`${made} keys and certificates made in ${paths.keys}`);
  const parties = {
    a: publicKeyHex(readSigningKey(paths.keys, "party-a")),
    b: publicKeyHex(readSigningKey(paths.keys, "party-b")),
  };
  const whitelistVersion = ensureWhitelist(paths, parties, entry, tell);
  for (const folder of [paths.config, paths.gateways, paths.recomputer, paths.logs]) {
    privateFolder(folder);
  }
  if (state !== "complete") mark(paths, "complete");
  return { parties, entry, whitelistVersion };
}
