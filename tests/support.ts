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

/** A whitelist file signed by both parties with one entry for these weights, and the entry. */
export function whitelisted(
  modelId: string,
  weights: Buffer,
  chunkBytes: number,
  generation: GenerationPolicy = openPolicy,
): { file: Buffer; entry: WhitelistEntry } {
  const envelope = sealWhitelist(
    1,
    [
      {
        modelId,
        weights: {
          sizeBytes: weights.length,
          chunkBytes,
          root: chunked(weights, chunkBytes).tree.root,
        },
        tokenizerDigest: Buffer.alloc(32, 1),
        templateDigest: Buffer.alloc(32, 2),
        engine: "stub",
        noiseLaw,
        generation,
        profile: testProfile.digest,
      },
    ],
    [parties.a, parties.b],
  );
  const file = Buffer.from(encodeEnvelope(envelope));
  const [entry] = openWhitelist(file, partyKeys).entries;
  if (entry === undefined) throw new Error("the whitelist has an entry");
  return { file, entry };
}
