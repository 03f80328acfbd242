/**
 * `vllm-philox/1`: the seeded sampler of vLLM's newer GPU runner (vllm/v1/worker/gpu/sample/gumbel.py,
 * gumbel_noised_argmax with USE_FP64 off), with Triton's random numbers (python/triton/language/random.py).
 *
 *   s = tl.randint(seed, pos)   first word of Philox4x32-10, key (low, high word of the seed),
 *                               counter (low, high word of pos, 0, 0)
 *   u = tl.rand(s, token)       word w likewise with key (s, 0), counter (token, 0, 0, 0); as int32,
 *                               w < 0 ? -w - 1 : w, as float32, times 4.6566127342e-10; at least that
 *   g = -log(-log1p(-u))        float32
 *   token = argmax of logit / T + g
 *
 * `pos` is the position of the token fed last (model_runner.py, sample_pos). Triton before it split
 * 64-bit offsets into words (3.6.0 does) ran Philox4x64 on int64 positions instead: another law.
 * The logarithms here are correctly rounded to float32; a GPU's may differ in the last bit (1e-6
 * nats at most of usual noise).
 */
import { philox4x32 } from "../../format/noise.ts";
import type { GumbelLaw } from "../law.ts";

const scale = Math.fround(4.6566127342e-10);
const words = new Uint32Array(4);
// One position serves a whole vocabulary.
let last = { seed: -1n, position: -1, word: 0 };

/** tl.randint(seed, position): a word of 32 bits. */
function positionSeed(seed: bigint, position: number): number {
  if (last.seed !== seed || last.position !== position) {
    const low = Number(seed & 0xffffffffn);
    const high = Number((seed >> 32n) & 0xffffffffn);
    philox4x32(words, position, Math.floor(position / 4294967296), 0, 0, low, high);
    last = { seed, position, word: words[0] ?? 0 };
  }
  return last.word;
}

/** tl.rand of a token under a position's word, clamped as vLLM does: float32 in (0, 1). */
export function vllmUniform(seed: bigint, position: number, token: number): number {
  philox4x32(words, token, 0, 0, 0, positionSeed(seed, position), 0);
  const word = (words[0] ?? 0) | 0;
  const magnitude = Math.fround(word < 0 ? -(word + 1) : word);
  return Math.max(Math.fround(magnitude * scale), scale);
}

export const vllmPhilox: GumbelLaw = {
  family: "gumbel",
  name: "vllm-philox/1",
  source: "vllm-project/vllm vllm/v1/worker/gpu/sample/gumbel.py; triton 3.6.0 language/random.py",
  checkedAgainst: "published source",
  counts: "fed",
  cut: "after temperature",
  column: "id",
  noise(seed, position, token) {
    const u = vllmUniform(seed, position, token);
    return -Math.fround(Math.log(-Math.fround(Math.log1p(-u))));
  },
};
