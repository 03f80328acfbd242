/** How often honest servers are accused, and what happens where the assumption does not hold. */
import { shareLower, shareUpper } from "../../src/verification/confidence.ts";
import { seededUniform } from "../../src/verification/seeded.ts";
import {
  addPair,
  emptyEvidence,
  logChange,
  logE,
  type EvidenceState,
} from "../../src/verification/sequential.ts";
import { honest, nullMean, violating, type Server, type SimulatedPair } from "./streams.ts";

export interface Sizes {
  readonly seed: number;
  readonly runs: number;
  readonly pairs: number;
}

const alphas = [0.1, 0.01];

function opened(first: SimulatedPair): EvidenceState {
  return emptyEvidence(
    first.evidence.map(({ id, evidence: { kind } }) => ({ id, kind, alternatives: 1 })),
  );
}

export function nullsOf(pair: SimulatedPair, mean: number): { id: string; nullMean: number }[] {
  return pair.evidence.map(({ id, evidence }) => ({
    id,
    nullMean: evidence.kind === "bounded" ? mean : 0,
  }));
}

/** First pair at which each account reaches each threshold ln(2/alpha); Infinity for never. */
export function crossings(server: Server, seed: number, pairs: number): number[] {
  const next = server.open(seededUniform(seed));
  const found = alphas.flatMap(() => [Infinity, Infinity]);
  const mean = server.nullMean ?? nullMean;
  let state: EvidenceState | null = null;
  for (let at = 1; at <= pairs; at++) {
    const pair = next();
    state = addPair(state ?? opened(pair), pair.evidence, pair.tokens, nullsOf(pair, mean));
    const logs = [logE(state), logChange(state)];
    alphas.forEach((alpha, i) => {
      logs.forEach((log, account) => {
        const slot = 2 * i + account;
        if (log >= Math.log(2 / alpha)) found[slot] = Math.min(found[slot] ?? at, at);
      });
    });
  }
  return found;
}

function levelOf(server: Server, sizes: Sizes): object[] {
  const runs = Array.from({ length: sizes.runs }, (_, run) =>
    crossings(server, sizes.seed * 1_000_003 + run, sizes.pairs),
  );
  return alphas.map((alpha, i) => {
    const firsts = runs.map((found) => [found[2 * i] ?? NaN, found[2 * i + 1] ?? NaN] as const);
    const count = (holds: (pair: readonly [number, number]) => boolean): number =>
      firsts.filter(holds).length;
    const either = count(([start, change]) => Math.min(start, change) < Infinity);
    const times = firsts.map((pair) => Math.min(...pair)).sort((a, b) => a - b);
    return {
      stream: server.name,
      assumption: server.assumption,
      bound: alpha,
      accused: either / sizes.runs,
      "95% from": shareLower(either, sizes.runs, 0.975),
      to: shareUpper(either, sizes.runs, 0.975),
      "by start": count(([start]) => start < Infinity) / sizes.runs,
      "by change": count(([, change]) => change < Infinity) / sizes.runs,
      "median pair": times[Math.floor((times.length - 1) / 2)] ?? NaN,
    };
  });
}

/** P(either account ever reaches ln(2/alpha)) for every simulated server. */
export function simulateLevel(sizes: Sizes, say: (text: string) => void): object[] {
  return [...honest, ...violating].flatMap((server) => {
    say(`  ${server.name}`);
    return levelOf(server, sizes);
  });
}
