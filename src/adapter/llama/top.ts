/** The most probable tokens of a whole vocabulary's logits, exactly and fast. */
import { assert, UnavailableError } from "../../base/assert.ts";
import type { Candidates } from "../../format/noise.ts";

/** Candidates with the natural log of the sum of exp(logit) over the whole vocabulary. */
export interface TopCandidates extends Candidates {
  readonly ids: Uint32Array;
  readonly logProbs: Float64Array;
  readonly logSum: number;
}

/** Ids below this fit a key: 32 bits of logit and 21 of id are a whole number in a double. */
const idsMax = 2 ** 21;

/**
 * A whole number in the order of the float whose bits these are: IEEE 754 orders as sign and
 * magnitude. -0 and 0 are equal.
 */
function orderOf(bits: number): number {
  return bits < 0 ? (0 - (bits & 0x7fffffff)) | 0 : bits;
}

/** A number that rises with falling logit, then with rising id. Throws for a logit that is no number. */
function keyOf(logit: number, bits: number, id: number): number {
  if (Number.isNaN(logit)) {
    throw new UnavailableError("engine.candidates", "a logit is no number", "none");
  }
  return (2147483648 - orderOf(bits)) * idsMax + id;
}

/** Room that is kept from call to call; two views on the maxima. */
class Scratch {
  readonly maxima: Float32Array;
  readonly orders: Int32Array;
  readonly keys: Float64Array;

  constructor(blocks: number, logits: number) {
    this.maxima = new Float32Array(blocks);
    this.orders = new Int32Array(this.maxima.buffer);
    this.keys = new Float64Array(logits);
  }
}

let scratch = new Scratch(0, 0);

/**
 * A level that at least `k` logits reach, and few more: the k-th highest of 2k maxima, each over the
 * ids of one remainder modulo 2k. Each of the k highest maxima is one such logit.
 */
function levelFor(logits: Float32Array, k: number): number {
  const blocks = 2 * k;
  const { length } = logits;
  if (length < 2 * blocks) return -Infinity;
  const maxima = scratch.maxima.subarray(0, blocks).fill(-Infinity);
  for (let start = 0; start < length; start += blocks) {
    const count = Math.min(blocks, length - start);
    for (let i = 0; i < count; i++) {
      const logit = logits[start + i] ?? 0;
      if (logit > (maxima[i] ?? 0)) maxima[i] = logit;
    }
  }
  // Whole numbers sort several times faster than floats do.
  const orders = scratch.orders.subarray(0, blocks);
  for (let i = 0; i < blocks; i++) orders[i] = orderOf(orders[i] ?? 0);
  orders.sort();
  const order = orders[blocks - k] ?? 0;
  orders[0] = order < 0 ? -order | -2147483648 : order;
  return maxima[0] ?? -Infinity;
}

/**
 * The `k` highest logits (all, where there are fewer): falling logit, ties by rising id. The values
 * are the logits themselves. Throws UnavailableError `engine.candidates` for one of them that is NaN.
 */
export function topOf(
  logits: Float32Array,
  k: number,
): { readonly ids: Uint32Array; readonly logProbs: Float64Array } {
  assert(logits.length < idsMax && k > 0, "the vocabulary fits a key");
  const count = Math.min(k, logits.length);
  if (scratch.keys.length < logits.length || scratch.maxima.length < 2 * count) {
    scratch = new Scratch(2 * count, logits.length);
  }
  const level = levelFor(logits, count);
  const { keys } = scratch;
  const bits = new Int32Array(logits.buffer, logits.byteOffset, logits.length);
  let found = 0;
  for (let id = 0; id < logits.length; id++) {
    const logit = logits[id] ?? 0;
    // So written, a NaN is found too.
    if (!(logit < level)) keys[found++] = keyOf(logit, bits[id] ?? 0, id);
  }
  const sorted = keys.subarray(0, found).sort();
  const ids = new Uint32Array(count);
  const logProbs = new Float64Array(count);
  for (let i = 0; i < count; i++) {
    const key = sorted[i] ?? 0;
    const id = key - Math.floor(key / idsMax) * idsMax;
    ids[i] = id;
    logProbs[i] = logits[id] ?? 0;
  }
  return { ids, logProbs };
}

/** ln of the sum of exp(logit), in double precision; `highest` is any number near the highest. */
export function logSumOf(logits: Float32Array, highest: number): number {
  let sum = 0;
  for (const logit of logits) sum += Math.exp(logit - highest);
  return highest + Math.log(sum);
}

/** `topOf` and `logSumOf`, whose exponentials cost several times the selection. */
export function topWithSum(logits: Float32Array, k: number): TopCandidates {
  const top = topOf(logits, k);
  return { ...top, logSum: logSumOf(logits, top.logProbs[0] ?? 0) };
}
