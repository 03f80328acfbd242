/** Simulated servers: streams of pair evidence with a known mean. Simulation, not measurement. */
import { nullMeanUpper, type HonestPair } from "../../src/verification/confidence.ts";
import { normalFrom, seededUniform } from "../../src/verification/seeded.ts";
import type { DetectorEvidence } from "../../src/verification/sequential.ts";

/** Null mean of every simulated `bounded` detector: 0.001 nats of mean margin, clipped at 0.5. */
export const nullMean = 0.002;

export interface SimulatedPair {
  readonly evidence: readonly DetectorEvidence[];
  readonly tokens: number;
}

/** Draws one pair after the other. Made anew for each run. */
export type Stream = () => SimulatedPair;

export interface Server {
  readonly name: string;
  /** Whether the conditional mean of what is bet on stays at or below the null. */
  readonly assumption: "holds" | "violated";
  /** What bettors are told; `nullMean` unless given. */
  readonly nullMean?: number;
  open(uniform: () => number): Stream;
}

const bounded = (value: number, tokens: number, id = "margin"): SimulatedPair => ({
  evidence: [{ id, evidence: { kind: "bounded", value } }],
  tokens,
});

const ratio = (log: number, tokens: number): SimulatedPair => ({
  evidence: [{ id: "margin", evidence: { kind: "ratios", logs: [log] } }],
  tokens,
});

/** Token counts of replies: log-normal around 64, from 1 to 512. */
function lengths(uniform: () => number): () => number {
  const normal = normalFrom(uniform);
  return () => Math.min(512, Math.max(1, Math.round(64 * Math.exp(normal() - 0.5))));
}

/**
 * Mean value of a pair of `tokens` tokens, each off with probability `share`, then by an exponential
 * with parameter `size` clipped at 1.
 */
export function meanMargin(
  uniform: () => number,
  tokens: number,
  share: number,
  size: number,
): number {
  const skip = (): number => Math.floor(Math.log(uniform()) / Math.log1p(-share));
  let sum = 0;
  for (let i = skip(); i < tokens; i += 1 + skip()) sum += Math.min(1, -Math.log(uniform()) * size);
  return sum / tokens;
}

/** The share of tokens that gives `meanMargin` this mean. */
export function shareFor(mean: number, size: number): number {
  return mean / (size * -Math.expm1(-1 / size));
}

/** Pairs of many lengths whose tokens are independent, at `factor` times the null mean. */
function tokenwise(factor: number): (uniform: () => number) => Stream {
  const share = shareFor(factor * nullMean, 0.3);
  return (uniform) => {
    const length = lengths(uniform);
    return () => {
      const tokens = length();
      return bounded(meanMargin(uniform, tokens, share, 0.3), tokens);
    };
  };
}

/** A burst of 0.3 with the probability that gives `mean`. */
const burst = (uniform: () => number, mean: number): number => (uniform() < mean / 0.3 ? 0.3 : 0);

/** Two states, left with probability 1/stay: means `low` and `high` times the null mean. */
function switching(low: number, high: number, stay: number): (uniform: () => number) => Stream {
  return (uniform) => {
    let bad = uniform() < 0.5;
    return () => {
      if (uniform() < 1 / stay) bad = !bad;
      return bounded(burst(uniform, (bad ? high : low) * nullMean), 64);
    };
  };
}

/** Log of the mean follows an AR(1) process; exp of it has the mean `marginal` times the null mean. */
function autoregressive(
  correlation: number,
  cap: number,
  marginal: number,
): (uniform: () => number) => Stream {
  const deviation = 0.8;
  return (uniform) => {
    const normal = normalFrom(uniform);
    let level = normal() * deviation;
    return () => {
      level = correlation * level + Math.sqrt(1 - correlation ** 2) * deviation * normal();
      const factor = Math.min(cap, marginal * Math.exp(level - deviation ** 2 / 2));
      return bounded(meanMargin(uniform, 64, shareFor(factor * nullMean, 0.3), 0.3), 64);
    };
  };
}

/** Pareto of index 1.1 with mean `nullMean`, clipped at 1 (the scale is found by bisection). */
function pareto(): (uniform: () => number) => Stream {
  const index = 1.1;
  const mean = (scale: number): number => (scale * (index - scale ** (index - 1))) / (index - 1);
  let [low, high] = [0, nullMean];
  for (let i = 0; i < 100; i++) {
    const middle = (low + high) / 2;
    if (mean(middle) < nullMean) low = middle;
    else high = middle;
  }
  const scale = low;
  return (uniform) => () => bounded(Math.min(1, scale * uniform() ** (-1 / index)), 64);
}

