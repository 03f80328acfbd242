/**
 * The whitelist, spec/whitelist.md: which models both parties allow, and everything that shapes
 * their output. A DSSE envelope that counts only with enough signatures of party A and of party B, by
 * the trust root (trust-root.ts). Whether it is older than one seen before: trust-memory.ts.
 */
import type { KeyObject } from "node:crypto";
import { InvalidError } from "../base/assert.ts";
import { decodeUtf8, fromHex } from "../base/bytes.ts";
import { sha256 } from "../base/hash.ts";
import { limits } from "../base/limits.ts";
import { parseEnvelope, sealEnvelope, type Envelope } from "./dsse.ts";
import { Fields, parseJson } from "./json.ts";
import { quorumGap, signedBy, type Signed, type TrustRoot } from "./trust-root.ts";

export const whitelistType = "application/vnd.weir.whitelist+json;v=2";

export interface WeightsEntry {
  /** S: the size of the weights. The gateway serves after exactly 8 S bits. */
  readonly sizeBytes: number;
  readonly chunkBytes: number;
  /** Root of the RFC 6962 tree over the chunks. */
  readonly root: Buffer;
}

/** Allowed ranges; inclusive. A request outside is refused, never clamped in silence. */
export interface GenerationPolicy {
  readonly temperatureMax: number;
  readonly topPMin: number;
  /** The support never exceeds this, so that recomputation needs only this many candidates. */
  readonly topKMax: number;
  readonly maxTokens: number;
  readonly contextTokens: number;
}

export interface WhitelistEntry {
  readonly modelId: string;
  readonly weights: WeightsEntry;
  /** SHA-256 over the tokenizer and chat template as adapter/llama derives them from the file. */
  readonly tokenizerDigest: Buffer;
  readonly templateDigest: Buffer;
  readonly engine: string;
  /** SHA-256 over the engine's libraries (adapter/llama/engine-build.ts). */
  readonly engineBuild: Buffer;
  readonly noiseLaw: string;
  readonly generation: GenerationPolicy;
  /** SHA-256 of the calibration profile's file (format/profile.ts): what honest servers show. */
  readonly profile: Buffer;
  /** SHA-256 of this entry's own JSON text: what leaves refer to. */
  readonly digest: Buffer;
}

/** What two parties agree on, before its entries have digests. */
export interface WhitelistDraft {
  /** Strictly above every earlier one. */
  readonly version: number;
  /** The version of the trust root whose keys sign it: it counts under that one alone. */
  readonly rootVersion: number;
  /** No server boots under this list from this moment on. Milliseconds since 1970. */
  readonly expiresMs: number;
  readonly entries: readonly Omit<WhitelistEntry, "digest">[];
}

export interface WhitelistContents extends WhitelistDraft {
  readonly entries: readonly WhitelistEntry[];
  /** SHA-256 of the payload's bytes. */
  readonly digest: Buffer;
}

/** A whitelist that both parties signed. */
export interface Whitelist extends WhitelistContents {
  readonly signed: Signed;
}

/** The JSON of one entry, fields in a fixed order: its text is what `digest` covers. */
export function entryJson(entry: Omit<WhitelistEntry, "digest">): Record<string, unknown> {
  const { weights, generation } = entry;
  return {
    modelId: entry.modelId,
    weights: {
      sizeBytes: weights.sizeBytes,
      chunkBytes: weights.chunkBytes,
      root: weights.root.toString("hex"),
    },
    tokenizerDigest: entry.tokenizerDigest.toString("hex"),
    templateDigest: entry.templateDigest.toString("hex"),
    engine: entry.engine,
    engineBuild: entry.engineBuild.toString("hex"),
    noiseLaw: entry.noiseLaw,
    generation: {
      temperatureMax: generation.temperatureMax,
      topPMin: generation.topPMin,
      topKMax: generation.topKMax,
      maxTokens: generation.maxTokens,
      contextTokens: generation.contextTokens,
    },
    profile: entry.profile.toString("hex"),
  };
}

function parseWeights(from: Fields): WeightsEntry {
  const weights = {
    sizeBytes: from.integer("sizeBytes", 1, Number.MAX_SAFE_INTEGER),
    chunkBytes: from.integer("chunkBytes", 4096, limits.weightsChunk),
    root: Buffer.from(fromHex(from.text("root"), 32)),
  };
  from.end();
  if (Math.ceil(weights.sizeBytes / weights.chunkBytes) > limits.weightsChunks) {
    throw new InvalidError("whitelist.weights", "the weights have too many chunks");
  }
  return weights;
}

