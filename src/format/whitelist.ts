/**
 * The whitelist, spec/whitelist.md: which models both parties allow, and everything that shapes
 * their output. A DSSE envelope that counts only with a signature of party A and one of party B.
 */
import type { KeyObject } from "node:crypto";
import { InvalidError } from "../base/assert.ts";
import { decodeUtf8, fromHex } from "../base/bytes.ts";
import { sha256 } from "../base/hash.ts";
import { limits } from "../base/limits.ts";
import { parseEnvelope, sealEnvelope, signersOf, type Envelope } from "./dsse.ts";
import { Fields, parseJson } from "./json.ts";

export const whitelistType = "application/vnd.weir.whitelist+json;v=1";

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
  readonly noiseLaw: string;
  readonly generation: GenerationPolicy;
  /** SHA-256 of the calibration profile's file (format/profile.ts): what honest servers show. */
  readonly profile: Buffer;
  /** SHA-256 of this entry's own JSON text: what leaves refer to. */
  readonly digest: Buffer;
}

export interface Whitelist {
  readonly version: number;
  readonly entries: readonly WhitelistEntry[];
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
    noiseLaw: from.text("noiseLaw"),
    generation: parseGeneration(from.object("generation")),
    profile: Buffer.from(fromHex(from.text("profile"), 32)),
  };
  from.end();
  return { ...entry, digest: sha256(Buffer.from(JSON.stringify(entryJson(entry)))) };
}

/** Signs a whitelist with the keys of both parties. */
export function sealWhitelist(
  version: number,
  entries: readonly Omit<WhitelistEntry, "digest">[],
  keys: readonly KeyObject[],
): Envelope {
  const payload = JSON.stringify({ version, entries: entries.map(entryJson) });
  return sealEnvelope(whitelistType, Buffer.from(payload), keys);
}

/**
 * Verifies and parses a whitelist. It counts only if party A's key and party B's key (64 hex digits
 * each, different) both signed it. Throws InvalidError `whitelist.*`, `dsse.*` or `json.*`.
 */
export function openWhitelist(
  bytes: Uint8Array,
  parties: { readonly a: string; readonly b: string },
): Whitelist {
  if (parties.a === parties.b) {
    throw new InvalidError("whitelist.parties", "the two parties have the same key");
  }
  const envelope = parseEnvelope(bytes);
  const signers = signersOf(envelope, whitelistType, [parties.a, parties.b]);
  for (const [party, key] of Object.entries(parties)) {
    if (!signers.has(key)) {
      throw new InvalidError("whitelist.unsigned", `party ${party.toUpperCase()} has not signed`);
    }
  }
  const top = new Fields(parseJson(decodeUtf8(envelope.payload)), "whitelist");
  const version = top.integer("version", 1, Number.MAX_SAFE_INTEGER);
  const entries = top.objects("entries").map(parseEntry);
  top.end();
  const ids = new Set(entries.map((entry) => entry.modelId));
  if (ids.size !== entries.length) {
    throw new InvalidError("whitelist.twice", "a model id occurs twice");
  }
  return { version, entries };
}
