/**
 * Bench 3b: what blindness costs (docs/decisions/0015-blind-executor.md). The same pairs replayed by
 * one prefill each, and in lockstep at several widths; CPU per output token, prompts included, and how
 * far the two kinds of replay differ. In one process: the link adds what the last row says.
 */
import { openReplayEngine } from "../src/adapter/llama/replay.ts";
import { openSlots } from "../src/adapter/llama/slots.ts";
import { systemClock } from "../src/adapter/clock.ts";
import { decodeCandidates, encodeCandidates } from "../src/format/executor-link.ts";
import { drawToken, type Candidates } from "../src/format/noise.ts";
import { Lockstep } from "../src/recomputer/lockstep.ts";
import { candidatesBeyond } from "../src/recomputer/replay.ts";
import { entryOf, generatePair, params, type Pair } from "./recompute.ts";
import { openNativeEngine } from "../src/adapter/llama/native-engine.ts";
import { median } from "./support.ts";

const widths = [1, 8, 32] as const;
const count = params.topK + candidatesBeyond;
const deadline = { baseMs: 600_000, perTokenMs: 1000 };

type Replay = (pair: Pair) => Promise<Candidates[]>;

interface Run {
  readonly cpuMsPerToken: number;
  readonly positions: Candidates[][];
}

/** Replays all pairs, handed over at once. Candidates are drawn from as the recomputer does. */
async function measure(pairs: readonly Pair[], replay: Replay): Promise<Run> {
  const start = process.cpuUsage();
  const positions = await Promise.all(pairs.map(replay));
  for (const [seed, each] of positions.entries()) {
    each.forEach((candidates, at) => drawToken(candidates, params, BigInt(seed + 1), at));
  }
  const { user, system } = process.cpuUsage(start);
  const tokens = pairs.reduce((sum, { ids }) => sum + ids.length, 0);
  return { cpuMsPerToken: (user + system) / 1000 / tokens, positions };
}

/** How two replays of the same pairs differ, and what that does to an honest pair's verdict. */
function difference(pairs: readonly Pair[], a: Candidates[][], b: Candidates[][]): object {
  let [tokens, equal, worst] = [0, 0, 0];
  const mismatches = [0, 0];
  for (const [seed, pair] of pairs.entries()) {
    for (const [at, id] of pair.ids.entries()) {
      const [left, right] = [a[seed]?.[at], b[seed]?.[at]];
      if (left === undefined || right === undefined) throw new Error("a position is missing");
      const other = new Map(Array.from(right.ids, (token, i) => [token, right.logProbs[i] ?? 0]));
      const gaps = Array.from(left.ids, (token, i) => {
        const logit = other.get(token);
        return logit === undefined ? 0 : Math.abs(logit - (left.logProbs[i] ?? 0));
      });
      const gap = Math.max(...gaps);
      tokens++;
      if (gap === 0) equal++;
      worst = Math.max(worst, gap);
      for (const [which, each] of [left, right].entries()) {
        if (drawToken(each, params, BigInt(seed + 1), at) !== id)
          mismatches[which] = (mismatches[which] ?? 0) + 1;
      }
    }
  }
  return {
    tokens,
    "positions equal bit by bit": equal / tokens,
    "largest difference of a logit": worst,
    "drawn otherwise, prefill": mismatches[0],
    "drawn otherwise, blind": mismatches[1],
  };
}

/** CPU of what the link adds: a position's candidates encoded and decoded again. */
function linkCost(positions: readonly Candidates[], vocabularySize: number): number {
  const start = process.cpuUsage();
  for (const candidates of positions) {
    const expected = { count: candidates.ids.length, vocabularySize };
    decodeCandidates(encodeCandidates(candidates), expected);
  }
  const { user, system } = process.cpuUsage(start);
  return (user + system) / 1000 / positions.length;
}

/** Rows: CPU ms per token of each kind of replay; then how they differ. */
export async function benchBlind(
  model: string,
  reps: number,
  tokensPerPair: number,
  say: (text: string) => void,
): Promise<object[][]> {
  const entry = await entryOf(model);
  const { contextTokens } = entry.generation;
  const server = await openNativeEngine(model, {
    contextTokens,
    topK: 64,
    parallel: 8,
    threads: 1,
  });
  const pairs = await Promise.all(
    Array.from({ length: 32 }, (_, i) =>
      serialised(i, () =>
        generatePair(server, `Tell me story number ${i}.`, BigInt(i + 1), tokensPerPair),
      ),
    ),
  );
  await server.close();
  const prefill = await openReplayEngine(entry, model, { threads: 1, binding: "native" });
  const byPrefill: Replay = ({ promptIds, ids }) => prefill.replay(promptIds, ids, count);
  const costs: number[][] = [];
  let rows: object[] = [];
  let link = 0;
  for (let rep = 0; rep < reps; rep++) {
    const whole = await measure(pairs, byPrefill);
    const each = [whole.cpuMsPerToken];
    rows = [];
    for (const slots of widths) {
      const executor = await openSlots(model, { slots, contextTokens, threads: 1 });
      const lockstep = new Lockstep(executor, systemClock, deadline);
      // One at a time needs no more than some of them.
      const some = slots === 1 ? pairs.slice(0, 8) : pairs;
      const blind = await measure(some, ({ promptIds, ids }) =>
        lockstep.replay(promptIds, ids, count),
      );
      each.push(blind.cpuMsPerToken);
      rows.push({ slots, ...difference(some, whole.positions, blind.positions) });
      link = linkCost(blind.positions.flat(), executor.vocabularySize);
      await lockstep.close();
    }
    costs.push(each);
    say(`rep ${rep + 1}: ${each.map((ms) => ms.toFixed(3)).join(" ")}`);
  }
  await prefill.close();
  const column = (at: number): number => median(costs.map((each) => each[at] ?? 0));
  const table = widths.map((slots, at) => ({
    slots,
    "blind, ms CPU per token": column(at + 1),
    prefill: column(0),
    ratio: column(at + 1) / column(0),
    "link, ms CPU per token": link,
  }));
  return [table, rows];
}

const lanes = Array.from({ length: 8 }, () => Promise.resolve());

/** Eight at a time: a server has that many sequences. */
function serialised<T>(at: number, work: () => Promise<T>): Promise<T> {
  const lane = at % lanes.length;
  const result = (lanes[lane] ?? Promise.resolve()).then(work);
  lanes[lane] = result.then(() => undefined);
  return result;
}
