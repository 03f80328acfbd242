import assert from "node:assert/strict";
import { test } from "node:test";
import { leafHash, MerkleTree } from "../../base/merkle.ts";
import { encodeLeaf } from "../../format/leaf.ts";
import type { Receipt } from "../../format/status.ts";
import { makeTag } from "../../format/tag.ts";
import { checkReceipt } from "./receipt.ts";

function leafOf(counter: number): Buffer {
  return Buffer.from(
    encodeLeaf({
      tag: makeTag(1, counter),
      completedMs: 1000,
      seed: 5n,
      entryDigest: Buffer.alloc(32, 1),
      inputDigest: Buffer.alloc(32, 2),
      outputDigest: Buffer.alloc(32, counter),
      finish: "stop",
      tokens: 3,
    }),
  );
}

const leaves = [1, 2, 3, 4, 5].map(leafOf);
const tree = new MerkleTree(leaves.map((leaf) => leafHash(leaf)));

function receiptOf(index: number): Receipt {
  const leaf = leaves[index] ?? Buffer.alloc(0);
  return {
    tag: "g1.x",
    state: "not-kept",
    leafIndex: index,
    leafHex: leaf.toString("hex"),
    leafHash: leafHash(leaf).toString("hex"),
    logSize: leaves.length,
    logRoot: tree.root.toString("hex"),
    proof: tree.proof(index).map((hash) => hash.toString("hex")),
  };
}

const asked = { gateway: "g1", tag: makeTag(1, 3) };

test("receipt: a leaf in the log -> verified and decoded; a pair not logged -> null", () => {
  assert.equal(checkReceipt(receiptOf(2), asked)?.tokens, 3);
  const open: Receipt = { ...receiptOf(2), state: "open", leafHex: null, leafIndex: null };
  assert.equal(checkReceipt(open, asked), null);
});

test("receipt: another pair's leaf, another root, place or proof -> refused", () => {
  assert.throws(() => checkReceipt(receiptOf(1), asked), { code: "receipt.tag" });
  const good = receiptOf(2);
  const forged: Receipt[] = [
    { ...good, logRoot: "00".repeat(32) },
    { ...good, leafIndex: 3 },
    { ...good, proof: good.proof.slice(1) },
    { ...good, logSize: 3 },
  ];
  for (const receipt of forged) {
    assert.throws(() => checkReceipt(receipt, asked), { code: "merkle.inclusion" });
  }
  const hash = "11".repeat(32);
  assert.throws(() => checkReceipt({ ...good, leafHash: hash }, asked), { code: "receipt.hash" });
});
