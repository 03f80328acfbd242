/** Two gigabytes of weights that are one chunk over and over, so that no bench holds them in memory. */
import { limits } from "../src/base/limits.ts";
import { privateKeyFromSeed } from "../src/base/sign.ts";
import { leafHash, MerkleTree } from "../src/base/merkle.ts";
import type { WhitelistEntry } from "../src/format/whitelist.ts";
import { openPolicy, whitelisted } from "../tests/support.ts";

const chunks = 2048;
export const benchSize = chunks * limits.weightsChunk;
export const benchChunk = Buffer.alloc(limits.weightsChunk, 0x5a);
const leaf = leafHash(benchChunk);
export const benchTree = new MerkleTree(Array.from({ length: chunks }, () => leaf));

/** An entry for those weights (its signatures are those of a small stand-in). */
export function benchEntry(): WhitelistEntry {
  const { entry } = whitelisted("bench", Buffer.alloc(4096), 4096, openPolicy);
  const weights = { sizeBytes: benchSize, chunkBytes: limits.weightsChunk, root: benchTree.root };
  return { ...entry, weights };
}

/** The device key of the bench's gateway: made up, so that its depot knows it too. */
export const benchDeviceKey = privateKeyFromSeed(Buffer.alloc(32, 0xbe));
