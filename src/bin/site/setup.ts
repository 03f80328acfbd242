/**
 * Set-up of a data directory: at its first start everything is made, at later ones only what is
 * missing or has changed. Every step can be cut off and done again.
 */
import { existsSync, mkdirSync, readdirSync, statSync } from "node:fs";
import { basename } from "node:path";
import { InvalidError } from "../../base/assert.ts";
import type { WhitelistEntry } from "../../format/whitelist.ts";
import type { ModelDescription } from "../../adapter/llama/describe.ts";
import type { SiteConfig } from "./config.ts";
import { describeFile, generationPolicy, measuredEntry } from "./entry.ts";
import { ensureDevices } from "./devices.ts";
import { privateFolder, readJson, writeAtomic } from "./files.ts";
import { ensureKeys, seedNames, type Identity } from "./keys.ts";
import type { DataPaths } from "./paths.ts";
import { ensureProfile, type QuickCalibrate } from "./profile.ts";
import {
  givenEntry,
  givenTrust,
  placeTrust,
  siteTrust,
  trialTrust,
  type GivenTrust,
  type SiteTrust,
} from "./trust.ts";

export interface SetUp {
  readonly trust: SiteTrust;
  readonly entry: Omit<WhitelistEntry, "digest">;
  /** Digest of the first stage that may start gateways. */
  readonly rom: string;
}

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
    { role: "publisher", name: "publisher" },
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

/** The entry that a trial gives itself. */
async function trialEntry(
  config: SiteConfig,
  paths: DataPaths,
  facts: ModelDescription,
  calibrate: QuickCalibrate,
): Promise<Omit<WhitelistEntry, "digest">> {
  const measured = measuredEntry(facts);
  const generation = generationPolicy(config.generation ?? {}, facts.contextTokens);
  const { digest } = await ensureProfile(config, paths, measured, calibrate);
  return { modelId: modelIdOf(config), ...measured, generation, profile: digest };
}

/** The profile that both parties signed is the only one there is: nothing is measured in its place. */
async function givenProfile(
  config: SiteConfig,
  paths: DataPaths,
  entry: WhitelistEntry,
): Promise<void> {
  const wanted = entry.profile.toString("hex");
  const { digest } = await ensureProfile(config, paths, entry, () => {
    const text = `the whitelist names the profile ${wanted}: name its file with --profile`;
    throw new InvalidError("profile.none", text);
  });
  if (digest.equals(entry.profile)) return;
  const text = `the profile at hand is ${digest.toString("hex")}, and the whitelist names ${wanted}`;
  throw new InvalidError("profile.other", text);
}

function take(paths: DataPaths, given: GivenTrust, tell: (text: string) => void): SiteTrust {
  placeTrust(paths, given);
  const trust = siteTrust(given.chain, given.whitelist, given.anchor, true);
  const { parties, whitelistVersion, rootVersion } = trust;
  const names = `${parties.a} and ${parties.b}`;
  tell(`whitelist version ${whitelistVersion} under root version ${rootVersion}, of ${names}`);
  return trust;
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
  const given = givenTrust(config);
  const state = readMarker(paths);
  const facts = await describeFile(config.model);
  const signed = given === null ? null : givenEntry(given, config.modelId, measuredEntry(facts));
  if (state === "begun") tell("an earlier set-up was cut off: continuing it");
  if (state === "none") mark(paths, "begun");
  if (signed !== null) await givenProfile(config, paths, signed);
  const entry = signed ?? (await trialEntry(config, paths, facts, calibrate));
  const seeds = seedNames.filter((name) => given === null || !name.startsWith("party-"));
  const made = await ensureKeys(paths.keys, identitiesOf(config), Date.now(), seeds);
  if (made > 0) tell(`${made} keys and certificates made in ${paths.keys}`);
  const trust =
    given === null ? trialTrust(paths, entry, Date.now(), tell) : take(paths, given, tell);
  for (const folder of [paths.config, paths.gateways, paths.recomputer, paths.log, paths.logs]) {
    privateFolder(folder);
  }
  const rom = await ensureDevices(paths, gatewayNames(config.servers), tell);
  if (state !== "complete") mark(paths, "complete");
  return { trust, entry, rom };
}
