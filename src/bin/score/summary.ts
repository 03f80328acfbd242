/** What `weir score` says about one output and about all: numbers only, no I/O. */
import type { Detector, DetectorScale } from "../../verification/detector.ts";
import type { TokenFacts } from "../../verification/facts.ts";

/** Evidence per detector: a number in [0, 1], or the natural logs of its e-values. */
export type Evidence = Readonly<Record<string, number | readonly number[]>>;

export interface OutputScores {
  readonly sample: number;
  readonly output: number;
  readonly tokens: number;
  readonly mismatches: number;
  /** Tokens outside the support: impossible under the stated parameters. */
  readonly outside: number;
  /** Nats of logit; outside counts as the clip. */
  readonly meanMargin: number;
  /** Largest finite margin. */
  readonly maxMargin: number;
  /** Mean rank of the tokens inside the support: noise included where the seed is known, else of the logit. */
  readonly meanRank: number;
  /** Mean of surprise minus entropy, nats: 0 on average for the reference's own text. */
  readonly excess: number;
  readonly evidence: Evidence;
}

export interface TotalScores extends Omit<OutputScores, "sample" | "output" | "evidence"> {
  readonly outputs: number;
  /** Outputs without a token: nothing to score. */
  readonly empty: number;
  /** Bounded detectors: mean over outputs. Ratios: sum of the logs. */
  readonly evidence: Evidence;
  /** Per `ratios` detector, ln of the e-value averaged over its alternatives: a single valid test. */
  readonly logE: Readonly<Record<string, number>>;
}

/** ln of the mean of exp(logs), without overflow. */
export function logMeanExp(logs: readonly number[]): number {
  const most = Math.max(...logs);
  if (most === -Infinity) return most;
  return most + Math.log(logs.reduce((sum, log) => sum + Math.exp(log - most), 0) / logs.length);
}

function evidenceOf(
  tokens: readonly TokenFacts[],
  detectors: readonly Detector[],
  scale: DetectorScale,
): Evidence {
  return Object.fromEntries(
    detectors.map((detector) => {
      const found = detector.evidence({ tokens }, scale);
      return [detector.id, found.kind === "bounded" ? found.value : found.logs];
    }),
  );
}

/** Scores of one output of at least one token. */
export function scoreOutput(
  at: { readonly sample: number; readonly output: number },
  tokens: readonly TokenFacts[],
  detectors: readonly Detector[],
  scale: DetectorScale,
): OutputScores {
  const inside = tokens.filter(({ margin }) => margin !== Infinity);
  // At T = 0 another token than the reference's has no finite surprise, though it may be a near tie.
  const weighed = inside.filter(({ surprise }) => surprise !== Infinity);
  const mean = (sum: number, count: number): number => (count === 0 ? 0 : sum / count);
  const sumOf = (of: (token: TokenFacts) => number, list = tokens): number =>
    list.reduce((sum, token) => sum + of(token), 0);
  return {
    ...at,
    tokens: tokens.length,
    mismatches: sumOf(({ agrees }) => (agrees ? 0 : 1)),
    outside: tokens.length - inside.length,
    meanMargin: mean(
      sumOf(({ margin }) => Math.min(margin, scale.clip)),
      tokens.length,
    ),
    maxMargin: inside.reduce((most, { margin }) => Math.max(most, margin), 0),
    meanRank: mean(
      sumOf(({ rank }) => rank, inside),
      inside.length,
    ),
    excess: mean(
      sumOf(({ surprise, entropy }) => surprise - entropy, weighed),
      weighed.length,
    ),
    evidence: evidenceOf(tokens, detectors, scale),
  };
}

/** All outputs together; per-token means are weighted by tokens. */
export function totalOf(
  outputs: readonly OutputScores[],
  empty: number,
  detectors: readonly Detector[],
): TotalScores {
  const tokens = outputs.reduce((sum, each) => sum + each.tokens, 0);
  const perToken = (of: (each: OutputScores) => number): number =>
    tokens === 0 ? 0 : outputs.reduce((sum, each) => sum + of(each) * each.tokens, 0) / tokens;
  const sum = (of: (each: OutputScores) => number): number =>
    outputs.reduce((total, each) => total + of(each), 0);
  const evidence = detectors.map(({ id, kind, alternatives }): [string, number | number[]] => {
    const found = outputs.map((each) => each.evidence[id] ?? 0);
    if (kind === "bounded") {
      const total = found.reduce<number>((all, one) => all + Number(one), 0);
      return [id, outputs.length === 0 ? 0 : total / outputs.length];
    }
    const add = (j: number): number =>
      found.reduce<number>((all, one) => all + (typeof one === "number" ? 0 : (one[j] ?? 0)), 0);
    return [id, Array.from({ length: alternatives }, (_, j) => add(j))];
  });
  return {
    outputs: outputs.length,
    empty,
    tokens,
    mismatches: sum((each) => each.mismatches),
    outside: sum((each) => each.outside),
    meanMargin: perToken((each) => each.meanMargin),
    maxMargin: outputs.reduce((most, each) => Math.max(most, each.maxMargin), 0),
    meanRank: perToken((each) => each.meanRank),
    excess: perToken((each) => each.excess),
    evidence: Object.fromEntries(evidence),
    logE: Object.fromEntries(
      evidence.flatMap(([id, found]) =>
        typeof found === "number" ? [] : [[id, logMeanExp(found)]],
      ),
    ),
  };
}
