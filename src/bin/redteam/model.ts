/** What is attacked: a model, the whitelist entry that a site would make of it, profile and policy. */
import { existsSync, readFileSync } from "node:fs";
import { basename, resolve } from "node:path";
import { describeModel } from "../../adapter/llama/describe.ts";
import { InvalidError } from "../../base/assert.ts";
import { sha256 } from "../../base/hash.ts";
import { noiseLaw } from "../../format/noise.ts";
import { defaultPolicy, type Ladder } from "../../format/policy.ts";
import { openProfile, profileMismatch, type ProfileFile } from "../../format/profile.ts";
import { entryJson, type WhitelistEntry } from "../../format/whitelist.ts";
import { ladderOfPolicy, readPolicyFile } from "../policy-file.ts";
import { profileBeside } from "../site/profile.ts";

export interface RedteamModel {
  /** The GGUF file, absolute. */
  readonly path: string;
  /** An adapter that an attack may load, or null. */
  readonly adapter: string | null;
  readonly entry: WhitelistEntry;
  readonly profile: ProfileFile;
  readonly profilePath: string;
  readonly ladder: Ladder;
  /** null: the default. */
  readonly policyPath: string | null;
  readonly policyDigest: string;
}

export interface ModelOptions {
  readonly model: string;
  readonly profile: string | undefined;
  readonly policy: string | undefined;
}

const topKMax = 64;
const contextMax = 1024;

/** Where the adapter of a model lies, if it came with one. */
function adapterBeside(model: string): string | null {
  const path = model.replace(/\.gguf$/i, "-finetune.lora.gguf");
  return path !== model && existsSync(path) ? path : null;
}

function readProfile(path: string): ProfileFile {
  if (!existsSync(path)) {
    const how = "make one with `weir calibrate MODEL.gguf --out FILE` and name it with --profile";
    throw new InvalidError("redteam.profile", `there is no calibration profile ${path}: ${how}`);
  }
  return openProfile(readFileSync(path));
}

/** Throws InvalidError for files that are missing or do not fit each other. */
export async function readModel(options: ModelOptions): Promise<RedteamModel> {
  const path = resolve(options.model);
  if (!existsSync(path)) throw new InvalidError("redteam.model", `there is no model file ${path}`);
  const found = await describeModel(path);
  const profilePath = resolve(options.profile ?? profileBeside(path));
  const profile = readProfile(profilePath);
  const fields = {
    modelId: basename(path).replace(/\.gguf$/i, ""),
    weights: { sizeBytes: found.sizeBytes, chunkBytes: found.chunkBytes, root: found.root },
    tokenizerDigest: found.tokenizerDigest,
    templateDigest: found.templateDigest,
    engine: found.engine,
    engineBuild: found.engineBuild,
    noiseLaw,
    generation: {
      ...{ temperatureMax: 2, topPMin: 0.05, topKMax },
      contextTokens: Math.min(found.contextTokens, contextMax),
      maxTokens: Math.min(found.contextTokens, contextMax),
    },
    profile: profile.digest,
  };
  const mismatch = profileMismatch(profile.profile, fields);
  if (mismatch !== null) {
    throw new InvalidError(
      "redteam.profile",
      `the profile ${profilePath} does not fit: ${mismatch}`,
    );
  }
  const policy = options.policy === undefined ? defaultPolicy : readPolicyFile(options.policy);
  const digest = sha256(Buffer.from(JSON.stringify(entryJson(fields))));
  return {
    ...{ path, adapter: adapterBeside(path), entry: { ...fields, digest }, profile, profilePath },
    ladder: ladderOfPolicy(policy),
    policyPath: options.policy === undefined ? null : resolve(options.policy),
    policyDigest: sha256(Buffer.from(JSON.stringify(policy))).toString("hex"),
  };
}
