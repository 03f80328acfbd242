/** Small changes of a model's weights, in memory: what is left is the same file but for a few tensors. */
import { InvalidError } from "../base/assert.ts";
import { parseGguf, type GgufTensor, type GgufValue } from "../format/gguf.ts";
import { writeGguf } from "../format/gguf-write.ts";
import type { Dice } from "./dice.ts";
import { toF16, toF32, toFloats } from "./requantise.ts";

/** Changes the weights of a tensor in place; returns whether it did. */
type Change = (tensor: GgufTensor, weights: Float32Array) => boolean;

/** F32 stays F32; F16 and BF16 become F16. */
function altered(tensor: GgufTensor, change: Change): GgufTensor {
  const weights = toFloats(tensor);
  if (!change(tensor, weights)) return tensor;
  return tensor.type === "F32"
    ? { ...tensor, data: toF32(weights) }
    : { ...tensor, type: "F16", data: toF16(weights) };
}

function alter(gguf: Uint8Array, change: Change): Uint8Array {
  const { metadata, tensors } = parseGguf(gguf);
  return writeGguf({ metadata, tensors: tensors.map((tensor) => altered(tensor, change)) });
}

/** How many blocks (layers) a model has, by its tensors' names. */
export function blocksOf(gguf: Uint8Array): number {
  const blocks = parseGguf(gguf).tensors.map(({ name }) => /^blk\.(\d+)\./.exec(name)?.[1]);
  return blocks.reduce((most, block) => Math.max(most, Number(block ?? -1) + 1), 0);
}

/** Throws InvalidError `attack.block` where a model has no block of that number. */
function checkBlock(gguf: Uint8Array, block: number): void {
  const blocks = blocksOf(gguf);
  if (Number.isInteger(block) && block >= 0 && block < blocks) return;
  throw new InvalidError("attack.block", `the model has blocks 0 to ${blocks - 1}, not ${block}`);
}

/**
 * The model without block `block`: the matrices by which it adds to the residual stream are zero, so
 * that the block gives through exactly what it gets. Throws InvalidError `attack.block`.
 */
export function dropBlock(gguf: Uint8Array, block: number): Uint8Array {
  checkBlock(gguf, block);
  const out = new RegExp(`^blk\\.${block}\\.(attn_output|ffn_down)\\.(weight|bias)$`);
  return alter(gguf, ({ name }, weights) => {
    if (!out.test(name)) return false;
    weights.fill(0);
    return true;
  });
}

/**
 * One row of one matrix (the down projection of a block) times 1 + `by`: about the least that can be
 * called another model. Throws InvalidError `attack.block`, `attack.row`.
 */
export function nudgeRow(gguf: Uint8Array, block: number, row: number, by: number): Uint8Array {
  checkBlock(gguf, block);
  return alter(gguf, ({ name, dims }, weights) => {
    if (name !== `blk.${block}.ffn_down.weight`) return false;
    const [inputs = 0, rows = 0] = dims;
    if (!(Number.isInteger(row) && row >= 0 && row < rows)) {
      throw new InvalidError("attack.row", `${name} has rows 0 to ${rows - 1}, not ${row}`);
    }
    for (let i = row * inputs; i < (row + 1) * inputs; i++)
      weights[i] = (weights[i] ?? 0) * (1 + by);
    return true;
  });
}

/** Every matrix plus normal noise of `share` times its own root mean square. */
export function addNoise(gguf: Uint8Array, share: number, dice: Dice): Uint8Array {
  return alter(gguf, ({ dims }, weights) => {
    if (dims.length !== 2) return false;
    let squares = 0;
    for (const weight of weights) squares += weight * weight;
    const deviation = share * Math.sqrt(squares / weights.length);
    for (let i = 0; i < weights.length; i++) {
      weights[i] = (weights[i] ?? 0) + deviation * dice.normal();
    }
    return true;
  });
}

/**
 * A LoRA adapter of random factors for the attention's query and value projections: what a fine-tune
 * of that rank might weigh, `share` of the root mean square of the matrix it is added to.
 */
export function randomAdapter(
  gguf: Uint8Array,
  rank: number,
  share: number,
  dice: Dice,
): Uint8Array {
  const { metadata, tensors } = parseGguf(gguf);
  const architecture = metadata.get("general.architecture");
  if (architecture?.type !== "string") {
    throw new InvalidError("lora.metadata", "the model does not say its architecture");
  }
  const normal = (count: number, deviation: number): Uint8Array =>
    toF32(Float32Array.from({ length: count }, () => deviation * dice.normal()));
  const parts = tensors
    .filter(({ name }) => /^blk\.\d+\.attn_[qv]\.weight$/.test(name))
    .flatMap((tensor): GgufTensor[] => {
      const [inputs = 0, outputs = 0] = tensor.dims;
      const weights = toFloats(tensor);
      const square = weights.reduce((sum, weight) => sum + weight * weight, 0) / weights.length;
      // Each entry of B A is a sum of `rank` products; with alpha = rank it is added as it is.
      const deviation = Math.sqrt((share * Math.sqrt(square)) / Math.sqrt(rank));
      const { name } = tensor;
      const a = normal(inputs * rank, deviation);
      const b = normal(rank * outputs, deviation);
      return [
        { name: `${name}.lora_a`, dims: [inputs, rank], type: "F32", data: a },
        { name: `${name}.lora_b`, dims: [rank, outputs], type: "F32", data: b },
      ];
    });
  return writeGguf({
    metadata: new Map<string, GgufValue>([
      ["general.type", { type: "string", value: "adapter" }],
      ["general.architecture", architecture],
      ["adapter.type", { type: "string", value: "lora" }],
      ["adapter.lora.alpha", { type: "f32", value: rank }],
    ]),
    tensors: parts,
  });
}
