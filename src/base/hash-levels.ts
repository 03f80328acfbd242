/**
 * The upper part of a Merkle tree in memory: the roots of all complete groups of 256 leaves, all
 * complete nodes above them, and the leaf hashes of the last group. 0.25 bytes a leaf. What lies
 * inside a complete group is hashed again from its leaves when a proof needs it: one read of 32 KiB.
 */
import { assert } from "./assert.ts";
import { consistencyPath, merkleRoot, nodeHash, splitPoint } from "./merkle.ts";

export const groupLeaves = 256;

/** Groups whose leaf hashes the root over the first `size` leaves needs: the last one, where it is not complete. */
export function groupsOfRoot(size: number): number[] {
  return size % groupLeaves === 0 ? [] : [Math.floor(size / groupLeaves)];
}

/** Groups whose leaf hashes an audit path needs. */
export function groupsOfPath(index: number, size: number): number[] {
  return [...new Set([Math.floor(index / groupLeaves), ...groupsOfRoot(size)])];
}

/** Groups whose leaf hashes a consistency proof needs (RFC 9162 section 2.1.4.1). */
export function groupsOfConsistency(from: number, to: number): number[] {
  return [...new Set([...groupsOfRoot(from), ...groupsOfRoot(to)])];
}

/** A growing array of 32-byte hashes without an object for each. */
class HashList {
  #bytes = Buffer.alloc(32 * 16);
  length = 0;

  push(hash: Uint8Array): void {
    if (32 * (this.length + 1) > this.#bytes.length) {
      const grown = Buffer.alloc(2 * this.#bytes.length);
      grown.set(this.#bytes);
      this.#bytes = grown;
    }
    this.#bytes.set(hash, 32 * this.length);
    this.length++;
  }

  at(index: number): Buffer {
    assert(index < this.length, "the hash was pushed");
    return this.#bytes.subarray(32 * index, 32 * index + 32);
  }
}

export class HashLevels {
  /** levels[k][i] = root over leaves [i, i + 1) * 256 * 2^k. */
  readonly #levels: HashList[] = [];
  #edge: Buffer[] = [];

  /** Adds the hash of the next leaf. */
  append(leafHash: Buffer): void {
    this.#edge.push(leafHash);
    if (this.#edge.length < groupLeaves) return;
    let hash = merkleRoot(this.#edge);
    this.#edge = [];
    for (let k = 0; ; k++) {
      const level = (this.#levels[k] ??= new HashList());
      level.push(hash);
      if (level.length % 2 === 1) return;
      hash = nodeHash(level.at(level.length - 2), hash);
    }
  }

  /** The leaf hashes of the incomplete last group; not changed by later appends. */
  edge(): readonly Buffer[] {
    return this.#edge.slice();
  }

  groupRoot(group: number): Buffer {
    return this.node(0, group);
  }

  /** Root over the leaves [index, index + 1) * 256 * 2^k, which are complete. */
  node(k: number, index: number): Buffer {
    const level = this.#levels[k];
    assert(level !== undefined, "complete nodes are kept");
    return level.at(index);
  }

  /**
   * Root over leaves [start, end), whose single leaf hashes `leaf` gives where the range goes below
   * complete groups (RFC 9162 section 2.1.1).
   */
  range(start: number, end: number, leaf: (index: number) => Buffer): Buffer {
    const count = end - start;
    if (count === 1) return leaf(start);
    const split = splitPoint(count);
    if (count >= groupLeaves && 2 * split === count && start % count === 0) {
      const level = this.#levels[Math.log2(count / groupLeaves)];
      assert(level !== undefined, "complete nodes are kept");
      return level.at(start / count);
    }
    const middle = start + split;
    return nodeHash(this.range(start, middle, leaf), this.range(middle, end, leaf));
  }

  /** Audit path of leaf `at` in the tree over the first `size` leaves, bottom first (RFC 9162, 2.1.3.1). */
  path(at: number, size: number, leaf: (index: number) => Buffer): Buffer[] {
    const path: Buffer[] = [];
    for (let start = 0, end = size; end - start > 1;) {
      const middle = start + splitPoint(end - start);
      if (at < middle) {
        path.push(Buffer.from(this.range(middle, end, leaf)));
        end = middle;
      } else {
        path.push(Buffer.from(this.range(start, middle, leaf)));
        start = middle;
      }
    }
    return path.reverse();
  }

  /** Consistency proof between the trees of the first `from` and `to` leaves, 0 < from <= to (RFC 9162, 2.1.4.1). */
  consistency(from: number, to: number, leaf: (index: number) => Buffer): Buffer[] {
    return consistencyPath(from, to, (start, end) => Buffer.from(this.range(start, end, leaf)));
  }
}