function parseGeneration(from: Fields): GenerationPolicy {
  const policy = {
    temperatureMax: from.number("temperatureMax", 0, 100),
    topPMin: from.number("topPMin", 0, 1),
    topKMax: from.integer("topKMax", 1, 4096),
    maxTokens: from.integer("maxTokens", 1, limits.tokens),
    contextTokens: from.integer("contextTokens", 2, limits.tokens),
  };
  from.end();
  return policy;
}

function parseEntry(from: Fields): WhitelistEntry {
  const modelId = from.text("modelId");
  if (!/^[A-Za-z0-9][A-Za-z0-9._:/-]*$/.test(modelId) || modelId.length > limits.name) {
    throw new InvalidError("whitelist.model-id", `"${modelId}" is no model id`);
  }
  const entry = {
    modelId,
    weights: parseWeights(from.object("weights")),
    tokenizerDigest: Buffer.from(fromHex(from.text("tokenizerDigest"), 32)),
    templateDigest: Buffer.from(fromHex(from.text("templateDigest"), 32)),
    engine: from.text("engine"),
    engineBuild: Buffer.from(fromHex(from.text("engineBuild"), 32)),
    noiseLaw: from.text("noiseLaw"),
    generation: parseGeneration(from.object("generation")),
    profile: Buffer.from(fromHex(from.text("profile"), 32)),
  };
  from.end();
  return { ...entry, digest: sha256(Buffer.from(JSON.stringify(entryJson(entry)))) };
}

/** Signs a whitelist with some keys, of either party. */
export function sealWhitelist(draft: WhitelistDraft, keys: readonly KeyObject[]): Envelope {
  const { version, rootVersion, expiresMs, entries } = draft;
  const payload = JSON.stringify({
    version,
    rootVersion,
    expiresMs,
    entries: entries.map(entryJson),
  });
  return sealEnvelope(whitelistType, Buffer.from(payload), keys);
}

/** Parses a payload; says nothing of who signed it. Throws InvalidError `whitelist.*` or `json.*`. */
export function parseWhitelist(payload: Uint8Array): WhitelistContents {
  const top = new Fields(parseJson(decodeUtf8(payload)), "whitelist");
  const version = top.integer("version", 1, Number.MAX_SAFE_INTEGER);
  const rootVersion = top.integer("rootVersion", 1, limits.rootVersions);
  const expiresMs = top.integer("expiresMs", 1, 8_640_000_000_000_000);
  const items = top.objects("entries");
  if (items.length > limits.whitelistEntries) {
    throw new InvalidError("whitelist.entries", `more than ${limits.whitelistEntries} entries`);
  }
  const entries = items.map(parseEntry);
  top.end();
  const ids = new Set(entries.map((entry) => entry.modelId));
  if (ids.size !== entries.length) {
    throw new InvalidError("whitelist.twice", "a model id occurs twice");
  }
  return { version, rootVersion, expiresMs, entries, digest: sha256(payload) };
}

/**
 * Verifies, then parses, a whitelist. It counts only with the root's thresholds of both parties, and only
 * under the root version that it names. Throws InvalidError `whitelist.*`, `dsse.*` or `json.*`.
 */
export function openWhitelist(bytes: Uint8Array, root: TrustRoot): Whitelist {
  if (bytes.length > limits.whitelistBytes) {
    throw new InvalidError(
      "whitelist.size",
      `a whitelist has at most ${limits.whitelistBytes} bytes`,
    );
  }
  const envelope = parseEnvelope(bytes);
  const signed = signedBy(envelope, whitelistType, root);
  const gap = quorumGap(root, "whitelist", signed);
  if (gap !== null) throw new InvalidError("whitelist.unsigned", gap);
  // The very bytes that were verified.
  const contents = parseWhitelist(envelope.payload);
  if (contents.rootVersion !== root.version) {
    throw new InvalidError(
      "whitelist.root",
      `it was signed for root version ${contents.rootVersion}, and the root is version ${root.version}`,
    );
  }
  return { ...contents, signed };
}
