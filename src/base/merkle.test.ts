import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { InvalidError } from "./assert.ts";
import {
  emptyRoot,
  leafHash,
  MerkleFrontier,
  merkleRoot,
  merkleRootByDefinition,
  MerkleTree,
  verifyInclusion,
} from "./merkle.ts";

/** The eight leaves of certificate-transparency's reference tests. */
const referenceLeaves = [
  "",
  "00",
  "10",
  "2021",
  "3031",
  "40414243",
  "5051525354555657",
  "606162636465666768696a6b6c6d6e6f",
].map((hex) => leafHash(Buffer.from(hex, "hex")));

const referenceRoot = "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328";

function someLeaves(count: number): Buffer[] {
  return Array.from({ length: count }, (_, i) => leafHash(Buffer.from(`leaf ${i}`)));
}

test("merkle: no leaves -> the hash of nothing", () => {
  const expected = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
  assert.equal(emptyRoot.toString("hex"), expected);
  assert.equal(new MerkleFrontier().root().toString("hex"), expected);
  assert.equal(new MerkleTree([]).root.toString("hex"), expected);
});

test("merkle: the eight reference leaves -> the published root, by all four ways", () => {
  assert.equal(merkleRoot(referenceLeaves).toString("hex"), referenceRoot);
  assert.equal(merkleRootByDefinition(referenceLeaves).toString("hex"), referenceRoot);
  assert.equal(new MerkleTree(referenceLeaves).root.toString("hex"), referenceRoot);
  const frontier = new MerkleFrontier();
  for (const leaf of referenceLeaves) frontier.append(leaf);
  assert.equal(frontier.root().toString("hex"), referenceRoot);
});

test("merkle: every size to 130 -> frontier and tree agree with the recursive definition", () => {
  const leaves = someLeaves(130);
  const frontier = new MerkleFrontier();
  for (let size = 1; size <= leaves.length; size++) {
    frontier.append(leaves[size - 1] ?? emptyRoot);
    const expected = merkleRootByDefinition(leaves.slice(0, size));
    assert.deepEqual(frontier.root(), expected, `frontier of ${size}`);
    assert.deepEqual(new MerkleTree(leaves.slice(0, size)).root, expected, `tree of ${size}`);
    assert.equal(frontier.size, size);
  }
});

test("merkle: every leaf of every size to 40 -> its proof verifies, and only where it belongs", () => {
  for (let size = 1; size <= 40; size++) {
    const leaves = someLeaves(size);
    const tree = new MerkleTree(leaves);
    for (const [index, leaf] of leaves.entries()) {
      const proof = tree.proof(index);
      verifyInclusion(leaf, index, size, proof, tree.root);
      const wrong = (index + 1) % size;
      if (wrong !== index) {
        assert.throws(() => {
          verifyInclusion(leaf, wrong, size, proof, tree.root);
        }, InvalidError);
      }
    }
  }
});

test("merkle: a proof with a bit flipped, a hash more or a hash less -> refused", () => {
  fc.assert(
    fc.property(fc.integer({ min: 2, max: 70 }), fc.nat(), fc.nat(), (size, a, b) => {
      const leaves = someLeaves(size);
      const tree = new MerkleTree(leaves);
      const index = a % size;
      const leaf = leaves[index] ?? emptyRoot;
      const proof = tree.proof(index).map((hash) => Buffer.from(hash));
      const refused = (changed: Buffer[]): void => {
        assert.throws(
          () => {
            verifyInclusion(leaf, index, size, changed, tree.root);
          },
          { code: "merkle.inclusion" },
        );
      };
      refused(proof.slice(1));
      refused(proof.slice(0, -1));
      refused([...proof, Buffer.alloc(32)]);
      refused([Buffer.alloc(31), ...proof.slice(1)]);
      const changed = proof.map((hash) => Buffer.from(hash));
      const one = changed[b % changed.length] ?? emptyRoot;
      one[b % 32] = (one[b % 32] ?? 0) ^ 1;
      refused(changed);
    }),
  );
});

interface Probe {
  readonly leafIdx: number;
  readonly treeSize: number;
  readonly root: string;
  readonly leafHash: string;
  readonly proof: readonly string[] | null;
  readonly desc: string;
  readonly wantErr: boolean;
}

const vectors = join(import.meta.dirname, "../../../shared/vectors/merkle/testdata/inclusion");

test(
  "merkle: the public inclusion vectors -> each accepted or refused as published",
  {
    skip: existsSync(vectors)
      ? false
      : "SKIPPED: ../shared/vectors/merkle is absent, nothing was compared",
  },
  () => {
    let count = 0;
    for (const file of readdirSync(vectors, { recursive: true, encoding: "utf8" })) {
      if (!file.endsWith(".json")) continue;
      const probe = JSON.parse(readFileSync(join(vectors, file), "utf8")) as Probe;
      const bytes = (text: string): Buffer => Buffer.from(text, "base64");
      const check = (): void => {
        const proof = (probe.proof ?? []).map(bytes);
        verifyInclusion(
          bytes(probe.leafHash),
          probe.leafIdx,
          probe.treeSize,
          proof,
          bytes(probe.root),
        );
      };
      if (probe.wantErr) assert.throws(check, InvalidError, `${file}: ${probe.desc}`);
      else assert.doesNotThrow(check, `${file}: ${probe.desc}`);
      count++;
    }
    assert.ok(count >= 98, `only ${count} vectors were found`);
  },
);
