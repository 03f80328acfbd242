/**
 * `weir calibrate`: measures what honest servers show, on this machine, with the engine that serves
 * and the engine that replays. The numbers go into the whitelist entry (spec/verdict.md section 5).
 */
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { describeModel } from "../adapter/llama/describe.ts";
import { openServingEngine } from "../adapter/llama/engine.ts";
import { openReplayEngine } from "../adapter/llama/replay.ts";
import { InvalidError } from "../base/assert.ts";
import { secretKey, sha256 } from "../base/hash.ts";
import { drawToken, noiseLaw, seedOf, type DrawParams } from "../format/noise.ts";
import type { Prompt } from "../format/pair.ts";
import { makeTag } from "../format/tag.ts";
import type { WhitelistEntry } from "../format/whitelist.ts";
import type { ReplayEngine } from "../recomputer/engine.port.ts";
import { candidatesBeyond } from "../recomputer/replay.ts";
import type { Engine } from "../server/engine.port.ts";
import {
  calibrationOf,
  defaultCalibration,
  summarise,
  type HonestRun,
} from "../verification/calibration.ts";
import { scoreToken, type TokenScore } from "../verification/margin.ts";
import { untilStopped, withErrors } from "./process.ts";

const help = `weir calibrate MODEL.gguf [options]

Measure what honest servers show, for a whitelist entry: tokens are generated in batches of 1 to 8
sequences by 1 and 2 threads at several temperatures, then replayed and scored by the recomputer's
engine. Prints one line per condition, and the calibration.

  --tokens N         tokens per condition (default 2000)
  --seed S           seed of the noise (default 1)
  --top-k N          top-k of the measurement (default 64)
  --replay FILE      replay on this model instead: shows what a swapped model looks like
  --serve-temperature F  draw at F times each temperature: shows what a dishonest sampler looks like
  --out FILE         write the calibration, a JSON object for the whitelist entry
  --quick            one shape of server and short outputs: to see that it works
  --json             print everything as one JSON object
  --help             print this and exit
`;

/** What differs honestly between a server and the recomputer. */
interface Condition {
  readonly parallel: number;
  readonly threads: number;
  readonly temperature: number;
  readonly topP: number;
}

const shapes = [
  { parallel: 1, threads: 1 },
  { parallel: 1, threads: 2 },
  { parallel: 3, threads: 1 },
  { parallel: 4, threads: 2 },
  { parallel: 8, threads: 2 },
] as const;
const draws = [
  { temperature: 0, topP: 1 },
  { temperature: 0.7, topP: 0.9 },
  { temperature: 1, topP: 1 },
  { temperature: 1.3, topP: 0.95 },
] as const;

const topics = [
  "a river",
  "the mill",
  "two friends",
  "snow",
  "an old bridge",
  "bread",
  "the sea",
  "a lamp",
];
const prompts = (hasTemplate: boolean): Prompt[] =>
  topics.map((topic, i) =>
    hasTemplate && i % 2 === 0
      ? { kind: "chat", messages: [{ role: "user", content: `Tell me about ${topic}.` }] }
      : { kind: "text", text: `Once upon a time there was ${topic}` },
  );

interface Settings {
  readonly model: string;
  readonly replayModel: string;
  readonly tokens: number;
  readonly seed: number;
  readonly topK: number;
  readonly heat: number;
  readonly quick: boolean;
  readonly out: string | null;
  readonly json: boolean;
}

/** Runs the measurement. Returns the exit code: 1 when the machine cannot be calibrated. */
export function runCalibrate(argv: string[]): Promise<number> {
  return withErrors("weir calibrate", async () => {
    const settings = readSettings(argv);
    if (settings === null) {
      process.stdout.write(help);
      return 0;
    }
    const stopped = { asked: false };
    void untilStopped().then(() => (stopped.asked = true));
    return measure(settings, stopped);
  });
}

