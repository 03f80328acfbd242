/**
 * The noise law `gumbel-philox/1`, spec/noise-law.md: how a seed, a position and a token id give the
 * Gumbel noise that draws a token. Stateless, so any position can be checked alone.
 *
 * Philox4x32-10: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011);
 * known answers from Random123. Gumbel-max: argmax(l/T + g) draws from softmax(l/T).
 */
import type { KeyObject } from "node:crypto";
import { hmacSha256 } from "../base/hash.ts";
import type { Tag } from "./tag.ts";

export const noiseLaw = "gumbel-philox/1";

/** seed = first 8 bytes, big-endian, of HMAC-SHA256(epoch key, tag as u64). */
export function seedOf(epochKey: KeyObject, tag: Tag): bigint {
  const message = Buffer.allocUnsafe(8);
  message.writeBigUInt64BE(tag);
  return hmacSha256(epochKey, message).readBigUInt64BE(0);
}

const m0 = 0xd2511f53;
const m1 = 0xcd9e8d57;
const w0 = 0x9e3779b9;
const w1 = 0xbb67ae85;

/** High 32 bits of the product of two u32, without BigInt. */
function mulHigh(a: number, b: number): number {
  const aLow = a & 0xffff;
  const aHigh = a >>> 16;
  const bLow = b & 0xffff;
  const bHigh = b >>> 16;
  const low = aLow * bLow;
  const middle = aHigh * bLow + (low >>> 16);
  const carry = aLow * bHigh + (middle % 0x10000);
  return (aHigh * bHigh + Math.floor(middle / 0x10000) + Math.floor(carry / 0x10000)) >>> 0;
}

/** Philox4x32-10 of a 4-word counter under a 2-word key; writes 4 words to `out`. */
export function philox4x32(
  out: Uint32Array,
  c0: number,
  c1: number,
  c2: number,
  c3: number,
  key0: number,
  key1: number,
): void {
  let [x0, x1, x2, x3] = [c0 >>> 0, c1 >>> 0, c2 >>> 0, c3 >>> 0];
  let k0 = key0 >>> 0;
  let k1 = key1 >>> 0;
  for (let round = 0; round < 10; round++) {
    const high0 = mulHigh(m0, x0);
    const low0 = Math.imul(m0, x0) >>> 0;
    const high1 = mulHigh(m1, x2);
    const low1 = Math.imul(m1, x2) >>> 0;
    x0 = (high1 ^ x1 ^ k0) >>> 0;
    x1 = low1;
    x2 = (high0 ^ x3 ^ k1) >>> 0;
    x3 = low0;
    k0 = (k0 + w0) >>> 0;
    k1 = (k1 + w1) >>> 0;
  }
  out[0] = x0;
  out[1] = x1;
  out[2] = x2;
  out[3] = x3;
}

const words = new Uint32Array(4);

/**
 * Gumbel noise of `token` at output `position` (from 0) under `seed`: -ln(-ln u) with
 * u = (word + 0.5) / 2^32, word = Philox(counter (position, floor(token/4), 0, 0),
 * key (high word of seed, low word of seed))[token mod 4].
 */
export function gumbel(seed: bigint, position: number, token: number): number {
  return gumbelOf(Number(seed >> 32n), Number(seed & 0xffffffffn), position, token);
}

/** The same with the seed's words, so that a draw over many tokens splits its seed once. */
export function gumbelOf(high: number, low: number, position: number, token: number): number {
  philox4x32(words, position, token >>> 2, 0, 0, high, low);
  const u = ((words[token & 3] ?? 0) + 0.5) / 4294967296;
  return -Math.log(-Math.log(u));
}

/** Candidates of one position, most probable first: token ids and natural-log probabilities. */
export interface Candidates {
  readonly ids: ArrayLike<number>;
  /** Differences of logits are all that is used, so any common offset is allowed. */
  readonly logProbs: ArrayLike<number>;
}

export interface DrawParams {
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
}

/**
 * How many of the leading candidates are kept: temperature, then top-k, then top-p. Top-p keeps the
 * shortest prefix whose probability, renormalised over the top-k at this temperature, reaches topP.
 * Temperature 0 keeps one.
 */
export function supportSize(candidates: Candidates, params: DrawParams): number {
  const count = Math.min(params.topK, candidates.ids.length);
  if (params.temperature === 0) return Math.min(1, count);
  if (params.topP >= 1) return count;
  const { logProbs } = candidates;
  const top = logProbs[0] ?? 0;
  let total = 0;
  for (let i = 0; i < count; i++) {
    total += Math.exp(((logProbs[i] ?? -Infinity) - top) / params.temperature);
  }
  let sum = 0;
  for (let i = 0; i < count; i++) {
    sum += Math.exp(((logProbs[i] ?? -Infinity) - top) / params.temperature);
    if (sum >= params.topP * total) return i + 1;
  }
  return count;
}

/**
 * Draws the token of `position`: the argmax over the support of (logProb - highest)/T + gumbel; the
 * lower id wins an exact tie. Candidates must be sorted by falling probability, ties by rising id.
 */
export function drawToken(
  candidates: Candidates,
  params: DrawParams,
  seed: bigint,
  position: number,
): number {
  const kept = supportSize(candidates, params);
  if (params.temperature === 0) return candidates.ids[0] ?? 0;
  const high = Number(seed >> 32n);
  const low = Number(seed & 0xffffffffn);
  // Measured from the highest: at a vanishing T the quotients would else all be infinite, and equal.
  const highest = candidates.logProbs[0] ?? 0;
  let best = -1;
  let bestScore = -Infinity;
  for (let i = 0; i < kept; i++) {
    const token = candidates.ids[i] ?? 0;
    const score =
      ((candidates.logProbs[i] ?? -Infinity) - highest) / params.temperature +
      gumbelOf(high, low, position, token);
    if (score > bestScore || (score === bestScore && token < best)) {
      best = token;
      bestScore = score;
    }
  }
  return best;
}
