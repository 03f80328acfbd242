/**
 * Continuous health tests of the sampling generator: repetition count and adaptive proportion,
 * NIST SP 800-90B section 4.4, on bytes. The OS generator is conditioned, so H = 8 bits per byte is
 * claimed; at alpha = 2^-30 the cutoffs are RCT 5 and APT 17 of W = 512 (the corrected APT cutoff
 * 2 + qbinom(1 - alpha, W - 1, 2^-H)).
 *
 * A failure discards what was drawn and repeats the start-up test; a second failure is for good.
 */
import { UnavailableError } from "../base/assert.ts";
import type { RandomSource } from "../base/random.ts";

export const rctCutoff = 5;
export const aptCutoff = 17;
export const aptWindow = 512;
export const startUpSamples = 1024;

/** The two tests as one state machine over bytes. Pure. */
export class HealthTests {
  #last = -1;
  #repeats = 0;
  #windowByte = -1;
  #windowSeen = 0;
  #windowCount = 0;

  /** Feeds one sample; returns which test it fails, or null. */
  sample(byte: number): "repetition-count" | "adaptive-proportion" | null {
    this.#repeats = byte === this.#last ? this.#repeats + 1 : 1;
    this.#last = byte;
    if (this.#windowSeen === 0) {
      this.#windowByte = byte;
      this.#windowCount = 0;
    }
    if (byte === this.#windowByte) this.#windowCount++;
    this.#windowSeen = (this.#windowSeen + 1) % aptWindow;
    if (this.#repeats >= rctCutoff) return "repetition-count";
    if (this.#windowCount >= aptCutoff) return "adaptive-proportion";
    return null;
  }
}

/** A RandomSource that tests every byte it hands out. */
export class TestedRandom implements RandomSource {
  readonly #source: RandomSource;
  readonly #onFailure: (test: string) => void;
  #tests = new HealthTests();
  #dead = false;

  /** Runs the start-up test. `onFailure` hears of every failure, also of those that pass off. */
  constructor(source: RandomSource, onFailure: (test: string) => void) {
    this.#source = source;
    this.#onFailure = onFailure;
    this.#startUp();
  }

  /** Throws UnavailableError `sample.health` when the generator failed twice in a row. */
  fill(target: Uint8Array): void {
    if (this.#dead) this.#die();
    this.#source.fill(target);
    if (this.#passes(target)) return;
    this.#startUp();
    this.#source.fill(target);
    if (!this.#passes(target)) this.#die();
  }

  #passes(bytes: Uint8Array): boolean {
    for (const byte of bytes) {
      const failed = this.#tests.sample(byte);
      if (failed === null) continue;
      this.#onFailure(failed);
      return false;
    }
    return true;
  }

  #startUp(): void {
    this.#tests = new HealthTests();
    const samples = new Uint8Array(startUpSamples);
    this.#source.fill(samples);
    if (!this.#passes(samples)) this.#die();
  }

  #die(): never {
    this.#dead = true;
    throw new UnavailableError("sample.health", "the sampling generator failed its tests", "none");
  }
}
