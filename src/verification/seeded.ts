/** Repeatable random numbers for simulations, never for keys: xoshiro128** (Blackman, Vigna 2018). */

/** The 32-bit words that SplitMix32 makes from `seed`: four unrelated words also for small seeds. */
function splitMix(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x9e3779b9) >>> 0;
    let z = state;
    z = Math.imul(z ^ (z >>> 16), 0x85ebca6b);
    z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35);
    return (z ^ (z >>> 16)) >>> 0;
  };
}

const rotate = (x: number, by: number): number => ((x << by) | (x >>> (32 - by))) >>> 0;

/** Uniform numbers in (0, 1), never 0 or 1; the same for the same seed (its low 32 bits). */
export function seededUniform(seed: number): () => number {
  const word = splitMix(seed);
  let [a, b, c, d] = [word(), word(), word(), word()];
  return () => {
    const result = Math.imul(rotate(Math.imul(b, 5) >>> 0, 7), 9) >>> 0;
    const t = (b << 9) >>> 0;
    c = (c ^ a) >>> 0;
    d = (d ^ b) >>> 0;
    b = (b ^ c) >>> 0;
    a = (a ^ d) >>> 0;
    c = (c ^ t) >>> 0;
    d = rotate(d, 11);
    return (result + 0.5) / 2 ** 32;
  };
}

/** Standard normal numbers from uniform ones: Box and Muller, the second of each two thrown away. */
export function normalFrom(uniform: () => number): () => number {
  return () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
}
