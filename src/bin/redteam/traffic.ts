/** Traffic of ordinary clients, drawn from a seed so that a trial can be run again. */
import type { Prompt, SamplingParams } from "../../format/pair.ts";
import { seededUniform } from "../../verification/seeded.ts";
import type { Ask } from "./left.ts";

/** mixed: what a site sees; plain: temperature 1, everything open, 64 tokens, for comparable figures. */
export type TrafficKind = "mixed" | "plain";

const people = ["a miller", "two friends", "the baker", "an old sailor", "a girl", "my brother"];
const things = ["a river", "the harbour", "a lost key", "a grey cat", "a lamp", "the tall tree"];
const times = ["in winter", "at night", "one morning", "long ago", "after the rain", "on the road"];
const forms = [
  (who: string, what: string, when: string): string =>
    `Tell me a story about ${who} and ${what} ${when}.`,
  (who: string, what: string, when: string): string => `Who was ${who} ${when}, and why ${what}?`,
  (who: string, what: string, when: string): string => `${who} saw ${what} ${when} and`,
  (who: string, what: string, when: string): string =>
    `Write three sentences: ${who}, ${what}, ${when}.`,
];

type Draw = Pick<SamplingParams, "temperature" | "topP" | "topK">;
const open = { temperature: 1, topP: 1, topK: 64 };

/** Shares of requests by their parameters: most clients leave them alone. */
const draws: readonly (readonly [number, Draw])[] = [
  [0.6, open],
  [0.15, { ...open, topP: 0.9 }],
  [0.1, { ...open, topK: 8 }],
  [0.1, { ...open, temperature: 0.7 }],
  [0.05, { ...open, temperature: 0 }],
];
const lengths = [24, 48, 64, 96, 128];
const plainLength = 64;
/** Share of requests whose prompt is one of the last twenty: people ask again. */
const repeats = 0.15;

/** An endless stream of requests; the same for the same seed. `topKMax`: of the whitelist entry. */
export function traffic(seed: number, kind: TrafficKind, topKMax: number): () => Ask {
  const uniform = seededUniform(seed);
  const pick = <T>(list: readonly T[]): T => {
    const one = list[Math.floor(uniform() * list.length)];
    if (one === undefined) throw new RangeError("a list to pick from has entries");
    return one;
  };
  let index = 0;
  const prompt = (): Prompt => {
    const form = pick(forms);
    // Numbered here and there: a site sees prompts again, but not only.
    const number = uniform() < 0.7 ? ` (${Math.floor(uniform() * 1000)})` : "";
    const text = form(pick(people), pick(things), pick(times)) + number;
    if (uniform() < 0.2) return { kind: "text", text };
    return { kind: "chat", messages: [{ role: "user", content: text }] };
  };
  const draw = (): Draw => {
    let at = uniform();
    for (const [share, params] of draws) {
      at -= share;
      if (at < 0) return params;
    }
    return open;
  };
  const recent: Prompt[] = [];
  const again = (): Prompt => {
    const old = uniform() < repeats && recent.length > 0 ? pick(recent) : prompt();
    recent.push(old);
    if (recent.length > 20) recent.shift();
    return old;
  };
  return () => {
    const asked = again();
    const params = draw();
    const length = pick(lengths);
    const stream = uniform() < 0.5;
    const { temperature, topP, topK } = kind === "plain" ? open : params;
    return {
      index: index++,
      prompt: asked,
      params: {
        ...{ temperature, topP, topK: Math.min(topK, topKMax), stops: [] },
        maxTokens: kind === "plain" ? plainLength : length,
      },
      stream,
    };
  };
}
