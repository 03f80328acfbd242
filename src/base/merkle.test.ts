import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { InvalidError } from "./assert.ts";
import {
  consistencyPath,
  emptyRoot,
  leafHash,
  MerkleFrontier,
  merkleRoot,
  merkleRootByDefinition,
  MerkleTree,
  nodeHash,
  verifyConsistency,
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

function consistencyOf(leaves: readonly Buffer[], from: number, to: number): Buffer[] {
  return consistencyPath(from, to, (start, end) =>
    merkleRootByDefinition(leaves.slice(start, end)),
  );
}

test("merkle: every two sizes to 40 -> the consistency proof verifies, and for no other pair of roots", () => {
  const leaves = someLeaves(40);
  const root = (size: number): Buffer => merkleRoot(leaves.slice(0, size));
  const forged = [...leaves];
  forged[0] = leafHash(Buffer.from("forged"));
  for (let to = 1; to <= leaves.length; to++) {
    for (let from = 1; from <= to; from++) {
      const proof = consistencyOf(leaves, from, to);
      verifyConsistency(from, to, proof, root(from), root(to));
      const other = merkleRoot(forged.slice(0, to));
      for (const roots of [
        [root(from), other],
        [merkleRoot(forged.slice(0, from)), root(to)],
      ] as const) {
        assert.throws(() => verifyConsistency(from, to, proof, ...roots), {
          code: "merkle.consistency",
        });
      }
      // Nor does any proof that the forger could make for his tree lead from the old root.
      const forgedProof = consistencyOf(forged, from, to);
      assert.throws(
        () => verifyConsistency(from, to, forgedProof, root(from), other),
        InvalidError,
      );
    }
  }
});

test("merkle: a consistency proof with a bit flipped, a hash more or a hash less -> refused", () => {
  const leaves = someLeaves(70);
  const sizes = fc.tuple(fc.integer({ min: 1, max: 69 }), fc.integer({ min: 1, max: 70 }));
  fc.assert(
    fc.property(
      sizes.filter(([from, to]) => from < to),
      fc.nat(),
      fc.nat(),
      ([from, to], a, b) => {
        const proof = consistencyOf(leaves, from, to);
        const roots = [merkleRoot(leaves.slice(0, from)), merkleRoot(leaves.slice(0, to))] as const;
        const refused = (changed: Buffer[]): void => {
          assert.throws(() => verifyConsistency(from, to, changed, ...roots), {
            code: "merkle.consistency",
          });
        };
        refused(proof.slice(1));
        refused(proof.slice(0, -1));
        refused([...proof, Buffer.alloc(32)]);
        const changed = proof.map((hash) => Buffer.from(hash));
        const one = changed[a % changed.length] ?? emptyRoot;
        one[b % 32] = (one[b % 32] ?? 0) ^ 1;
        refused(changed);
      },
    ),
  );
});

test("merkle: from an empty tree, or to a smaller one -> refused, whatever the proof", () => {
  const leaves = someLeaves(4);
  const root = merkleRoot(leaves);
  const why = { code: "merkle.consistency" };
  assert.throws(() => verifyConsistency(0, 4, [], emptyRoot, root), why);
  assert.throws(() => verifyConsistency(4, 3, [], root, merkleRoot(leaves.slice(0, 3))), why);
  assert.throws(() => verifyConsistency(4, 4, [], root, nodeHash(root, root)), why);
});

interface ConsistencyProbe {
  readonly size1: number;
  readonly size2: number;
  readonly root1: string;
  readonly root2: string;
  readonly proof: readonly string[] | null;
  readonly desc: string;
  readonly wantErr: boolean;
}

const consistencyVectors = join(
  import.meta.dirname,
  "../../../shared/vectors/merkle/testdata/consistency",
);

test(
  "merkle: the public consistency vectors -> each accepted or refused as published",
  {
    skip: existsSync(consistencyVectors)
      ? false
      : "SKIPPED: ../shared/vectors/merkle is absent, nothing was compared",
  },
  () => {
    let count = 0;
    let strict = 0;
    for (const file of readdirSync(consistencyVectors, { recursive: true, encoding: "utf8" })) {
      if (!file.endsWith(".json")) continue;
      const text = readFileSync(join(consistencyVectors, file), "utf8");
      const probe = JSON.parse(text) as ConsistencyProbe;
      const bytes = (base64: string): Buffer => Buffer.from(base64, "base64");
      const { size1, size2 } = probe;
      const proof = (probe.proof ?? []).map(bytes);
      const check = (): void => {
        verifyConsistency(size1, size2, proof, bytes(probe.root1), bytes(probe.root2));
      };
      // Stricter than published: no proof from an empty tree, and no root that is not a hash.
      const stricter = size1 === 0 || bytes(probe.root1).length !== 32;
      if (stricter && !probe.wantErr) strict++;
      if (probe.wantErr || stricter) assert.throws(check, InvalidError, `${file}: ${probe.desc}`);
      else assert.doesNotThrow(check, `${file}: ${probe.desc}`);
      count++;
    }
    assert.ok(count >= 98, `only ${count} vectors were found`);
    assert.equal(strict, 1, "vectors that we refuse and others accept");
  },
);

test("merkle: an inclusion proof longer than its tree is deep -> refused, though it leads to the root", () => {
  const [leaf, more] = [Buffer.alloc(32, 1), Buffer.alloc(32, 2)];
  const tooLong = /too long/;
  assert.throws(() => {
    verifyInclusion(leaf, 0, 1, [more], nodeHash(more, leaf));
  }, tooLong);
  const leaves = [leaf, more, Buffer.alloc(32, 3)];
  const proof = new MerkleTree(leaves).proof(1);
  assert.throws(() => {
    verifyInclusion(more, 1, 3, [...proof, more], nodeHash(more, merkleRoot(leaves)));
  }, tooLong);
});

test("merkle: a consistency proof longer than it may be -> refused, though it leads to both roots", () => {
  const leaves = [1, 2, 3, 4].map((byte) => Buffer.alloc(32, byte));
  const range = (start: number, end: number): Buffer => merkleRoot(leaves.slice(start, end));
  const more = Buffer.alloc(32, 9);
  const proof = [...consistencyPath(3, 4, range), more];
  const [root1, root2] = [range(0, 3), range(0, 4)].map((root) => nodeHash(more, root));
  assert.ok(root1 !== undefined && root2 !== undefined);
  assert.throws(() => {
    verifyConsistency(3, 4, proof, root1, root2);
  }, /too long/);
});

test("merkle: sizes that are no integers, hashes that are not 32 bytes -> refused as such", () => {
  const leaves = [1, 2, 3, 4].map((byte) => Buffer.alloc(32, byte));
  const [leaf = emptyRoot] = leaves;
  const root = merkleRoot(leaves);
  const proof = new MerkleTree(leaves).proof(0);
  const range = (start: number, end: number): Buffer => merkleRoot(leaves.slice(start, end));
  const path = consistencyPath(3, 4, range);
  const old = range(0, 3);
  for (const odd of [NaN, 0.5, 2 ** 53]) {
    assert.throws(() => verifyInclusion(leaf, odd, 4, proof, root), /no integer/);
    assert.throws(() => verifyInclusion(leaf, 0, odd, proof, root), /no integer/);
    assert.throws(() => verifyConsistency(odd, 4, path, old, root), /no integer/);
    assert.throws(() => verifyConsistency(3, odd, path, old, root), /no integer/);
  }
  for (const bytes of [31, 33]) {
    const short = (hash: Buffer): Buffer =>
      Buffer.concat([hash, Buffer.alloc(1)]).subarray(0, bytes);
    const cut = (hashes: readonly Buffer[]): Buffer[] => hashes.map(short);
    assert.throws(() => verifyInclusion(leaf, 0, 4, cut(proof), root), /proof hash is not 32/);
    assert.throws(() => verifyInclusion(short(leaf), 0, 4, proof, root), /leaf hash is not 32/);
    assert.throws(() => verifyConsistency(3, 4, cut(path), old, root), /proof hash is not 32/);
    assert.throws(() => verifyConsistency(3, 4, path, short(old), root), /root is not 32/);
    assert.throws(() => verifyConsistency(3, 4, path, old, short(root)), /root is not 32/);
  }
});
