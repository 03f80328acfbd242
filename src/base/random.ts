/** Randomness as a port. The one adapter is adapter/random.ts, over the OS generator. */

export interface RandomSource {
  /** Fills `target` with fresh random bytes. */
  fill(target: Uint8Array): void;
}

/** `count` fresh random bytes. */
export function randomBytes(source: RandomSource, count: number): Buffer {
  const bytes = Buffer.alloc(count);
  source.fill(bytes);
  return bytes;
}
