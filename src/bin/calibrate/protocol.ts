/**
 * What the calibration's main process and its workers say to each other. A worker is a process,
 * since one process runs one CPU build of llama.cpp.
 */
import type { DrawParams } from "../../format/noise.ts";
import type { Prompt } from "../../format/pair.ts";
import type { DetectorScale } from "../../verification/detector.ts";

/** `site`: the engine that serves in a site, on the build that it chooses. Otherwise a CPU build's name. */
export type Build = string;
export const siteBuild: Build = "site";

/** What a server may honestly choose. */
export interface Shape {
  readonly parallel: number;
  readonly threads: number;
}

/** How a reference replays: the claimed tokens in one go, or blind, so many pairs in lockstep. */
export type Replay =
  { readonly mode: "prefill" } | { readonly mode: "blind"; readonly slots: number };

/** As it stands in profiles. */
export function replayName(replay: Replay): string {
  if (replay.mode === "prefill") return "prefill";
  return replay.slots === 1 ? "blind, alone" : `blind, ${replay.slots} side by side`;
}

export interface OpenRequest {
  readonly op: "open";
  readonly model: string;
  readonly build: Build;
  readonly contextTokens: number;
  /** Candidates that a server draws from. */
  readonly topK: number;
  readonly threads: number;
}

/** One output to make. */
export interface Job {
  /** Names the seed: HMAC of the run's key and this number. */
  readonly index: number;
  readonly prompt: Prompt;
  readonly params: DrawParams;
  /** The server draws at this many times the temperature: 1 where it is honest. */
  readonly heat: number;
  readonly outputMax: number;
}

export interface GenerateRequest {
  readonly op: "generate";
  readonly shape: Shape;
  readonly seed: number;
  readonly jobs: readonly Job[];
}

/** What a server saw and drew; `serverIds` and `serverLogits` hold `width` candidates per token. */
export interface MadePair {
  readonly index: number;
  readonly params: DrawParams;
  readonly promptIds: Uint32Array;
  readonly ids: Uint32Array;
  readonly width: number;
  readonly serverIds: Uint32Array;
  readonly serverLogits: Float32Array;
}

/** Evaluates known tokens by prefill, by decode and blind, for the build's own rounding. */
export interface ProbeRequest {
  readonly op: "probe";
  readonly pairs: readonly MadePair[];
  /** Pairs in lockstep where it replays blind. */
  readonly slots: number;
}

/** Candidates of all positions under one way of computing them, one after the other. */
export interface ProbeRows {
  readonly way: "prefill" | "decode 1" | "decode 4" | "blind";
  readonly width: number;
  readonly ids: Uint32Array;
  readonly logits: Float32Array;
}

export interface ScoreRequest {
  readonly op: "score";
  readonly pairs: readonly MadePair[];
  readonly replay: Replay;
  readonly seed: number;
  readonly edge: number;
  readonly scale: DetectorScale;
  /** Tells the further draws of one reference from those of another. */
  readonly stream: number;
  /** Further draws of each position under fresh seeds; 0 for a server that is not honest. */
  readonly redraws: number;
}

export type Request = OpenRequest | GenerateRequest | ProbeRequest | ScoreRequest;
