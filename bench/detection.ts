/**
 * Bench 5: what detects what, on the real engine. An honest server and some that are not serve
 * traffic; a reference replays their pairs and the recomputer's own functions score them. Delays are
 * over streams of such pairs, drawn with replacement (bootstrap); the threshold is the policy's.
 */
import { InvalidError } from "../src/base/assert.ts";
import { readModel } from "../src/bin/redteam/model.ts";
import { addTokens, newCapacity, readCapacity } from "../src/verification/capacity.ts";
import { addPair, emptyEvidence, logChange, logE } from "../src/verification/sequential.ts";
import { cheats, honest, Scorer, type ScoredPair } from "./detection/measure.ts";
import { ablationRows, aucRow, delayRow, type AucRow, type Measured } from "./detection/tables.ts";

export interface DetectionOptions {
  readonly model: string;
  readonly profile: string | undefined;
  readonly seed: number;
  /** Tokens of each dishonest server, and of the honest one for the AUC. */
  readonly tokens: number;
  /** Tokens of the honest run. */
  readonly honest: number;
  /** Streams for each delay. */
  readonly runs: number;
  /** Names of the cheats; all where left out. */
  readonly cheats: readonly string[] | undefined;
}

export interface Detection {
  readonly honest: object[];
  readonly auc: readonly AucRow[];
  readonly delay: object[];
  readonly ablation: object[];
}

/** Tokens of a stream after which it counts as not caught. */
const maxTokens = 100_000;
const bucket = 300;

/** One honest server over all its tokens: false alarms, and what the meter says of it. */
async function honestRun(
  scorer: Scorer,
  seed: number,
  tokens: number,
  say: (text: string) => void,
): Promise<object> {
  let state = emptyEvidence(scorer.betting);
  let meter = newCapacity(scorer.vocabularySize);
  let [most, hard, off, told] = [0, 0, 0, 0];
  const nulls = scorer.model.profile.profile.detectors;
  await scorer.run(honest, { seed, tokens, traffic: "mixed" }, (pair, facts) => {
    const bets = pair.evidence.filter(({ id }) => scorer.betting.some((one) => one.id === id));
    state = addPair(state, bets, pair.tokens, nulls);
    meter = addTokens(meter, facts, scorer.vocabularySize);
    most = Math.max(most, logE(state), logChange(state));
    if (pair.hard) hard++;
    off += pair.mismatches;
    if (state.tokens < told + 20_000) return;
    told = state.tokens;
    say(`honest: ${state.tokens} of ${tokens} tokens, at most ${most.toFixed(2)} nats`);
  });
  const { bitsPerToken, upper, terms } = readCapacity(meter);
  return {
    ...{ tokens: state.tokens, pairs: state.pairs, "tokens off": off, "hard findings": hard },
    "most log e-value": most,
    threshold: scorer.model.ladder.threshold,
    "false alarms": hard + (most >= scorer.model.ladder.threshold ? 1 : 0),
    "meter bits/token": bitsPerToken,
    "of that, choice": terms.choice,
    "upper bound": upper,
  };
}

async function collect(
  scorer: Scorer,
  server: Measured["server"],
  seed: number,
  tokens: number,
): Promise<Measured> {
  const pairs: ScoredPair[] = [];
  await scorer.run(server, { seed, tokens, traffic: "plain" }, (pair) => pairs.push(pair));
  return { server, pairs };
}

/** Runs all parts. Throws InvalidError where model and profile do not fit. */
export async function benchDetection(
  options: DetectionOptions,
  say: (text: string) => void,
): Promise<Detection> {
  const { seed, tokens, runs } = options;
  const unknown = options.cheats?.find((name) => cheats.every((cheat) => cheat.name !== name));
  if (unknown !== undefined) {
    const names = cheats.map(({ name }) => `"${name}"`).join(", ");
    throw new InvalidError("bench.cheats", `there is no cheat "${unknown}"; there are ${names}`);
  }
  const model = await readModel({ ...options, policy: undefined });
  if (model.profile.profile.basis === "assumed") {
    say("the profile is assumed, not measured: detectors have no null means, and do not bet");
  }
  const scorer = await Scorer.open(model);
  try {
    const base = await collect(scorer, honest, seed, tokens);
    const measured: Measured[] = [];
    for (const [i, server] of cheats.entries()) {
      if (options.cheats?.includes(server.name) === false) continue;
      say(`serving: ${server.name}`);
      measured.push(await collect(scorer, server, seed + 1 + i, tokens));
    }
    const auc = measured
      .filter(({ server }) => server.quantise !== undefined)
      .flatMap(({ server, pairs }, i) =>
        (["shuffled", "in order"] as const).map((order) =>
          aucRow(server.name, pairs, base.pairs, bucket, order, seed + 100 + i),
        ),
      );
    const sizes = { seed, runs, max: maxTokens };
    const delay = measured.map((one) => delayRow(one, scorer, sizes));
    const ablation = ablationRows(measured, scorer, { ...sizes, runs: Math.ceil(runs / 5) }, say);
    const run = await honestRun(scorer, seed + 1000, options.honest, say);
    return { honest: [run], auc, delay, ablation };
  } finally {
    await scorer.close();
  }
}
