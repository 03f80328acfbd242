/** What a whitelist entry says about a GGUF file. */
import { open, stat } from "node:fs/promises";
import { assert, InvalidError } from "../../base/assert.ts";
import { Writer } from "../../base/bytes.ts";
import { sha256 } from "../../base/hash.ts";
import { limits } from "../../base/limits.ts";
import { leafHash, MerkleFrontier } from "../../base/merkle.ts";
import { engineBuild } from "./engine-build.ts";
import { readModelMetadata, type ModelMetadata } from "./metadata.ts";
import { engineName } from "./runtime.ts";
import { Vocabulary } from "./vocabulary.ts";

export interface ModelDescription {
  readonly sizeBytes: number;
  readonly chunkBytes: number;
  /** Root of the RFC 6962 tree over the file's chunks. */
  readonly root: Buffer;
  readonly tokenizerDigest: Buffer;
  readonly templateDigest: Buffer;
  /** The context the model was trained on. */
  readonly contextTokens: number;
  readonly vocabularySize: number;
  readonly hasTemplate: boolean;
  /** `llama.cpp/node-llama-cpp 3.22.1 v0.5.0`. */
  readonly engine: string;
  /** SHA-256 over the engine's libraries as they lie on this machine's disk. */
  readonly engineBuild: Buffer;
}

function writeScalar(out: Writer, value: number | bigint | boolean | string): void {
  if (typeof value === "string") out.text(value);
  else if (typeof value === "number") out.f64(value);
  else if (typeof value === "bigint") out.text(value.toString());
  else out.u8(value ? 1 : 0);
}

/**
 * SHA-256 over "weir/tokenizer/1", then every metadata field whose name begins with `tokenizer.`,
 * except `tokenizer.chat_template*`, in rising order of the names' UTF-16 code units: the name, the
 * GGUF type's name ("u32", "string", "array:string", ...), and the value; an array has a u32 count,
 * then its values. Strings are u32 length and UTF-8, 64-bit integers their decimal text, flags one
 * byte, other numbers a big-endian f64. So a change of any token, merge, score or special id shows.
 */
function tokenizerDigest(metadata: ModelMetadata): Buffer {
  const out = new Writer(65_536).text("weir/tokenizer/1");
  for (const name of [...metadata.tokenizerFields.keys()].sort()) {
    const field = metadata.tokenizerFields.get(name);
    if (field === undefined || name.startsWith("tokenizer.chat_template")) continue;
    out.text(name);
    if (field.type === "array") {
      out.text(`array:${field.of}`).u32(field.values.length);
      for (const value of field.values) writeScalar(out, value);
    } else {
      out.text(field.type);
      writeScalar(out, field.value);
    }
  }
  return sha256(out.bytes());
}

/** SHA-256 over "weir/template/1", a flag byte, and the template (absent where the flag is 0). */
function templateDigest(metadata: ModelMetadata): Buffer {
  const out = new Writer().text("weir/template/1").u8(metadata.template === null ? 0 : 1);
  if (metadata.template !== null) out.text(metadata.template);
  return sha256(out.bytes());
}

/** Reads `buffer.length` bytes, or fewer at the end of the file. */
async function readFully(
  file: { read(b: Buffer, o: number, n: number): Promise<{ bytesRead: number }> },
  buffer: Buffer,
): Promise<number> {
  let filled = 0;
  while (filled < buffer.length) {
    const { bytesRead } = await file.read(buffer, filled, buffer.length - filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return filled;
}

/** Root of the chunk tree of a file; one chunk in memory at a time. */
async function chunkTree(
  path: string,
  sizeBytes: number,
  onProgress: (doneBytes: number) => void,
): Promise<Buffer> {
  const tree = new MerkleFrontier();
  const chunk = Buffer.allocUnsafe(limits.weightsChunk);
  const file = await open(path, "r");
  try {
    let done = 0;
    for (let got = await readFully(file, chunk); got > 0; got = await readFully(file, chunk)) {
      tree.append(leafHash(chunk.subarray(0, got)));
      done += got;
      onProgress(done);
    }
    if (done !== sizeBytes) throw new InvalidError("model.changed", `"${path}" changed while read`);
  } finally {
    await file.close();
  }
  return tree.root();
}

/**
 * Describes a GGUF file of any size. `onProgress` hears how many bytes are hashed.
 * Throws InvalidError `gguf.*` or `model.*` when it is no model that the adapter can serve.
 */
export async function describeModel(
  path: string,
  onProgress: (doneBytes: number, sizeBytes: number) => void = () => undefined,
): Promise<ModelDescription> {
  const metadata = await readModelMetadata(path);
  const vocabulary = new Vocabulary(metadata.tokenizer, () => false);
  const { size } = await stat(path);
  assert(size > 0, "a model with metadata is not empty");
  const root = await chunkTree(path, size, (done) => {
    onProgress(done, size);
  });
  return {
    sizeBytes: size,
    chunkBytes: limits.weightsChunk,
    root,
    tokenizerDigest: tokenizerDigest(metadata),
    templateDigest: templateDigest(metadata),
    contextTokens: metadata.contextTokens,
    vocabularySize: vocabulary.size,
    hasTemplate: metadata.template !== null,
    engine: await engineName(),
    engineBuild: await engineBuild(),
  };
}
