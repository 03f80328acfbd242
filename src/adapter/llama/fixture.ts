/**
 * For tests: writes small llama-architecture GGUF files with random weights, so that the adapter's
 * tests need no model file. The text such a model writes is noise; its numerics are real.
 */
import { type GgufTensor, type GgufValue } from "../../format/gguf.ts";
import { writeGguf } from "../../format/gguf-write.ts";
import { philox4x32 } from "../../format/noise.ts";
import { byteAlphabet } from "./vocabulary.ts";

export interface FixtureShape {
  readonly kind: "gpt2" | "llama";
  readonly dim: number;
  readonly layers: number;
  readonly heads: number;
  readonly feedForward: number;
  readonly contextTokens: number;
  /** Extra made-up merges, to reach larger vocabularies. */
  readonly extraTokens: number;
  readonly template: string | null;
  readonly seed: number;
}

export const chatTemplate =
  "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content']" +
  " + '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

export const smallShape: FixtureShape = {
  kind: "gpt2",
  dim: 64,
  layers: 2,
  heads: 2,
  feedForward: 128,
  contextTokens: 256,
  extraTokens: 0,
  template: chatTemplate,
  seed: 1,
};

const text = (value: string): GgufValue => ({ type: "string", value });
const count = (value: number): GgufValue => ({ type: "u32", value });
const flag = (value: boolean): GgufValue => ({ type: "bool", value });

interface Vocabulary {
  readonly tokens: string[];
  readonly types: number[];
  readonly merges: string[];
}

const normal = 1;
const unknown = 2;
const control = 3;
const byteType = 6;

function gpt2Vocabulary(extra: number): Vocabulary {
  const tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
  const types = [control, control, control];
  const merges: string[] = [];
  const alphabet = byteAlphabet();
  tokens.push(...alphabet);
  const known = new Set(tokens);
  const merge = (left: string, right: string): void => {
    if (known.has(left + right)) return;
    known.add(left + right);
    merges.push(`${left} ${right}`);
    tokens.push(left + right);
  };
  const space = alphabet[32] ?? "";
  for (const pair of ["th", "he", "in", "er", "an", "re", "on", "us"]) {
    merge(pair.charAt(0), pair.charAt(1));
    merge(space, pair.charAt(0));
  }
  // The first two bytes of a three-byte character: a token that is no whole character.
  merge(alphabet[0xe2] ?? "", alphabet[0x82] ?? "");
  for (let i = 0, made = 0; made < extra; i++) {
    const before = tokens.length;
    merge(alphabet[97 + (i % 26)] ?? "", tokens[3 + ((i * 7) % (tokens.length - 3))] ?? "");
    made += tokens.length - before;
  }
  while (types.length < tokens.length) types.push(normal);
  return { tokens, types, merges };
}

function llamaVocabulary(): Vocabulary {
  const tokens = ["<unk>", "<s>", "</s>"];
  const types = [unknown, control, control];
  for (let byte = 0; byte < 256; byte++) {
    tokens.push(`<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`);
    types.push(byteType);
  }
  const words = ["\u2581", "t", "h", "e", "a", "i", "n", "\u2581t", "he", "\u2581the", "in", "an"];
  for (const word of words) {
    tokens.push(word);
    types.push(normal);
  }
  return { tokens, types, merges: [] };
}

/** Standard normal numbers from Philox and Box-Muller: the same file for the same seed. */
function normals(seed: number): () => number {
  const words = new Uint32Array(4);
  let counter = 0;
  return () => {
    philox4x32(words, counter++, 0, 0, 0, seed, 0);
    const u = ((words[0] ?? 0) + 0.5) / 4294967296;
    const v = (words[1] ?? 0) / 4294967296;
    return Math.sqrt(-2 * Math.log(u)) * Math.cos(2 * Math.PI * v);
  };
}

interface Tensor {
  readonly name: string;
  readonly rows: number;
  readonly columns: number;
}