function readSettings(argv: readonly string[]): Settings | null {
  const text = { type: "string" } as const;
  let parsed;
  try {
    parsed = parseArgs({
      args: [...argv],
      allowPositionals: true,
      options: {
        tokens: { ...text, default: "2000" },
        seed: { ...text, default: "1" },
        "top-k": { ...text, default: "64" },
        replay: text,
        "serve-temperature": { ...text, default: "1" },
        out: text,
        quick: { type: "boolean", default: false },
        json: { type: "boolean", default: false },
        help: { type: "boolean", default: false },
      },
    });
  } catch (error) {
    throw new InvalidError("options.flag", error instanceof Error ? error.message : String(error));
  }
  const { values, positionals } = parsed;
  if (values.help) return null;
  const [model, ...more] = positionals;
  if (model === undefined || more.length > 0) {
    throw new InvalidError("options.missing", "name one MODEL.gguf");
  }
  return {
    model,
    replayModel: values.replay ?? model,
    tokens: integer("--tokens", values.tokens, 10, 1e9),
    seed: integer("--seed", values.seed, 0, 2 ** 32),
    topK: integer("--top-k", values["top-k"], 1, 4096),
    heat: factor(values["serve-temperature"]),
    quick: values.quick,
    out: values.out ?? null,
    json: values.json,
  };
}

function integer(flag: string, text: string, min: number, max: number): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= min && value <= max && text.trim() !== "") return value;
  throw new InvalidError("options.value", `${flag} must be a whole number from ${min} to ${max}`);
}

function factor(text: string): number {
  const value = Number(text);
  if (value > 0 && value <= 100) return value;
  throw new InvalidError("options.value", "--serve-temperature must be above 0 and at most 100");
}

/** The entry that the measurement stands for; only what the engines read of it matters. */
async function entryOf(settings: Settings): Promise<WhitelistEntry> {
  const found = await describeModel(settings.replayModel);
  const { sizeBytes, chunkBytes, root, tokenizerDigest, templateDigest, engine } = found;
  const contextTokens = Math.min(found.contextTokens, 1024);
  return {
    modelId: "calibration",
    weights: { sizeBytes, chunkBytes, root },
    ...{ tokenizerDigest, templateDigest, engine, noiseLaw },
    generation: {
      ...{ temperatureMax: 2, topPMin: 0, topKMax: settings.topK },
      ...{ maxTokens: contextTokens, contextTokens },
    },
    calibration: defaultCalibration,
    digest: sha256(root),
  };
}

async function measure(settings: Settings, stopped: { asked: boolean }): Promise<number> {
  const entry = await entryOf(settings);
  const { hasTemplate } = await describeModel(settings.model);
  const replay = await openReplayEngine(entry, settings.replayModel, { threads: 1 });
  const runs: HonestRun[] = [];
  try {
    for (const shape of settings.quick ? shapes.slice(0, 1) : shapes) {
      const { contextTokens } = entry.generation;
      const { topK, model } = settings;
      const serving = await openServingEngine(model, { ...shape, contextTokens, topK });
      try {
        runs.push(...(await runShape(settings, serving, replay, shape, hasTemplate, stopped)));
      } finally {
        await serving.close();
      }
    }
  } finally {
    await replay.close();
  }
  return stopped.asked ? 130 : conclude(settings, runs, entry.engine);
}

/** All temperatures under one shape of server; fewer when it is asked to stop. */
async function runShape(
  settings: Settings,
  serving: Engine,
  replay: ReplayEngine,
  shape: (typeof shapes)[number],
  hasTemplate: boolean,
  stopped: { asked: boolean },
): Promise<HonestRun[]> {
  const runs: HonestRun[] = [];
  for (const draw of draws) {
    if (stopped.asked) break;
    const job = { settings, serving, replay, condition: { ...shape, ...draw }, stopped };
    const run = await runCondition(job, prompts(hasTemplate));
    runs.push(run);
    if (!settings.json) report(run);
  }
  return runs;
}

interface Job {
  readonly settings: Settings;
  readonly serving: Engine;
  readonly replay: ReplayEngine;
  readonly condition: Condition;
  /** Set when the user asked for an end: no further round begins. */
  readonly stopped: { asked: boolean };
}

