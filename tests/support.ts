/** Small parts that several tests share: links in memory, keys, entries, a quiet logger. */
import { duplexPair } from "node:stream";
import { wireOver } from "../src/adapter/link.ts";
import { privateKeyFromSeed, publicKeyHex } from "../src/base/sign.ts";
import { leafHash, MerkleTree } from "../src/base/merkle.ts";
import type { Logger } from "../src/base/report.ts";
import { encodeEnvelope } from "../src/format/dsse.ts";
import { noiseLaw } from "../src/format/noise.ts";
import { sealProfile } from "../src/format/profile.ts";
import {
  encodeRootLines,
  openRootChain,
  sealTrustRoot,
  type RootParty,
} from "../src/format/trust-root.ts";
import {
  openWhitelist,
  sealWhitelist,
  type GenerationPolicy,
  type WhitelistEntry,
} from "../src/format/whitelist.ts";
import type { Peer, Wire } from "../src/format/wire.ts";
import { assumedProfile } from "../src/verification/calibration.ts";

/** Two ends of one link in memory. `left` sees `peerOfLeft` at its other end, and so on. */
export function wirePair(peerOfLeft: Peer, peerOfRight: Peer): { left: Wire; right: Wire } {
  const [a, b] = duplexPair();
  // As a kernel does it: what it has taken is its own, and may be written again by the sender.
  for (const side of [a, b]) {
    const write = side._write.bind(side);
    side._write = (bytes: Uint8Array, encoding, taken) => {
      write(Buffer.from(bytes), encoding, taken);
    };
  }
  return { left: wireOver(a, peerOfLeft), right: wireOver(b, peerOfRight) };
}

export const quiet: Logger = { log: () => undefined };

/** The keys of two made-up parties; their seeds are public, so they protect nothing. */
export const parties = {
  a: privateKeyFromSeed(Buffer.alloc(32, 0xa1)),
  b: privateKeyFromSeed(Buffer.alloc(32, 0xb2)),
};
export const partyKeys = { a: publicKeyHex(parties.a), b: publicKeyHex(parties.b) };

/** A calibration profile for any model, with wide numbers; its digest stands in test entries. */
export const testProfile = sealProfile(assumedProfile);

export const openPolicy: GenerationPolicy = {
  temperatureMax: 2,
  topPMin: 0,
  topKMax: 64,
  maxTokens: 2048,
  contextTokens: 4096,
};

/** Cuts weights into chunks and builds their tree. */
export function chunked(
  weights: Buffer,
  chunkBytes: number,
): { chunks: Buffer[]; tree: MerkleTree } {
  const chunks: Buffer[] = [];
  for (let at = 0; at < weights.length; at += chunkBytes) {
    chunks.push(weights.subarray(at, Math.min(weights.length, at + chunkBytes)));
  }
  return { chunks, tree: new MerkleTree(chunks.map((chunk) => leafHash(chunk))) };
}

/** The trust root of the two: one key each, and one signature of each for everything. */
const rootParty = (name: string, key: string): RootParty => ({
  ...{ name, keys: [key], thresholds: { whitelist: 1, root: 1 }, operators: [] },
});
const sealedRoot = sealTrustRoot(
  {
    version: 1,
    expiresMs: 8e15,
    a: rootParty("North", partyKeys.a),
    b: rootParty("South", partyKeys.b),
  },
  [parties.a, parties.b],
);
/** The root's file, and what roles are told of it. */
export const rootFile = encodeRootLines([sealedRoot]);
export const testRoot = openRootChain(Buffer.from(rootFile), null).current;
export const rootAnchor = testRoot.digest.toString("hex");

/** A whitelist file signed by both parties with this one entry, and the entry as it is opened. */
export function signed(entry: Omit<WhitelistEntry, "digest">): {
  file: Buffer;
  entry: WhitelistEntry;
} {
  const draft = { version: 1, rootVersion: 1, expiresMs: 8e15, entries: [entry] };
  const file = Buffer.from(encodeEnvelope(sealWhitelist(draft, [parties.a, parties.b])));
  const [opened] = openWhitelist(file, testRoot).entries;
  if (opened === undefined) throw new Error("the whitelist has an entry");
  return { file, entry: opened };
}

/** A whitelist file signed by both parties with one entry for these weights, and the entry. */
export function whitelisted(
  modelId: string,
  weights: Buffer,
  chunkBytes: number,
  generation: GenerationPolicy = openPolicy,
): { file: Buffer; entry: WhitelistEntry } {
  return signed({
    modelId,
    weights: {
      sizeBytes: weights.length,
      chunkBytes,
      root: chunked(weights, chunkBytes).tree.root,
    },
    tokenizerDigest: Buffer.alloc(32, 1),
    templateDigest: Buffer.alloc(32, 2),
    engine: "stub",
    engineBuild: Buffer.alloc(32, 3),
    noiseLaw,
    generation,
    profile: testProfile.digest,
  });
}