function tensorsOf(shape: FixtureShape, vocabulary: number): Tensor[] {
  const { dim, feedForward } = shape;
  const tensors: Tensor[] = [
    { name: "token_embd.weight", rows: vocabulary, columns: dim },
    { name: "output_norm.weight", rows: 0, columns: dim },
  ];
  for (let layer = 0; layer < shape.layers; layer++) {
    const block = `blk.${layer}`;
    tensors.push({ name: `${block}.attn_norm.weight`, rows: 0, columns: dim });
    tensors.push({ name: `${block}.ffn_norm.weight`, rows: 0, columns: dim });
    for (const part of ["q", "k", "v", "output"]) {
      tensors.push({ name: `${block}.attn_${part}.weight`, rows: dim, columns: dim });
    }
    tensors.push({ name: `${block}.ffn_gate.weight`, rows: feedForward, columns: dim });
    tensors.push({ name: `${block}.ffn_up.weight`, rows: feedForward, columns: dim });
    tensors.push({ name: `${block}.ffn_down.weight`, rows: dim, columns: feedForward });
  }
  return tensors;
}

/** One tensor: F16 for matrices, F32 ones for norms. */
function tensorOf(tensor: Tensor, draw: () => number): GgufTensor {
  const matrix = tensor.rows > 0;
  const elements = matrix ? tensor.rows * tensor.columns : tensor.columns;
  const data = new Uint8Array(elements * (matrix ? 2 : 4));
  const view = new DataView(data.buffer);
  const scale = tensor.name === "token_embd.weight" ? 0.25 : 1.5 / Math.sqrt(tensor.columns);
  for (let i = 0; i < elements; i++) {
    if (matrix) view.setFloat16(2 * i, scale * draw(), true);
    else view.setFloat32(4 * i, 1, true);
  }
  const dims = matrix ? [tensor.columns, tensor.rows] : [tensor.columns];
  return { name: tensor.name, type: matrix ? "F16" : "F32", dims, data };
}

function tokenizerMetadata(shape: FixtureShape, vocabulary: Vocabulary): [string, GgufValue][] {
  const gpt2 = shape.kind === "gpt2";
  const { tokens, types, merges } = vocabulary;
  const scores = tokens.map((token, id) => (id < 259 ? 0 : token.length - 20));
  const fields: [string, GgufValue][] = [
    ["tokenizer.ggml.model", text(shape.kind)],
    ["tokenizer.ggml.tokens", { type: "array", of: "string", values: tokens }],
    ["tokenizer.ggml.token_type", { type: "array", of: "i32", values: types }],
    ["tokenizer.ggml.bos_token_id", count(gpt2 ? 0 : 1)],
    ["tokenizer.ggml.eos_token_id", count(2)],
    ["tokenizer.ggml.add_bos_token", flag(!gpt2)],
    ["tokenizer.ggml.add_eos_token", flag(false)],
  ];
  if (gpt2) {
    fields.push(["tokenizer.ggml.pre", text("gpt-2")]);
    fields.push(["tokenizer.ggml.merges", { type: "array", of: "string", values: merges }]);
  } else {
    fields.push(["tokenizer.ggml.scores", { type: "array", of: "f32", values: scores }]);
    fields.push(["tokenizer.ggml.unknown_token_id", count(0)]);
  }
  if (shape.template !== null) fields.push(["tokenizer.chat_template", text(shape.template)]);
  return fields;
}

/** The bytes of a GGUF v3 file of this shape; the same bytes for the same shape. */
export function fixtureModel(shape: FixtureShape): Uint8Array {
  const vocabulary = shape.kind === "gpt2" ? gpt2Vocabulary(shape.extraTokens) : llamaVocabulary();
  const metadata = new Map<string, GgufValue>([
    ["general.architecture", text("llama")],
    ["general.name", text("fixture")],
    ["general.file_type", count(1)],
    ["llama.block_count", count(shape.layers)],
    ["llama.context_length", count(shape.contextTokens)],
    ["llama.embedding_length", count(shape.dim)],
    ["llama.feed_forward_length", count(shape.feedForward)],
    ["llama.attention.head_count", count(shape.heads)],
    ["llama.attention.head_count_kv", count(shape.heads)],
    ["llama.attention.layer_norm_rms_epsilon", { type: "f32", value: Math.fround(1e-5) }],
    ["llama.rope.dimension_count", count(shape.dim / shape.heads)],
    ["llama.vocab_size", count(vocabulary.tokens.length)],
    ...tokenizerMetadata(shape, vocabulary),
  ]);
  const draw = normals(shape.seed);
  const tensors = tensorsOf(shape, vocabulary.tokens.length).map((tensor) =>
    tensorOf(tensor, draw),
  );
  return writeGguf({ metadata, tensors });
}