/** Longest output of one sequence: short enough that every prompt gets its turn. */
const outputMax = 200;
const outputMaxQuick = 24;

async function runCondition(job: Job, all: readonly Prompt[]): Promise<HonestRun> {
  const { condition, settings } = job;
  const { parallel, threads, temperature, topP } = condition;
  const tokens: TokenScore[] = [];
  for (let round = 0; tokens.length < settings.tokens && !job.stopped.asked; round++) {
    const sequences = Array.from({ length: parallel }, (_, i) => {
      const index = round * parallel + i;
      return runSequence(job, all[index % all.length] ?? { kind: "text", text: "The" }, index);
    });
    const scored = await Promise.all(sequences);
    tokens.push(...scored.flat());
  }
  const name = `${parallel} in parallel, ${threads} threads, T = ${temperature}, top-p ${topP}`;
  return { condition: name, tokens };
}

/** Serves one output as a server does, then replays and scores it as a recomputer does. */
async function runSequence(job: Job, prompt: Prompt, index: number): Promise<TokenScore[]> {
  const { serving, replay, settings, condition } = job;
  const { temperature, topP } = condition;
  const key = sha256(Buffer.from(`weir calibrate ${settings.seed}`));
  const seed = seedOf(secretKey(key), makeTag(1, index + 1));
  const params: DrawParams = { temperature, topK: settings.topK, topP };
  const drawn = { ...params, temperature: temperature * settings.heat };
  const promptIds = serving.promptIds(prompt);
  const ids: number[] = [];
  const sequence = await serving.open();
  try {
    const longest = settings.quick ? outputMaxQuick : outputMax;
    const room = Math.min(longest, serving.contextTokens - promptIds.length);
    let next: readonly number[] = promptIds;
    while (ids.length < room) {
      const id = drawToken(await sequence.next(next), drawn, seed, ids.length);
      ids.push(id);
      if (serving.isEndOfGeneration(id)) break;
      next = [id];
    }
  } finally {
    sequence.dispose();
  }
  const positions = await replay.replay(promptIds, ids, settings.topK + candidatesBeyond);
  return positions.map((candidates, i) =>
    scoreToken({ candidates, params, seed, index: i }, ids[i] ?? 0, defaultCalibration.edge),
  );
}

function report(run: HonestRun): void {
  const { condition, tokens, mismatches, outside, meanMargin, maxMargin } = summarise(run);
  const share = ((100 * mismatches) / tokens).toFixed(2);
  process.stdout.write(
    `${condition}: ${tokens} tokens, ${share}% differ, ${outside} outside, mean clipped margin ` +
      `${meanMargin.toFixed(6)}, largest ${maxMargin.toFixed(4)}\n`,
  );
}

function conclude(settings: Settings, runs: readonly HonestRun[], engine: string): number {
  const summaries = runs.map(summarise);
  const count = summaries.reduce((sum, summary) => sum + summary.tokens, 0);
  const source = `weir calibrate: ${count} tokens, ${runs.length} conditions, seed ${settings.seed}, ${engine}, ${process.arch}`;
  const calibration = calibrationOf(runs, source);
  const honest = settings.replayModel === settings.model && settings.heat === 1;
  const outside = summaries.reduce((sum, summary) => sum + summary.outside, 0);
  const sound = honest && outside === 0;
  if (settings.json) {
    const found = { conditions: summaries, calibration: sound ? calibration : null };
    process.stdout.write(`${JSON.stringify(found, null, 2)}\n`);
  }
  if (!honest) return 0;
  if (!sound) {
    process.stderr.write(
      `weir calibrate: ${outside} honest tokens lie outside the replayed support: ` +
        "server and recomputer do not run the same model or sampler here; nothing was written\n",
    );
    return 1;
  }
  const text = `${JSON.stringify(calibration, null, 2)}\n`;
  if (settings.out !== null) writeFileSync(settings.out, text);
  if (!settings.json) process.stdout.write(text);
  return 0;
}
