/**
 * SGLang's seeded sampling (--enable-deterministic-inference), python/sglang/srt/layers/sampler.py,
 * multinomial_with_seed: the hash of up to 0.5.7 and the MurmurHash3 of 0.5.9 and later.
 *
 * `position` is that of the token fed last. Where any request of the batch uses top-k, top-p or
 * min-p, SGLang samples over the *sorted* probabilities, and the hash takes a token's rank; else its
 * id. Hence two laws of each kind, `-sorted` by rank: the parties must fix which one serves.
 *
 * Neither is a cryptographic generator. The old one keeps 24 bits: seeds that agree in their low 24
 * bits give the same noise. The new one keeps 32.
 */
import type { GumbelLaw } from "../law.ts";

const epsilon = Math.fround(1e-9);

/**
 * The hash of SGLang <= 0.5.7, modulo 2^24: step = seed x 19349663 ^ position x 73856093;
 * (step x 8589934591 ^ column x 479001599) mod 2^24. Products and xor of the low bits depend on low
 * bits only, so 32-bit arithmetic is exact; 8589934591 = 2^33 - 1 is -1 there.
 */
export function sglangOldHash(seed: number, position: number, column: number): number {
  const step = Math.imul(seed, 19349663) ^ Math.imul(position, 73856093);
  return (Math.imul(step, -1) ^ Math.imul(column, 479001599)) & 0xffffff;
}

/** -log(-log(h / 2^24 + 1e-9) + 1e-9), each step in float32, as torch does it on float tensors. */
function oldNoise(seed: bigint, position: number, column: number): number {
  const hash = sglangOldHash(Number(seed & 0xffffffn), position, column);
  const inner = Math.fround(Math.log(Math.fround(hash / 16777216 + epsilon)));
  return -Math.fround(Math.log(Math.fround(epsilon - inner)));
}

function rotl(x: number, bits: number): number {
  return (x << bits) | (x >>> (32 - bits));
}

function mix(hash: number, block: number): number {
  const key = Math.imul(rotl(Math.imul(block, 0xcc9e2d51), 15), 0x1b873593);
  return (Math.imul(rotl(hash ^ key, 13), 5) + 0xe6546b64) | 0;
}

/** MurmurHash3 x86 32 (A. Appleby, public domain) of four 32-bit blocks, seed 0: a word of 32 bits. */
export function murmur3(blocks: readonly [number, number, number, number]): number {
  let hash = mix(mix(mix(mix(0, blocks[0]), blocks[1]), blocks[2]), blocks[3]) ^ 16;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

/**
 * -ln(-clamp(ln(h / (2^32 - 1)), [-DBL_MAX, -2^-32])) in float64. (0.5.9 lacked the upper clamp: there
 * the one hash 2^32 - 1 gives infinite noise.)
 */
function newNoise(seed: bigint, position: number, column: number): number {
  const low = Number(seed & 0xffffffffn);
  const high = Number((seed >> 32n) & 0xffffffffn);
  const log = Math.log(murmur3([low, high, position, column]) / 4294967295);
  return -Math.log(Math.min(Number.MAX_VALUE, Math.max(2 ** -32, -log)));
}

function law(
  name: string,
  release: string,
  column: GumbelLaw["column"],
  noise: GumbelLaw["noise"],
): GumbelLaw {
  return {
    family: "gumbel",
    name,
    source: `sgl-project/sglang ${release} python/sglang/srt/layers/sampler.py multinomial_with_seed`,
    checkedAgainst: "published source",
    counts: "fed",
    cut: "after temperature",
    column,
    noise,
  };
}

export const sglangHash = law("sglang-hash/1", "<= 0.5.7", "id", oldNoise);
export const sglangHashSorted = law("sglang-hash-sorted/1", "<= 0.5.7", "rank", oldNoise);
export const sglangMurmur = law("sglang-murmur/1", ">= 0.5.9", "id", newNoise);
export const sglangMurmurSorted = law("sglang-murmur-sorted/1", ">= 0.5.9", "rank", newNoise);
