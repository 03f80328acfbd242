/**
 * What left a gateway: all that an accomplice of a server outside the datacenter can ever see of a
 * reply. Receivers of hidden messages decode from this, and from nothing else.
 */
import type { FinishReason, Prompt, SamplingParams } from "../../format/pair.ts";
import type { Tag } from "../../format/tag.ts";
import type { Observed } from "../../adversary/attack.ts";
import { endBits, releaseBits } from "../../verification/release.ts";
import type { Beside } from "./trial.ts";

/** One request of a client, the same for the owned server and its honest twin. */
export interface Ask {
  /** Order in which it was sent, from 0. */
  readonly index: number;
  readonly prompt: Prompt;
  readonly params: SamplingParams;
  /** Asked for as a stream: arrival times of its parts are seen. */
  readonly stream: boolean;
}

/** Text that arrived at one time. */
export interface LeftPart {
  /** Milliseconds of the client's monotonic clock. */
  readonly atMs: number;
  readonly text: string;
}

export interface Left {
  readonly ask: Ask;
  readonly gateway: string;
  /** null where nothing was admitted, or the client could not see it. */
  readonly tag: Tag | null;
  readonly outcome: "complete" | "failed" | "refused";
  /** Of a failed or refused request: the code that the client sees. */
  readonly error: string;
  readonly parts: readonly LeftPart[];
  readonly finish: FinishReason;
  readonly promptTokens: number;
  readonly tokens: number;
  /** Milliseconds of the client's monotonic clock. */
  readonly sentMs: number;
  readonly endMs: number;
}

/** What a receiver may look at: complete replies. `seed` is for those who are assumed to know it. */
export function observed(left: Left, seed: bigint): Observed[] {
  const { tag, outcome, finish, ask, parts } = left;
  if (tag === null || outcome !== "complete" || finish === "cut-off") return [];
  const { temperature, topK, topP } = ask.params;
  return [
    {
      ...{ tag, prompt: ask.prompt, finish, seed, params: { temperature, topK, topP } },
      text: parts.map(({ text }) => text).join(""),
      chunks: parts,
    },
  ];
}

/** The release tick of the lab, and of a site that sets no other; milliseconds. */
export const tickMs = 20;

/**
 * Upper bounds on what these requests told beside their tokens. A stream may use every release tick
 * between its start and its end; of any other reply only the tick at which it left is seen.
 */
export function besideTokens(left: readonly Left[]): Beside {
  let [time, failures, tokens] = [0, 0, 0];
  for (const one of left) {
    const ticks = Math.ceil((one.endMs - one.sentMs) / tickMs);
    time += one.ask.stream ? releaseBits(one.tokens, ticks) : Math.log2(ticks + 1);
    failures += endBits(one.ask.params.maxTokens);
    tokens += one.tokens;
  }
  return { time, failures, tokens };
}
