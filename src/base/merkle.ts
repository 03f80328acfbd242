/**
 * Merkle trees of RFC 6962 section 2.1 (RFC 9162 section 2.1) over SHA-256:
 * leaf = H(0x00 || data), node = H(0x01 || left || right), empty root = H("").
 */
import { createHash } from "node:crypto";
import { assert, InvalidError } from "./assert.ts";
import { equalBytes } from "./bytes.ts";
import { sha256 } from "./hash.ts";

const nodeInput = Buffer.alloc(65, 1);
const leafPrefix = Buffer.of(0);

/** Above this, a hash object costs less than a copy of the data behind the prefix. */
const leafCopyMax = 16_384;

export function leafHash(data: Uint8Array): Buffer {
  if (data.length > leafCopyMax) {
    return createHash("sha256").update(leafPrefix).update(data).digest();
  }
  const input = Buffer.allocUnsafe(1 + data.length);
  input[0] = 0;
  input.set(data, 1);
  return sha256(input);
}

export function nodeHash(left: Uint8Array, right: Uint8Array): Buffer {
  nodeInput.set(left, 1);
  nodeInput.set(right, 33);
  return sha256(nodeInput);
}

export const emptyRoot: Buffer = sha256(new Uint8Array(0));

/** An append-only tree that keeps only its right edge: log2(n) hashes. */
export class MerkleFrontier {
  readonly #edge: (Buffer | undefined)[] = [];
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** Adds a leaf by its leaf hash. */
  append(leaf: Buffer): void {
    let hash = leaf;
    let level = 0;
    for (let size = this.#size; size % 2 === 1; size = Math.floor(size / 2)) {
      const left = this.#edge[level];
      assert(left !== undefined, "a set bit of the size has a hash");
      hash = nodeHash(left, hash);
      this.#edge[level] = undefined;
      level++;
    }
    this.#edge[level] = hash;
    this.#size++;
  }

  /** A tree of its own that goes on from here. */
  clone(): MerkleFrontier {
    const copy = new MerkleFrontier();
    copy.#edge.push(...this.#edge);
    copy.#size = this.#size;
    return copy;
  }

  root(): Buffer {
    let root: Buffer | undefined;
    for (const hash of this.#edge) {
      if (hash === undefined) continue;
      root = root === undefined ? hash : nodeHash(hash, root);
    }
    return root ?? emptyRoot;
  }
}

/** Where a tree over `count` > 1 leaves splits: the largest power of two below `count`. */
export function splitPoint(count: number): number {
  let k = 1;
  while (2 * k < count) k *= 2;
  return k;
}

/** Root of the tree over these leaf hashes. O(n). */
export function merkleRoot(leaves: readonly Buffer[]): Buffer {
  const frontier = new MerkleFrontier();
  for (const leaf of leaves) frontier.append(leaf);
  return frontier.root();
}

/** All levels of a tree, bottom first, so that many proofs cost one pass. */
export class MerkleTree {
  readonly #levels: Buffer[][];

  constructor(leaves: readonly Buffer[]) {
    this.#levels = [[...leaves]];
    for (let level = this.#levels[0] ?? []; level.length > 1;) {
      const next: Buffer[] = [];
      for (let i = 0; i + 1 < level.length; i += 2) {
        next.push(nodeHash(level[i] ?? emptyRoot, level[i + 1] ?? emptyRoot));
      }
      // An odd last node is carried up unchanged: RFC 9162's split at a power of two.
      const last = level[level.length - 1];
      if (level.length % 2 === 1 && last !== undefined) next.push(last);
      this.#levels.push(next);
      level = next;
    }
  }

  get root(): Buffer {
    return this.#levels[this.#levels.length - 1]?.[0] ?? emptyRoot;
  }

