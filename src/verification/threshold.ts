/**
 * From token margins to a pair's scores, and from scores to findings: spec/verdict.md sections 3
 * and 4. One pair at a time; what is stored per pair is what sequential statistics need.
 */
import type { MarginLimits } from "../format/profile.ts";
import type { Finding, Scores } from "../format/verdict.ts";
import type { TokenScore } from "./facts.ts";

/** Adds the token scores of one pair up. Infinite margins count as `clip` and are left out of maxMargin. */
export function pairScores(tokens: readonly TokenScore[], clip: number): Scores {
  let mismatches = 0;
  let sum = 0;
  let maxMargin = 0;
  for (const token of tokens) {
    if (!token.agrees) mismatches++;
    sum += Math.min(token.margin, clip);
    if (Number.isFinite(token.margin)) maxMargin = Math.max(maxMargin, token.margin);
  }
  const meanMargin = tokens.length === 0 ? 0 : sum / tokens.length;
  return { tokens: tokens.length, mismatches, meanMargin, maxMargin };
}

/** What the mean clipped margin of an honest pair of `tokens` tokens stays below; nats. */
export function meanLimit(profile: MarginLimits, tokens: number): number {
  return profile.meanMax + profile.meanSpread / Math.sqrt(Math.max(1, tokens));
}

/**
 * The findings under a replayed pair. `ids` are the claimed tokens, one per score. Order: tokens
 * outside the support, single margins, the mean.
 */
export function marginFindings(
  tokens: readonly TokenScore[],
  ids: ArrayLike<number>,
  profile: MarginLimits,
): Finding[] {
  const findings: Finding[] = [];
  const describe = (at: number): string => `token ${ids[at] ?? "?"} at position ${at}`;
  const outside = positions(tokens, (token) => token.margin === Infinity);
  const [firstOutside] = outside;
  if (firstOutside !== undefined) {
    const evidence = `${describe(firstOutside)} has no place in the kept support; ${outside.length} of ${tokens.length} tokens`;
    findings.push({ id: "token.outside-support", evidence });
  }
  const far = positions(
    tokens,
    (token) => token.margin > profile.tokenMax && token.margin !== Infinity,
  );
  const [firstFar] = far;
  if (firstFar !== undefined) {
    const margin = (tokens[firstFar]?.margin ?? 0).toFixed(4);
    const evidence = `${describe(firstFar)} loses by ${margin} nats, the limit is ${profile.tokenMax}; ${far.length} of ${tokens.length} tokens`;
    findings.push({ id: "token.margin", evidence });
  }
  const scores = pairScores(tokens, profile.clip);
  const limit = meanLimit(profile, tokens.length);
  if (scores.meanMargin > limit) {
    const evidence = `the mean clipped margin of ${tokens.length} tokens is ${scores.meanMargin.toFixed(6)} nats, the limit is ${limit.toFixed(6)}`;
    findings.push({ id: "margin.mean", evidence });
  }
  return findings;
}

function positions(tokens: readonly TokenScore[], holds: (token: TokenScore) => boolean): number[] {
  const found: number[] = [];
  tokens.forEach((token, at) => {
    if (holds(token)) found.push(at);
  });
  return found;
}
