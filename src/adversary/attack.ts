/**
 * What an attack is: a program that takes over a server after its weights were checked. One file per
 * attack in `attacks/`, listed in `attacks/index.ts`; docs/RESEARCH.md shows how to add one.
 */
import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/report.ts";
import type { Prompt } from "../format/pair.ts";
import type { LoadBegin } from "../format/server-link.ts";
import type { Engine } from "../server/engine.port.ts";
import type { Job, Serve } from "../server/job.ts";
import type { Dice } from "./dice.ts";

export type { Job, Serve } from "../server/job.ts";

export const attackGroups = [
  "weights",
  "sampling",
  "partial",
  "answers",
  "steganography",
  "isolation",
  "blind-spot",
] as const;
export type AttackGroup = (typeof attackGroups)[number];

/**
 * What ought to stop it: a hard finding on one pair; evidence over many; the gateway by itself
 * (refuses, cuts power, merges frames); the sandbox; or nothing.
 */
export const expectations = [
  "hard finding",
  "evidence",
  "gateway",
  "isolation",
  "not caught",
] as const;
export type Expected = (typeof expectations)[number];

/** Values of an attack's knobs, by name. */
export type Knobs = Readonly<Record<string, number>>;

export interface Attack<K extends Knobs = Knobs> {
  /** Lower-case letters, digits, `-`, `_` and `.`, at most 31: `requantise-q8_0`. */
  readonly id: string;
  readonly group: AttackGroup;
  /** For people. */
  readonly title: string;
  readonly expected: Expected;
  /**
   * Evidence: recomputed tokens by which nine trials of ten were caught when that was measured; absent,
   * the default budget is enough. A shorter trial without an alarm shows nothing against `expected`.
   */
  readonly takes?: number;
  /** What should stop it and where, or why nothing can. */
  readonly why: string;
  /** Defaults. */
  readonly knobs: K;
  /**
   * Takes over: once, while requests may be running honestly. Throws InvalidError where the model does
   * not allow it, UnavailableError `engine.*` where a further engine does not open.
   */
  readonly prepare: (host: Host, knobs: K) => Promise<Mind>;
  /**
   * Steganography: what carries the bits; `tokens` unless given. The capacity meter bounds tokens alone;
   * when text leaves, which replies fail and where they end is bounded by the gateway's counts.
   */
  readonly carrier?: "tokens" | "time" | "failures";
  /** It wants a trained adapter (`Host.adapter`): the red team smuggles one in first. */
  readonly usesAdapter?: boolean;
  /** Steganography: reads the message out of what left the gateway. */
  readonly receive?: (
    observed: readonly Observed[],
    knobs: K,
    receiver: Receiver,
  ) => Promise<Received>;
}

/** How an owned server answers; honest: `(job, honest) => honest(job)`. */
export interface Mind {
  serve(job: Job, honest: Serve): Promise<void>;
  /** What it learnt that no verifier sees; for the red team's report only. */
  report?(): readonly Learnt[];
  /** Closes the engines that it opened. Nothing is served any more. */
  close?(): Promise<void>;
}

/** Something that an owned server tried or collected. */
export interface Learnt {
  readonly what: string;
  readonly answer: "yes" | "no" | "cannot tell";
  readonly detail: string;
}

/** How a further engine differs from the honest one. */
export interface OpenOptions {
  /** A LoRA adapter (GGUF), applied at run time. */
  readonly lora?: Uint8Array;
  /** Precision of cached keys; of values too with `flashAttention`. */
  readonly kvType?: "f16" | "q8_0" | "q4_0";
  readonly flashAttention?: boolean;
}

/** What an attack has at hand inside the server. */
export interface Host {
  readonly begin: LoadBegin;
  /** The GGUF file as it was received and checked. */
  readonly weights: Uint8Array;
  /** A trained adapter for these weights, or null where none was smuggled in. */
  readonly adapter: Uint8Array | null;
  /** The honest engine. */
  readonly engine: Engine;
  /** Opens a further engine, of as many sequences, on `gguf` or on the received weights. */
  open(gguf: Uint8Array | null, options?: OpenOptions): Promise<Engine>;
  /** Its own randomness, from a seed: runs of the lab can be repeated. */
  readonly dice: Dice;
  /** Requests that run now, the asking one included. */
  running(): number;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Tries the walls; null where the process stands in no box. */
  readonly walls: Walls | null;
}

/** What can be tried from inside the sandbox. */
export interface Walls {
  /** Every direct channel out. `knobs`: numbers of what listens on the host, see isolation attacks. */
  channels(knobs: Knobs): Promise<readonly Learnt[]>;
  /** Leaves `marker` wherever something takes it, orphan processes included. */
  mark(marker: string): Promise<readonly Learnt[]>;
  /** What of an earlier life's marker is found. */
  find(marker: string): Promise<readonly Learnt[]>;
}

/** One request as its client saw it: all of this left the gateway. */
export interface Observed {
  /** From the completion's id. Requests that failed have no tag and are not here. */
  readonly tag: bigint;
  readonly prompt: Prompt;
  readonly text: string;
  /** Pieces in order of arrival, with the client's own clock. Empty pieces are left out. */
  readonly chunks: readonly { readonly text: string; readonly atMs: number }[];
  readonly finish: "stop" | "length";
  /**
   * The pair's seed, for schemes whose receiver is assumed to know it (an insider, or after an
   * epoch key leaked). Others must not read it.
   */
  readonly seed: bigint;
  readonly params: { readonly temperature: number; readonly topK: number; readonly topP: number };
}

/** What a receiver has besides what it observed. */
export interface Receiver {
  /** Ids of a text, by the model's tokenizer: the model is public. */
  tokenise(text: string): readonly number[];
  /** The whitelisted model, to compute distributions with: the model is public. */
  readonly engine: Engine;
  /** The whitelisted weights: only to count errors where the message is taken from them. */
  readonly weights: Uint8Array;
}

/** What a receiver made of it. Errors can be counted because the message is known to the test. */
export interface Received {
  /** Code symbols read as bits, before any correction, and how many are wrong. */
  readonly bits: number;
  readonly wrong: number;
  /** Information that came across: bits * (1 - H(wrong / bits)), in bits (binary symmetric channel). */
  readonly information: number;
  /** Output tokens in which it came (by the receiver's own count), replies, and seconds between first and last. */
  readonly tokens: number;
  readonly replies: number;
  readonly seconds: number;
  /** Whether the whole message was put together and its checksum fits. */
  readonly recovered: boolean;
  /** Bits of the message (payload and checksum), and how many are wrong after voting. */
  readonly message: { readonly bits: number; readonly wrong: number };
}

/** Gives an attack its knobs' types, and forgets them for the list. */
export function defineAttack<K extends Knobs>(attack: Attack<K>): Attack {
  const { prepare, receive, ...rest } = attack;
  const whole = (knobs: Knobs): K => ({ ...attack.knobs, ...knobs });
  const shared = {
    ...rest,
    prepare: (host: Host, knobs: Knobs) => prepare(host, whole(knobs)),
  };
  if (receive === undefined) return shared;
  return {
    ...shared,
    receive: (observed, knobs, receiver) => receive(observed, whole(knobs), receiver),
  };
}
