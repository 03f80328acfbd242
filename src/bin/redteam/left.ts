/**
 * What left a gateway: all that an accomplice of a server outside the datacenter can ever see of a
 * reply. Receivers of hidden messages decode from this, and from nothing else.
 */
import { noCarriers, type CarrierCounts } from "../../format/carriers.ts";
import type { FinishReason, Prompt, SamplingParams } from "../../format/pair.ts";
import type { Tag } from "../../format/tag.ts";
import type { Observed } from "../../adversary/attack.ts";
import { carrierBits } from "../../verification/release.ts";
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
 * Upper bounds on what these requests told beside their tokens, as far as clients can count: at most these
 * release ticks lay between a request and its end. Of a reply that is no stream they see its first tick
 * (by the second of `created`) and its last.
 */
export function besideTokens(left: readonly Left[]): Beside {
  const counts = { ...noCarriers } as { -readonly [K in keyof CarrierCounts]: number };
  for (const one of left) {
    if (one.outcome === "refused") continue;
    const bytes = one.parts.reduce((sum, { text }) => sum + Buffer.byteLength(text), 0);
    counts.ticks += Math.floor((one.endMs - one.sentMs) / tickMs) + 1;
    counts.places += one.ask.stream ? bytes + 2 : 2;
    counts.pairs++;
    counts.tokens += one.tokens;
    if (one.outcome === "failed") {
      counts.failed++;
      counts.failedBytes += bytes;
    } else {
      counts.ended++;
      counts.endedTokens += one.tokens;
    }
  }
  return besideOf(counts);
}

/** The same from what a gateway counted (verification/release.ts). */
export function besideOf(counts: CarrierCounts): Beside {
  const { release, failures, ends } = carrierBits(counts);
  return { time: release, failures: failures + ends, tokens: counts.tokens };
}
