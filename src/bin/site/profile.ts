/** Which calibration profile a site's whitelist names, and where it comes from. */
import { existsSync, readFileSync } from "node:fs";
import { openProfile, profileMismatch, type Profile } from "../../format/profile.ts";
import { InvalidError } from "../../base/assert.ts";
import type { WhitelistEntry } from "../../format/whitelist.ts";
import type { SiteConfig } from "./config.ts";
import { writeAtomic } from "./files.ts";
import type { DataPaths } from "./paths.ts";

/** Measures a profile of `model` and writes it to `out`; throws when it cannot. */
export type QuickCalibrate = (model: string, out: string) => Promise<void>;

export interface ChosenProfile {
  readonly profile: Profile;
  readonly digest: Buffer;
  readonly bytes: Buffer;
}

/** Reads a profile and checks that it speaks for the entry. Throws InvalidError that names the file. */
function readFor(path: string, entry: Parameters<typeof profileMismatch>[1]): ChosenProfile {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new InvalidError("profile.file", `cannot read the profile ${path}: ${why}`);
  }
  try {
    const { profile, digest } = openProfile(bytes);
    const mismatch = profileMismatch(profile, entry);
    if (mismatch !== null) throw new InvalidError("profile.other", mismatch);
    return { profile, digest, bytes };
  } catch (error) {
    if (!(error instanceof InvalidError)) throw error;
    throw new InvalidError(error.code, `profile ${path}: ${error.message}`);
  }
}

/** Where the profile of a model lies by default: beside it. */
export function profileBeside(model: string): string {
  return `${model.replace(/\.gguf$/i, "")}.profile.json`;
}

/** The profile that an earlier start left, if it is for these weights. */
function readKept(
  path: string,
  entry: Parameters<typeof profileMismatch>[1],
): ChosenProfile | null {
  if (!existsSync(path)) return null;
  try {
    return readFor(path, entry);
  } catch (error) {
    // Of an earlier model: a new one is made in its place.
    if (error instanceof InvalidError) return null;
    throw error;
  }
}

/**
 * The site's profile: the one that is configured, the one beside the model, the one of an earlier
 * start, or one that is measured now. It is left in the data directory, where the recomputer reads
 * it. Throws InvalidError `profile.*`.
 */
export async function ensureProfile(
  config: SiteConfig,
  paths: DataPaths,
  entry: Pick<WhitelistEntry, "weights" | "noiseLaw">,
  calibrate: QuickCalibrate,
): Promise<ChosenProfile> {
  const beside = profileBeside(config.model);
  const named = config.profile ?? (existsSync(beside) ? beside : undefined);
  if (named === undefined) {
    const kept = readKept(paths.profile, entry);
    if (kept !== null) return kept;
    await calibrate(config.model, paths.profile);
    return readFor(paths.profile, entry);
  }
  const chosen = readFor(named, entry);
  const there = existsSync(paths.profile) ? readFileSync(paths.profile) : null;
  if (there?.equals(chosen.bytes) !== true) writeAtomic(paths.profile, chosen.bytes.toString());
  return chosen;
}
