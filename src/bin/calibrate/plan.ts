/** What is varied: everything in which honest servers may differ. */
import type { DrawParams } from "../../format/noise.ts";
import type { Prompt } from "../../format/pair.ts";
import type { Job, Replay, Shape } from "./protocol.ts";

/** A shape of server and its share of the tokens. */
export interface PlannedShape extends Shape {
  readonly share: number;
}

/** Sequences batched together, and threads: several on a busy machine wait for each other. */
export const shapes: readonly PlannedShape[] = [
  { parallel: 1, threads: 1, share: 0.35 },
  { parallel: 3, threads: 2, share: 0.1 },
  { parallel: 8, threads: 1, share: 0.55 },
];
export const quickShapes: readonly PlannedShape[] = [
  { parallel: 1, threads: 1, share: 0.4 },
  { parallel: 4, threads: 1, share: 0.6 },
];

/** A way to replay, the share of the pairs that each reference replays so, and of the redraws there. */
export interface PlannedReplay {
  readonly replay: Replay;
  readonly pairs: number;
  readonly redraws: number;
}

/**
 * Blind is what recomputers do by default, so it has most of the draws; each pair is replayed by
 * prefill too.
 */
export const replays: readonly PlannedReplay[] = [
  { replay: { mode: "prefill" }, pairs: 1, redraws: 1 / 3 },
  { replay: { mode: "blind", slots: 1 }, pairs: 1 / 8, redraws: 2 / 3 },
  { replay: { mode: "blind", slots: 8 }, pairs: 1 / 4, redraws: 2 / 3 },
  { replay: { mode: "blind", slots: 32 }, pairs: 5 / 8, redraws: 2 / 3 },
];
export const quickReplays: readonly PlannedReplay[] = [
  { replay: { mode: "prefill" }, pairs: 1, redraws: 1 / 3 },
  { replay: { mode: "blind", slots: 32 }, pairs: 1, redraws: 2 / 3 },
];

type Draw = Pick<DrawParams, "temperature" | "topP">;
/** Greedy is one in seven: it draws once, and its outputs repeat themselves. */
const draws: readonly Draw[] = [
  { temperature: 0.7, topP: 0.9 },
  { temperature: 1, topP: 1 },
  { temperature: 1.3, topP: 0.95 },
  { temperature: 0, topP: 1 },
  { temperature: 1, topP: 0.95 },
  { temperature: 0.4, topP: 1 },
  { temperature: 1, topP: 1 },
];

/** Longest outputs, in turn. Short ones make many pairs, long ones fill the cache. */
const lengths = [24, 64, 120, 40] as const;
/** Every so many prompts one fills the context up to its output. */
const longEvery = 9;

const openings = [
  "Once upon a time there was",
  "One morning the children found",
  "The teacher told a story about",
  "Nobody in the village had ever seen",
  "In the middle of the winter came",
];
const topics = [
  ...["a river", "the mill", "two friends", "snow", "an old bridge", "bread", "the sea", "a lamp"],
  ...["a grey cat", "the baker", "a lost key", "the tall tree", "a small boat"],
];

function promptOf(index: number, hasTemplate: boolean, contextTokens: number): Prompt {
  const opening = openings[index % openings.length] ?? "";
  const topic = topics[index % topics.length] ?? "";
  const number = Math.floor(index / (openings.length * topics.length));
  const start = `${opening} ${topic}${number === 0 ? "" : ` number ${number + 1}`}`;
  if (index % longEvery === longEvery - 1) {
    // A word or two per token at least: cut to the room that there is.
    const text = `${start}. `.repeat(Math.ceil(contextTokens / 6));
    return { kind: "text", text: `${text}${start}` };
  }
  return hasTemplate && index % 2 === 0
    ? { kind: "chat", messages: [{ role: "user", content: `Tell me: ${start}.` }] }
    : { kind: "text", text: start };
}

export interface JobOptions {
  readonly hasTemplate: boolean;
  readonly contextTokens: number;
  readonly topK: number;
  readonly heat: number;
}

/** The job of one number: prompt, parameters and length follow from it alone. */
export function jobOf(index: number, options: JobOptions): Job {
  const { temperature, topP } = draws[index % draws.length] ?? { temperature: 1, topP: 1 };
  const length = lengths[index % lengths.length] ?? 64;
  return {
    index,
    prompt: promptOf(index, options.hasTemplate, options.contextTokens),
    params: { temperature, topP, topK: options.topK },
    heat: options.heat,
    outputMax: Math.min(length, Math.floor(options.contextTokens / 2)),
  };
}

/** In words, for the profile. */
export const variedText =
  "prompts chat and plain, short and up to the context; T 0, 0.4, 0.7, 1, 1.3; top-p 0.9, 0.95, 1";
