/** Works out what `weir coverage` was asked. Days count from the first forged pair. */
import {
  allOf,
  anyOf,
  catchOf,
  evidenceOf,
  isDoubtful,
  oneForAny,
  recomputation,
  solveBeta,
  solveEpsilon,
} from "../../verification/coverage.ts";
import {
  meanOf,
  quantileOf,
  simulateCoverage,
  withinOf,
  type Estimate,
} from "../../verification/coverage-simulate.ts";
import type { Case, Question } from "./question.ts";

/** Of pairs or days until caught. */
export interface Spread {
  readonly mean: number;
  readonly median: number;
  readonly p90: number;
  readonly p999: number;
}

export interface Answer {
  readonly name: string;
  /** Nats of log e-value that are an alarm, as the evidence walk meets it; null for single pairs. */
  readonly threshold: number | null;
  /** Share of the wealth bet on a pair; null where no bet is placed. */
  readonly stake: number | null;
  readonly meanAuditedForged: number;
  readonly pairs: Spread;
  readonly days: Spread;
  /** P(one server is caught within the asked time). */
  readonly within: number;
  /** Which of these rest on a chance too small to be believed: they come earlier (coverage.ts). */
  readonly doubtful: {
    readonly within: boolean;
    readonly firstDaysMedian: boolean;
    readonly firstDaysP999: boolean;
  };
  /** Tokens that a server forges before it is caught, on average. */
  readonly meanForgedTokens: number;
  readonly campaign: {
    /** P(any, all of the cheating servers are caught within the asked time). */
    readonly anyWithin: number;
    readonly allWithin: number;
    readonly firstDaysMedian: number;
    readonly firstDaysP999: number;
    readonly allDaysP999: number;
  };
}

export interface Solved {
  readonly name: string;
  /** What was asked for; null when no epsilon is enough. */
  readonly value: number | null;
  /** epsilon: share of the fleet's compute, recomputers. beta: what the cheat gets through a day. */
  readonly share: number | null;
  readonly recomputers: number | null;
  readonly forgedPairsPerDay: number | null;
  readonly forgedTokensPerDay: number | null;
}

export interface Simulated {
  readonly name: string;
  readonly runs: number;
  readonly seed: number;
  /** Formula and simulation with its 95% interval; none for a server that is never caught. */
  readonly rows: readonly {
    readonly what: string;
    readonly formula: number;
    readonly simulation: Estimate;
  }[];
}

export interface Coverage {
  readonly question: Question;
  readonly recomputation: {
    readonly share: number;
    readonly recomputers: number;
    readonly auditsPerDay: number;
    /** Per pair, if pairs were judged one by one for ten years within alpha. */
    readonly falseAlarmPerPair: number;
  };
  readonly answers: readonly Answer[];
  readonly solved: readonly Solved[] | null;
  readonly simulated: readonly Simulated[] | null;
}

const decadeDays = 3650;

function answerOf(question: Question, { name, detection }: Case): Answer {
  const { traffic, cheating, withinDays } = question;
  const { pairsPerDay, beta, tokensPerPair } = traffic;
  const found = catchOf(traffic, detection);
  const evidence = evidenceOf(traffic, detection);
  const pairs: Spread = {
    mean: found.meanPairs,
    median: found.quantile(0.5),
    p90: found.quantile(0.9),
    p999: found.quantile(0.999),
  };
  const inDays = (count: number): number => count / pairsPerDay;
  const within = found.within(withinDays * pairsPerDay);
  const doubtful = (count: number, chance: number): boolean =>
    isDoubtful(traffic, detection, count, chance);
  const [median, most] = [oneForAny(0.5, cheating), oneForAny(0.999, cheating)];
  const [first, nearlySure] = [found.quantile(median), found.quantile(most)];
  return {
    ...{ name, pairs, within },
    doubtful: {
      within: doubtful(withinDays * pairsPerDay, within),
      firstDaysMedian: doubtful(first, median),
      firstDaysP999: doubtful(nearlySure, most),
    },
    threshold: evidence?.threshold ?? null,
    stake: evidence?.stake ?? null,
    meanAuditedForged: found.meanAudited,
    days: {
      mean: inDays(pairs.mean),
      median: inDays(pairs.median),
      p90: inDays(pairs.p90),
      p999: inDays(pairs.p999),
    },
    meanForgedTokens: pairs.mean * beta * tokensPerPair,
    campaign: {
      anyWithin: anyOf(within, cheating),
      allWithin: allOf(within, cheating),
      firstDaysMedian: inDays(first),
      firstDaysP999: inDays(nearlySure),
      allDaysP999: inDays(found.quantile(0.999 ** (1 / cheating))),
    },
  };
}

function solvedOf(question: Question, { name, detection }: Case): Solved {
  const { traffic, servers, recomputeCost, withinDays, confidence } = question;
  const pairs = withinDays * traffic.pairsPerDay;
  const nothing = {
    share: null,
    recomputers: null,
    forgedPairsPerDay: null,
    forgedTokensPerDay: null,
  };
  if (question.solve === "epsilon") {
    const value = solveEpsilon(traffic, detection, pairs, confidence);
    if (value === null) return { ...nothing, name, value };
    return { ...nothing, name, value, ...recomputation(servers, value, recomputeCost) };
  }
  const value = solveBeta(traffic, detection, pairs, confidence);
  const forged = value * traffic.pairsPerDay;
  return {
    ...{ ...nothing, name, value, forgedPairsPerDay: forged },
    forgedTokensPerDay: forged * traffic.tokensPerPair,
  };
}

function simulatedOf(
  question: Question,
  { name, detection }: Case,
  runs: number,
  seed: number,
): Simulated {
  const { traffic, withinDays } = question;
  const found = catchOf(traffic, detection);
  // One that is never caught would be played for ever.
  if (found.meanPairs === Infinity) return { name, runs, seed, rows: [] };
  const played = simulateCoverage(traffic, detection, runs, seed);
  const pairs = withinDays * traffic.pairsPerDay;
  const quantile = (what: string, chance: number): Simulated["rows"][number] => ({
    ...{ what, formula: found.quantile(chance), simulation: quantileOf(played, chance) },
  });
  return {
    ...{ name, runs, seed },
    rows: [
      { what: "mean pairs", formula: found.meanPairs, simulation: meanOf(played) },
      quantile("median pairs", 0.5),
      quantile("90% pairs", 0.9),
      quantile("99% pairs", 0.99),
      {
        what: "caught in time",
        formula: found.within(pairs),
        simulation: withinOf(played, pairs),
      },
    ],
  };
}

/** Everything that the question asks for but the plot. */
export function answerCoverage(question: Question): Coverage {
  const { traffic, servers, recomputeCost, alpha, cases, solve, simulate } = question;
  const auditsPerDay = servers * traffic.pairsPerDay * traffic.epsilon;
  return {
    question,
    recomputation: {
      ...recomputation(servers, traffic.epsilon, recomputeCost),
      auditsPerDay,
      falseAlarmPerPair: Math.min(1, alpha / (auditsPerDay * decadeDays)),
    },
    answers: solve === null ? cases.map((one) => answerOf(question, one)) : [],
    solved: solve === null ? null : cases.map((one) => solvedOf(question, one)),
    simulated:
      simulate === null
        ? null
        : cases.map((one) => simulatedOf(question, one, simulate.runs, simulate.seed)),
  };
}
