/**
 * What can be told beside the tokens: when text leaves, where replies end, which fail. The capacity meter
 * (capacity.ts) bounds the choice of tokens alone; a server also chooses how fast it speaks, how it cuts
 * what it says into frames, and whether it goes on. The gateway's counts (format/carriers.ts) leave it no
 * more than this: a theorem on counts, no estimate, whatever the server is.
 *
 * Release. What leaves a gateway of one pair is a row of signs in a fixed order: its admission is told,
 * then its text, then that it is over. A server chooses which release ticks pass between which two of
 * them. The gateway knows no tokens' texts, so a frame may end after any byte: a reply of L bytes has L + 2
 * places where ticks may pass (one, where replies leave whole). Ways to let at most T ticks pass at G
 * places, over all pairs: C(T + G, T) (stars and bars; one place more is for ticks that never came). Texts
 * themselves are tokens' business. Pairs leave a tick in the order of their tags, so that their order says
 * nothing (gateway/release.ts). Given all texts, nobody who sees what leaves the gateway, tick by tick, can
 * tell more than log2 of that; and what clients see is made by the router of nothing else.
 *
 * Failures. Which f of n pairs fail: C(n, f), and f itself is one of n + 1; each with one of the codes of
 * ABORT; and how much of their text had left: lengths that add up to at most B bytes, C(B + f, f) ways.
 *
 * Ends. Where e replies ended, so that they have at most N tokens together: C(N + e, e), and stop or length.
 * An early end is a hard finding where it is audited (spec/verdict.md section 1), so this part is a bound
 * and not what a cheat keeps.
 *
 * Not counted: the part of a tick that passes until the ring is durable (docs/THREATS.md, T19); prompt
 * counts and texts that are not what the ids say, which are hard findings where audited; logs and alarms.
 */
import { assert } from "../base/assert.ts";
import type { CarrierCounts } from "../format/carriers.ts";
import { aborts } from "../format/router-link.ts";
import { logGamma } from "./beta.ts";

/** Bits that left at most, by carrier. */
export interface CarrierBits {
  readonly release: number;
  readonly failures: number;
  readonly ends: number;
  readonly total: number;
}

/** log2 C(n, k), 0 <= k <= n. */
function choose(n: number, k: number): number {
  assert(k >= 0 && k <= n, "so many of so many");
  if (k === 0 || k === n) return 0;
  return (logGamma(n + 1) - logGamma(k + 1) - logGamma(n - k + 1)) / Math.LN2;
}

/** The bounds above for what was counted. Those of stretches of time add up to one for all of it. */
export function carrierBits(counts: CarrierCounts): CarrierBits {
  const { ticks, places, pairs, failed, failedBytes, ended, endedTokens } = counts;
  assert(failed + ended <= pairs, "pairs that are over, failed ones and ended ones among them");
  const release = choose(ticks + places, ticks);
  const failures =
    choose(pairs, failed) +
    Math.log2(pairs + 1) +
    failed * Math.log2(aborts.length) +
    choose(failedBytes + failed, failed);
  const ends = choose(endedTokens + ended, ended) + ended;
  return { release, failures, ends, total: release + failures + ends };
}