  /** The audit path of leaf `index` (RFC 9162 section 2.1.3), bottom first. */
  proof(index: number): Buffer[] {
    assert(index >= 0 && index < (this.#levels[0]?.length ?? 0), "the leaf exists");
    const path: Buffer[] = [];
    let at = index;
    for (const level of this.#levels) {
      const sibling = level[at % 2 === 0 ? at + 1 : at - 1];
      if (sibling !== undefined && level.length > 1) path.push(sibling);
      at = Math.floor(at / 2);
    }
    return path;
  }
}

/**
 * Checks an inclusion proof (RFC 9162 section 2.1.3.2). Throws InvalidError `merkle.inclusion`.
 * `leaf` is the leaf hash, `index` and `size` count leaves.
 */
export function verifyInclusion(
  leaf: Uint8Array,
  index: number,
  size: number,
  proof: readonly Uint8Array[],
  root: Uint8Array,
): void {
  const fail = (why: string): never => {
    throw new InvalidError("merkle.inclusion", why);
  };
  if (leaf.length !== 32) fail("the leaf hash is not 32 bytes");
  if (!Number.isSafeInteger(index) || !Number.isSafeInteger(size))
    fail("index or size is no integer");
  if (index < 0 || index >= size) fail("the index lies outside the tree");
  let fn = index;
  let sn = size - 1;
  let hash: Uint8Array = leaf;
  for (const sibling of proof) {
    if (sibling.length !== 32) fail("a proof hash is not 32 bytes");
    if (sn === 0) fail("the proof is too long");
    if (fn % 2 === 1 || fn === sn) {
      hash = nodeHash(sibling, hash);
      while (fn % 2 === 0 && fn !== 0) {
        fn = Math.floor(fn / 2);
        sn = Math.floor(sn / 2);
      }
    } else {
      hash = nodeHash(hash, sibling);
    }
    fn = Math.floor(fn / 2);
    sn = Math.floor(sn / 2);
  }
  if (sn !== 0) fail("the proof is too short");
  if (!equalBytes(hash, root)) fail("the proof does not lead to the root");
}

/**
 * The consistency proof between the trees over the first `from` and the first `to` leaves (RFC 9162 section 2.1.4.1),
 * 0 < from <= to; empty when they are equal. `range` gives the root over leaves [start, end).
 */
export function consistencyPath(
  from: number,
  to: number,
  range: (start: number, end: number) => Buffer,
): Buffer[] {
  assert(from > 0 && from <= to, "a proof leads from a tree with leaves to one that is no smaller");
  const path: Buffer[] = [];
  let start = 0;
  let end = to;
  // Whether the old tree's own root is the part that is left over: the verifier has it already.
  let whole = true;
  while (from !== end) {
    const middle = start + splitPoint(end - start);
    if (from <= middle) {
      path.push(range(middle, end));
      end = middle;
    } else {
      path.push(range(start, middle));
      start = middle;
      whole = false;
    }
  }
  if (!whole) path.push(range(start, end));
  return path.reverse();
}

/** Both roots that a consistency proof leads to; the number of hashes is checked here as well. */
function consistencyRoots(
  size1: number,
  size2: number,
  proof: readonly Uint8Array[],
  root1: Uint8Array,
  fail: (why: string) => never,
): readonly [Uint8Array, Uint8Array] {
  let fn = size1 - 1;
  let sn = size2 - 1;
  while (fn % 2 === 1) {
    fn = Math.floor(fn / 2);
    sn = Math.floor(sn / 2);
  }
  // fn is 0 exactly when size1 is a power of two: then the old root itself begins the proof.
  const [first, ...rest] = fn === 0 ? [root1, ...proof] : proof;
  if (first === undefined) return fail("the proof is empty");
  let one = first;
  let two = first;
  for (const sibling of rest) {
    if (sn === 0) fail("the proof is too long");
    if (fn % 2 === 1 || fn === sn) {
      one = nodeHash(sibling, one);
      two = nodeHash(sibling, two);
      while (fn % 2 === 0 && fn !== 0) {
        fn = Math.floor(fn / 2);
        sn = Math.floor(sn / 2);
      }
    } else {
      two = nodeHash(two, sibling);
    }
    fn = Math.floor(fn / 2);
    sn = Math.floor(sn / 2);
  }
  if (sn !== 0) fail("the proof is too short");
  return [one, two];
}

/**
 * Checks that the tree of `size2` leaves begins with that of `size1` (RFC 9162 section 2.1.4.2). Throws InvalidError
 * `merkle.consistency`. `size1` 0 is refused: every tree begins with the empty one, and a proof says nothing.
 */
export function verifyConsistency(
  size1: number,
  size2: number,
  proof: readonly Uint8Array[],
  root1: Uint8Array,
  root2: Uint8Array,
): void {
  const fail = (why: string): never => {
    throw new InvalidError("merkle.consistency", why);
  };
  if (!Number.isSafeInteger(size1) || !Number.isSafeInteger(size2)) fail("a size is no integer");
  if (size1 < 1 || size1 > size2) fail("the sizes are not in order");
  if (root1.length !== 32 || root2.length !== 32) fail("a root is not 32 bytes");
  if (proof.some((hash) => hash.length !== 32)) fail("a proof hash is not 32 bytes");
  if (size1 === size2) {
    if (proof.length > 0) fail("trees of one size need no proof");
    if (!equalBytes(root1, root2)) fail("two trees of one size have different roots");
    return;
  }
  const [one, two] = consistencyRoots(size1, size2, proof, root1, fail);
  if (!equalBytes(one, root1)) fail("the proof does not lead to the old root");
  if (!equalBytes(two, root2)) fail("the proof does not lead to the new root");
}

/** Hashes of a range of leaves [start, end) by the recursive definition; O(n). */
function rangeRoot(leaves: readonly Buffer[], start: number, end: number): Buffer {
  if (end - start === 1) return leaves[start] ?? emptyRoot;
  const middle = start + splitPoint(end - start);
  return nodeHash(rangeRoot(leaves, start, middle), rangeRoot(leaves, middle, end));
}

/** The recursive definition of RFC 6962, kept as the oracle of the faster forms above. */
export function merkleRootByDefinition(leaves: readonly Buffer[]): Buffer {
  return leaves.length === 0 ? emptyRoot : rangeRoot(leaves, 0, leaves.length);
}