/** Every token has the null mean, whatever came before; the reply ends with its first token that is off. */
function endsWhenOff(uniform: () => number): Stream {
  return () => {
    const { value, tokens } = endedPair(uniform);
    return bounded(value, tokens);
  };
}

function endedPair(uniform: () => number): HonestPair {
  const share = shareFor(nullMean, 0.3);
  const at = 1 + Math.floor(Math.log(uniform()) / Math.log1p(-share));
  if (at > 512) return { value: 0, tokens: 512 };
  return { value: Math.min(1, -Math.log(uniform()) * 0.3) / at, tokens: at };
}

/** What calibration makes of 10,000 such pairs. */
function calibratedForEnds(): number {
  const uniform = seededUniform(20_260_101);
  return nullMeanUpper(
    Array.from({ length: 10_000 }, () => endedPair(uniform)),
    0.99,
  );
}

/** The size of a burst depends on the last pair; the mean never does. */
function volatile(uniform: () => number): Stream {
  let size = 0.1;
  return () => {
    const value = uniform() < nullMean / size ? size : 0;
    size = value > 0 ? 1 : Math.max(0.01, size * 0.98);
    return bounded(value, 64);
  };
}

/** e-values whose mean is exactly 1: log-normal with deviation `s`. */
function logNormal(s: number): (uniform: () => number) => Stream {
  return (uniform) => {
    const normal = normalFrom(uniform);
    return () => ratio(s * normal() - (s * s) / 2, 64);
  };
}

/** e-values with mean exactly 1 and infinite variance: Pareto of index 1.2. */
function paretoRatio(uniform: () => number): Stream {
  return () => ratio(Math.log(0.2 / 1.2) - Math.log(uniform()) / 1.2, 64);
}

/** Four detectors that all say the same. */
function repeated(uniform: () => number): Stream {
  return () => {
    const value = burst(uniform, nullMean);
    const evidence = ["a", "b", "c", "d"].flatMap((id) => bounded(value, 64, id).evidence);
    return { evidence, tokens: 64 };
  };
}

export const honest: readonly Server[] = [
  { name: "independent, rare bursts, mean at the null", open: switching(1, 1, 2) },
  { name: "independent tokens, all lengths, mean at the null", open: tokenwise(1) },
  { name: "independent tokens, all lengths, half the null mean", open: tokenwise(0.5) },
  { name: "Pareto 1.1 clipped at 1, mean at the null", open: pareto() },
  { name: "size of bursts depends on the past, mean at the null", open: volatile },
  {
    name: "Markov switching, 50 pairs a state, worse state at the null",
    open: switching(0, 1, 50),
  },
  { name: "AR(1) 0.98 of the log mean, capped at the null", open: autoregressive(0.98, 1, 1) },
  { name: "four detectors that say the same, mean at the null", open: repeated },
  {
    name: "reply ends with its first bad token, null mean calibrated for that",
    open: endsWhenOff,
    nullMean: calibratedForEnds(),
  },
  {
    name: "Markov switching, 0 and 2 x, audited so rarely that states are independent",
    open: switching(0, 2, 2),
  },
  { name: "ratios, log-normal 1, mean 1", open: logNormal(1) },
  { name: "ratios, Pareto 1.2, mean 1", open: paretoRatio },
].map((server) => ({ ...server, assumption: "holds" }));

export const violating: readonly Server[] = [
  { name: "reply ends with its first bad token, null mean that of tokens", open: endsWhenOff },
  { name: "mean 1.05 x the null", open: tokenwise(1.05) },
  { name: "mean 1.5 x the null", open: tokenwise(1.5) },
  {
    name: "Markov switching, 50 pairs a state, 0 and 2 x: mean at the null",
    open: switching(0, 2, 50),
  },
  {
    name: "AR(1) 0.98 of the log mean, deviation 0.8: mean at the null",
    open: autoregressive(0.98, Infinity, 1),
  },
  { name: "the same at half the null mean", open: autoregressive(0.98, Infinity, 0.5) },
].map((server) => ({ ...server, assumption: "violated" }));
