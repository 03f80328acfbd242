/** What the adapter reads from a GGUF file's metadata, checked. */
import { open, type FileHandle } from "node:fs/promises";
import { InvalidError, UnavailableError } from "../../base/assert.ts";
import { parseGgufHeader, type GgufHeader, type GgufValue } from "../../format/gguf.ts";

/** Numbers as in llama.cpp's `llama_token_type`. */
export const tokenType = {
  normal: 1,
  unknown: 2,
  control: 3,
  userDefined: 4,
  unused: 5,
  byte: 6,
} as const;

export interface TokenizerMetadata {
  /** `tokenizer.ggml.model`: "gpt2" (byte-level BPE) or "llama" (SentencePiece). */
  readonly kind: string;
  readonly tokens: readonly string[];
  /** One of `tokenType` for each token. */
  readonly types: readonly number[];
  readonly bosId: number | null;
  readonly eosId: number | null;
  /** Whether raw text prompts start with the beginning-of-sequence token. */
  readonly addBos: boolean;
}

export interface ModelMetadata {
  readonly tokenizer: TokenizerMetadata;
  /** `tokenizer.chat_template`; null where the model has none. */
  readonly template: string | null;
  /** The context the model was trained on, in tokens. */
  readonly contextTokens: number;
  /** Bytes of cache per token, keys and values of 16 bits; 0 where the model does not tell its shape. */
  readonly cacheBytes: number;
  /** Every metadata field whose name begins with `tokenizer.`. */
  readonly tokenizerFields: ReadonlyMap<string, GgufValue>;
}

type Fields = ReadonlyMap<string, GgufValue>;

function textOf(fields: Fields, name: string): string | null {
  const field = fields.get(name);
  return field?.type === "string" ? field.value : null;
}

function flagOf(fields: Fields, name: string): boolean | null {
  const field = fields.get(name);
  return field?.type === "bool" ? field.value : null;
}

/** A number, or null where the field is absent or something else. */
function numberOf(fields: Fields, name: string): number | null {
  const field = fields.get(name);
  if (field === undefined || field.type === "array") return null;
  return typeof field.value === "number" || typeof field.value === "bigint"
    ? Number(field.value)
    : null;
}

function listOf(fields: Fields, name: string): readonly unknown[] | null {
  const field = fields.get(name);
  return field?.type === "array" ? field.values : null;
}

function tokensOf(fields: Fields): string[] {
  const name = "tokenizer.ggml.tokens";
  const list = listOf(fields, name);
  if (list === null) throw new InvalidError("model.metadata", `the model has no ${name}`);
  return list.map((item) => {
    if (typeof item !== "string") throw new InvalidError("model.metadata", `${name} is not text`);
    return item;
  });
}

function typesOf(fields: Fields, count: number): number[] {
  const name = "tokenizer.ggml.token_type";
  const list = listOf(fields, name);
  if (list === null) return new Array<number>(count).fill(tokenType.normal);
  if (list.length !== count) {
    throw new InvalidError("model.metadata", `${name} does not have one entry for each token`);
  }
  return list.map((item) => {
    if (typeof item !== "number")
      throw new InvalidError("model.metadata", `${name} is not numbers`);
    return item;
  });
}

/** An estimate, from above where heads differ by layer. */
function cacheBytesOf(fields: Fields, architecture: string): number {
  const number = (name: string): number => numberOf(fields, `${architecture}.${name}`) ?? 0;
  const heads = number("attention.head_count");
  if (heads === 0) return 0;
  const kept = numberOf(fields, `${architecture}.attention.head_count_kv`) ?? heads;
  const size = numberOf(fields, `${architecture}.attention.key_length`);
  const headSize = size ?? number("embedding_length") / heads;
  return 4 * number("block_count") * kept * headSize;
}

/** Checks GGUF metadata. Throws InvalidError `model.metadata` naming what is missing. */
function modelMetadata(fields: Fields): ModelMetadata {
  const architecture = textOf(fields, "general.architecture");
  if (architecture === null) {
    throw new InvalidError("model.metadata", "the model has no general.architecture");
  }
  const contextTokens = numberOf(fields, `${architecture}.context_length`);
  if (contextTokens === null) {
    throw new InvalidError("model.metadata", `the model has no ${architecture}.context_length`);
  }
  const kind = textOf(fields, "tokenizer.ggml.model");
  if (kind === null) {
    throw new InvalidError("model.metadata", "the model has no tokenizer.ggml.model");
  }
  const tokens = tokensOf(fields);
  return {
    tokenizer: {
      kind,
      tokens,
      types: typesOf(fields, tokens.length),
      bosId: numberOf(fields, "tokenizer.ggml.bos_token_id"),
      eosId: numberOf(fields, "tokenizer.ggml.eos_token_id"),
      // Without the field llama.cpp adds it for SentencePiece and not for BPE.
      addBos: flagOf(fields, "tokenizer.ggml.add_bos_token") ?? kind === "llama",
    },
    template: textOf(fields, "tokenizer.chat_template"),
    contextTokens,
    cacheBytes: cacheBytesOf(fields, architecture),
    tokenizerFields: new Map([...fields].filter(([name]) => name.startsWith("tokenizer."))),
  };
}

/** Largest head of a file that is read: vocabularies of today take a few megabytes. */
const headMax = 256 * 1024 * 1024;

async function readHeader(file: FileHandle): Promise<GgufHeader> {
  const { size } = await file.stat();
  for (let length = Math.min(size, 1024 * 1024); ; length = Math.min(size, 4 * length)) {
    const head = Buffer.alloc(length);
    let filled = 0;
    while (filled < length) {
      const { bytesRead } = await file.read(head, filled, length - filled, filled);
      if (bytesRead === 0) throw new InvalidError("gguf.truncated", "gguf: the file shrank");
      filled += bytesRead;
    }
    try {
      const header = parseGgufHeader(head);
      if (header.fileBytes <= size) return header;
      throw new InvalidError("gguf.data", `gguf: ${size} bytes where ${header.fileBytes} are due`);
    } catch (error) {
      const more = error instanceof InvalidError && error.code === "gguf.truncated";
      if (!more || length === size || length >= headMax) throw error;
    }
  }
}

/**
 * Reads the metadata of a GGUF file, and checks that its tensors are all there: llama.cpp is given
 * no file that fails here. (node-llama-cpp's own reader does not end on some broken files.)
 * Throws InvalidError `gguf.*` or `model.metadata`; an error of the file system passes through.
 */
export async function readModelMetadata(path: string): Promise<ModelMetadata> {
  const file = await open(path, "r");
  try {
    const { metadata } = await readHeader(file);
    return modelMetadata(metadata);
  } finally {
    await file.close();
  }
}

/** As `readModelMetadata`, for those about to load the file: UnavailableError `engine.load` for one that cannot be read. */
export async function metadataOf(path: string): Promise<ModelMetadata> {
  try {
    return await readModelMetadata(path);
  } catch (error) {
    if (error instanceof InvalidError) throw error;
    const why = error instanceof Error ? error.message : String(error);
    throw new UnavailableError("engine.load", `"${path}" cannot be read: ${why}`, "none");
  }
}
