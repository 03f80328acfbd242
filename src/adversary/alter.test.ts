import assert from "node:assert/strict";
import { test } from "node:test";
import { parseGguf } from "../format/gguf.ts";
import { addNoise, blocksOf, dropBlock, nudgeRow, randomAdapter } from "./alter.ts";
import { Dice, hash32 } from "./dice.ts";
import { tiny } from "./fixture.ts";
import { toFloats } from "./requantise.ts";

/** Names of tensors whose bytes differ, and how many 16-bit weights of each. */
function changes(other: Uint8Array): Record<string, number> {
  const after = new Map(parseGguf(other).tensors.map((tensor) => [tensor.name, tensor]));
  const found: Record<string, number> = {};
  for (const tensor of parseGguf(tiny).tensors) {
    const now = after.get(tensor.name);
    assert.deepEqual([now?.type, now?.dims], [tensor.type, tensor.dims]);
    const [before, weights] = [toFloats(tensor), now === undefined ? [] : toFloats(now)];
    const count = before.filter((weight, i) => weight !== weights[i]).length;
    if (count > 0) found[tensor.name] = count;
  }
  return found;
}

test("nudgeRow: one row of one matrix, by what was asked, and nothing else", () => {
  const nudged = nudgeRow(tiny, 1, 5, 0.01);
  const [[name, count] = ["", 0], ...others] = Object.entries(changes(nudged));
  assert.deepEqual([name, others], ["blk.1.ffn_down.weight", []]);
  // A row of 192; a zero stays zero.
  assert.ok(count > 150 && count <= 192, `${count}`);
  const find = (gguf: Uint8Array): Float32Array => {
    const tensor = parseGguf(gguf).tensors.find((each) => each.name === name);
    assert.ok(tensor !== undefined);
    return toFloats(tensor);
  };
  const [before, after] = [find(tiny), find(nudged)];
  for (let i = 5 * 192; i < 6 * 192; i++) {
    const [old = 0, now = 0] = [before[i], after[i]];
    assert.ok(Math.abs(now - 1.01 * old) <= 0.001 * Math.abs(old) + 1e-7);
  }
});

test("dropBlock: the two matrices by which a block adds to the stream are zero", () => {
  assert.deepEqual(Object.keys(changes(dropBlock(tiny, 1))), [
    "blk.1.attn_output.weight",
    "blk.1.ffn_down.weight",
  ]);
});

test("addNoise: every matrix and no norm; of the size asked for", () => {
  const noisy = changes(addNoise(tiny, 0.1, new Dice(1n)));
  const names = parseGguf(tiny).tensors.filter(({ dims }) => dims.length === 2);
  assert.deepEqual(
    Object.keys(noisy),
    names.map(({ name }) => name),
  );
  assert.deepEqual(addNoise(tiny, 0.1, new Dice(1n)), addNoise(tiny, 0.1, new Dice(1n)));
});

test("alter: a block or row that the model has not -> an error that says which there are", () => {
  assert.equal(blocksOf(tiny), 2);
  assert.throws(() => dropBlock(tiny, 2), /blocks 0 to 1, not 2/);
  assert.throws(() => nudgeRow(tiny, 0.5, 0, 1), /blocks 0 to 1/);
  assert.throws(() => nudgeRow(tiny, 0, 64, 1), /rows 0 to 63, not 64/);
});

test("randomAdapter: B A has the share of the matrix's size that was asked for", () => {
  const adapter = new Map(
    parseGguf(randomAdapter(tiny, 4, 0.5, new Dice(3n))).tensors.map((each) => [each.name, each]),
  );
  const size = (weights: Iterable<number>): number => {
    const squares = Array.from(weights, (weight) => weight * weight);
    return Math.sqrt(squares.reduce((sum, each) => sum + each, 0) / squares.length);
  };
  const base = parseGguf(tiny).tensors.find(({ name }) => name === "blk.0.attn_q.weight");
  const a = adapter.get("blk.0.attn_q.weight.lora_a");
  const b = adapter.get("blk.0.attn_q.weight.lora_b");
  assert.ok(base !== undefined && a !== undefined && b !== undefined);
  const [wa, wb] = [toFloats(a), toFloats(b)];
  const product: number[] = [];
  for (let row = 0; row < 64; row++) {
    for (let column = 0; column < 64; column++) {
      let sum = 0;
      for (let k = 0; k < 4; k++) sum += (wb[row * 4 + k] ?? 0) * (wa[k * 64 + column] ?? 0);
      product.push(sum);
    }
  }
  const ratio = size(product) / size(toFloats(base));
  assert.ok(ratio > 0.35 && ratio < 0.7, `${ratio}`);
});

test("dice: the same seed gives the same, another one other numbers; normal and uniform", () => {
  const [one, same, other] = [new Dice(5n), new Dice(5n), new Dice(5n << 32n)];
  const draw = (dice: Dice): number[] => Array.from({ length: 9 }, () => dice.word());
  const first = draw(one);
  assert.deepEqual(draw(same), first);
  assert.notDeepEqual(draw(other), first);
  const normal = Array.from({ length: 20_000 }, () => one.normal());
  const mean = normal.reduce((sum, each) => sum + each, 0) / normal.length;
  const square = normal.reduce((sum, each) => sum + each * each, 0) / normal.length;
  assert.ok(Math.abs(mean) < 0.04 && Math.abs(square - 1) < 0.06);
  const ones = Array.from({ length: 10_000 }, (_, i) => hash32(1, i) & 1).filter(Boolean).length;
  assert.ok(Math.abs(ones - 5000) < 300);
});
