/**
 * What can be told beside the tokens: when text leaves, and where replies end. The capacity meter
 * (capacity.ts) bounds the choice of tokens alone; a server also chooses how fast it speaks, and
 * whether it goes on. The gateway's release tick and the router's framing leave it no other way.
 */
import { assert } from "../base/assert.ts";
import { logGamma } from "./beta.ts";

/**
 * Bits that the release of `tokens` over at most `ticks` release ticks can carry: log2 of the number
 * of ways to spread them, C(tokens + ticks, tokens) (stars and bars; the one place more is for the
 * tokens that were never released). Both at least 0. A theorem on counts, no estimate.
 */
export function releaseBits(tokens: number, ticks: number): number {
  assert(tokens >= 0 && ticks >= 0, "tokens and ticks are counts");
  return (logGamma(tokens + ticks + 1) - logGamma(tokens + 1) - logGamma(ticks + 1)) / Math.LN2;
}

/**
 * Bits that the end of one request can carry: it ends after any of 0 to `maxTokens` tokens, or fails.
 * Where finish reasons are checked (spec/verdict.md section 1) an early `stop` is a hard failure, so
 * this is a bound and not what a cheat keeps.
 */
export function endBits(maxTokens: number): number {
  assert(maxTokens >= 0, "a number of tokens");
  return Math.log2(maxTokens + 2);
}
