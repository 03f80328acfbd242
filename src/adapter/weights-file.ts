/** Weights in a file, with their chunk tree computed once at opening. */
import { open, type FileHandle } from "node:fs/promises";
import { UnavailableError } from "../base/assert.ts";
import { limits } from "../base/limits.ts";
import { leafHash, MerkleTree } from "../base/merkle.ts";
import type { WeightsFile } from "../depot/weights.port.ts";

/** Opens `path` as `modelId`; reads it once. Throws UnavailableError `weights.*` when it cannot. */
export async function openWeightsFile(path: string, modelId: string): Promise<WeightsFile> {
  let file: FileHandle;
  try {
    file = await open(path, "r");
  } catch (error) {
    throw new UnavailableError("weights.open", `${path}: ${(error as Error).message}`, "none");
  }
  const sizeBytes = (await file.stat()).size;
  if (sizeBytes === 0) {
    await file.close();
    throw new UnavailableError("weights.empty", `${path} is empty`, "none");
  }
  const chunkBytes = limits.weightsChunk;
  const read = (index: number, into: Buffer): Promise<Buffer> => {
    const length = Math.min(chunkBytes, sizeBytes - index * chunkBytes);
    return readFully(file, into.subarray(0, length), index * chunkBytes);
  };
  const leaves: Buffer[] = [];
  const into = Buffer.allocUnsafeSlow(Math.min(chunkBytes, sizeBytes));
  for (let at = 0; at * chunkBytes < sizeBytes; at++) leaves.push(leafHash(await read(at, into)));
  const tree = new MerkleTree(leaves);
  return {
    modelId,
    sizeBytes,
    chunkBytes,
    root: tree.root,
    chunk: async (index, memory) => ({
      data: await read(index, memory),
      proof: tree.proof(index),
    }),
    close: () => file.close(),
  };
}

/** Fills `data` from position `at`. */
async function readFully(file: FileHandle, data: Buffer, at: number): Promise<Buffer> {
  let filled = 0;
  while (filled < data.length) {
    const { bytesRead } = await file.read(data, filled, data.length - filled, at + filled);
    if (bytesRead === 0) {
      throw new UnavailableError("weights.short", "the weights file became shorter", "none");
    }
    filled += bytesRead;
  }
  return data;
}
