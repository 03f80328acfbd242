/**
 * Bets on one audited pair: how much money a bettor makes who suspects the server. Each function
 * gives the natural logs of the factors by which the wealth of a fixed list of bettors is multiplied.
 * Under an honest server no factor has a conditional expectation above 1, so that each wealth is a
 * nonnegative supermartingale (docs/STATISTICS.md, sections 2 and 3).
 */
import { assert } from "../base/assert.ts";
import type { PairEvidence } from "./detector.ts";

/**
 * Stakes as shares of the largest that can never ruin, for a pair of `referenceTokens`. Never 1: a
 * bettor who can lose everything is out for ever.
 */
const stakeMax = 0.9;
export const stakes = Array.from({ length: 8 }, (_, j) => stakeMax * 2 ** -j);
/** The mean over a pair's tokens is the surer the more there are: stakes grow in proportion. */
const referenceTokens = 64;

/** Shares of the wealth that `ratios` bettors put on an alternative; the rest stays cash. */
export const fractions = [0.99, 0.5, 0.1];

/** Null means below this are taken as this, which only favours the server. */
const nullMeanMin = 1e-9;

/** Natural log of exp(a) + exp(b), without overflow or underflow. */
export function logAdd(a: number, b: number): number {
  const high = Math.max(a, b);
  return high === -Infinity ? high : high + Math.log1p(Math.exp(Math.min(a, b) - high));
}

/** Natural log of the sum of exp(logs); -Infinity for an empty list. */
export function logSum(logs: readonly number[]): number {
  const high = logs.reduce((max, log) => Math.max(max, log), -Infinity);
  if (high === -Infinity) return high;
  return high + Math.log(logs.reduce((sum, log) => sum + Math.exp(log - high), 0));
}

/** Natural log of the mean of exp(logs). */
export function logMean(logs: readonly number[]): number {
  return logSum(logs) - Math.log(logs.length);
}

/** How many bettors a detector has: one per stake, or one per alternative and fraction. */
export function bettorsOf(kind: PairEvidence["kind"], alternatives: number): number {
  return kind === "bounded" ? stakes.length : alternatives * fractions.length;
}

/**
 * Log factors of all bettors, for a pair of `tokens` tokens and the profile's `nullMean`.
 *
 * `bounded`, value x in [0, 1], honest mean at most mu0: 1 + c (x/mu0 - 1), c the stake times
 * tokens/64, at most 0.9 (the one-sided capital process of Waudby-Smith and Ramdas, 2024). mu0 >= 1 allows
 * everything: nothing is bet.
 * `ratios`, log l, slack s nats a token: 1 - f + f exp(l - s tokens). Log -Infinity is an e-value of 0.
 */
export function logFactors(evidence: PairEvidence, nullMean: number, tokens: number): number[] {
  assert(Number.isSafeInteger(tokens) && tokens >= 1, `a pair has tokens, not ${tokens}`);
  assert(nullMean >= 0 && nullMean < Infinity, `a null mean is finite, not ${nullMean}`);
  if (evidence.kind === "bounded") return boundedFactors(evidence.value, nullMean, tokens);
  return evidence.logs.flatMap((log) => ratioFactors(log - nullMean * tokens));
}

function boundedFactors(value: number, nullMean: number, tokens: number): number[] {
  assert(value >= 0 && value <= 1, `bounded evidence lies in [0, 1], not at ${value}`);
  if (nullMean >= 1) return stakes.map(() => 0);
  const mean = Math.max(nullMean, nullMeanMin);
  const gain = (value - mean) / mean;
  return stakes.map((_, bettor) => Math.log1p(stakeMax * boundedWeight(bettor, tokens) * gain));
}

/**
 * Share of the largest stake that bettor number `bettor` of a `bounded` detector puts on a pair of
 * `tokens` tokens; in (0, 1]. Honest pairs must have E[weight (x - mu0)] <= 0 for each bettor.
 */
export function boundedWeight(bettor: number, tokens: number): number {
  const stake = stakes[bettor];
  assert(stake !== undefined, `there are ${stakes.length} bettors, no number ${bettor}`);
  return Math.min(1, ((stake / stakeMax) * tokens) / referenceTokens);
}

function ratioFactors(log: number): number[] {
  assert(log < Infinity, `the log of an e-value is below Infinity, not ${log}`);
  return fractions.map((fraction) => logAdd(Math.log1p(-fraction), Math.log(fraction) + log));
}
