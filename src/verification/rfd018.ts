/**
 * The figures of RFD 018, "Granular AI Workload Verification", and of later notes on sampling,
 * worked out again: P(violation succeeds) = exp(-N_VERIFIED F_FAKE), its cost table, and the number
 * of fakes or clean samples that a confidence takes.
 *
 * RFD 018 prints COST_FRAC = BATCH_SIZE N_VERIFIED / N_TOKENS = 7 BATCH_SIZE F_FAKE / N_TOKENS. The second form
 * is wrong: N_VERIFIED = 7 / F_FAKE, so F_FAKE belongs below the line. Its table has the right numbers.
 */

export interface Rfd018Row {
  readonly batch: number;
  /** N_VERIFIED: packets to recompute, 7 / F_FAKE. */
  readonly verified: number;
  readonly tokensRecomputed: number;
  /** As the formula should read: 7 BATCH / (F_FAKE N_TOKENS). */
  readonly cost: number;
  /** As the formula is printed: 7 BATCH F_FAKE / N_TOKENS. */
  readonly printed: number;
  /** Without the Poisson approximation: sampling without repetition, -ln(0.001) for 7. */
  readonly exact: number;
}

export const rfd018 = { fakeTokens: 1e5, tokens: 1e14, confidence: 0.999, factor: 7 } as const;

/** The RFD's cost table for these batch sizes. Fake data fills whole packets: F_FAKE = 1e-9. */
export function rfd018Table(batches: readonly number[] = [1000, 100]): Rfd018Row[] {
  const { fakeTokens, tokens, factor, confidence } = rfd018;
  const fake = fakeTokens / tokens;
  return batches.map((batch) => {
    const verified = factor / fake;
    // Each of the fake packets escapes with 1 - share: share = 1 - (1 - confidence)^(1/packets).
    const packets = fakeTokens / batch;
    return {
      ...{ batch, verified, tokensRecomputed: verified * batch },
      cost: (factor * batch) / (fake * tokens),
      printed: (factor * batch * fake) / tokens,
      exact: -Math.expm1(Math.log1p(-confidence) / packets),
    };
  });
}

/** Audits (or fakes) until a hit is `confidence` sure, when each hits with `rate`: ln(1-c)/ln(1-rate). */
export function sampleSize(rate: number, confidence: number): number {
  return Math.log1p(-confidence) / Math.log1p(-rate);
}

/** The largest rate that `samples` clean samples leave possible: 1 - (1-c)^(1/n). */
export function cleanBound(samples: number, confidence: number): number {
  return -Math.expm1(Math.log1p(-confidence) / samples);
}
