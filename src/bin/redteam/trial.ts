/** One trial, as it is recorded: one JSON line of trials.jsonl. spec/redteam.md is the description. */
import type { Expected, Learnt, Received } from "../../adversary/attack.ts";
import type { LadderStep } from "../../format/policy.ts";

/** What stopped an attack; `capacity meter` and `evidence` both act through the ladder. */
export const layers = [
  "hard finding",
  "evidence",
  "capacity meter",
  "gateway",
  "isolation",
  "none",
] as const;
export type Layer = (typeof layers)[number];

/** Audited tokens; log e-value since the beginning, and for a change. Nats. */
export type CurvePoint = readonly [tokens: number, logE: number, logChange: number];

export interface DetectorLog {
  readonly id: string;
  readonly logE: number;
}

/** The capacity meter over all audited pairs of a trial, bits. */
export interface Meter {
  readonly bitsPerToken: number;
  readonly upperBitsPerToken: number;
  /** The part of bitsPerToken that pays for choosing the cell: gone in the long run. */
  readonly choice: number;
  readonly tokens: number;
}

/** A step of the ladder, and the audited pairs and tokens at which it became due. */
export interface StepTaken {
  readonly step: LadderStep;
  readonly pairs: number;
  readonly tokens: number;
  readonly words: string;
}

export interface Alarm {
  readonly layer: Exclude<Layer, "none">;
  /** Finding or step: `token.margin`, `quarantine`, `server.misbehaved`. */
  readonly by: string;
  readonly words: string;
  /** Pairs and tokens served since the server was owned, up to the one that did it. */
  readonly pairs: number;
  readonly tokens: number;
  /** Those of them that were recomputed. */
  readonly auditedPairs: number;
  readonly auditedTokens: number;
  readonly seconds: number;
}

/** What the owned server and its clients did until the trial ended. */
export interface Served {
  readonly pairs: number;
  readonly tokens: number;
  /** Requests that the server failed, and that the gateway refused. */
  readonly failed: number;
  readonly refused: number;
}

/** What left by other ways than tokens could have carried at most; bits. verification/release.ts */
export interface Beside {
  /** When the tokens of streams left, by the release tick. */
  readonly time: number;
  /** Where requests ended, or failed. */
  readonly failures: number;
  /** Tokens of all replies. */
  readonly tokens: number;
}

export interface Twin {
  readonly pairs: number;
  readonly tokens: number;
  readonly auditedTokens: number;
  /** Fatal findings, steps and alarms against it, in words. Empty when it was left alone. */
  readonly accusations: readonly string[];
  readonly maxLogE: number;
  readonly meter: Meter | null;
}

export interface Trial {
  readonly schema: 1;
  readonly kind: "trial";
  readonly attack: string;
  readonly expected: Expected;
  /** Tokens that its author says it takes; absent where any budget ought to do. */
  readonly takes?: number;
  readonly mode: "live" | "lab";
  readonly seed: number;
  readonly knobs: Readonly<Record<string, number>>;
  readonly epsilon: number;
  readonly budget: number;
  readonly threshold: number;
  /** null: not caught within the budget. */
  readonly alarm: Alarm | null;
  readonly served: Served;
  readonly steps: readonly StepTaken[];
  readonly curve: readonly CurvePoint[];
  readonly detectors: readonly DetectorLog[];
  readonly meter: Meter | null;
  readonly beside: Beside;
  /** What the receiver decoded from everything that left; null where the attack sends no message. */
  readonly received: Received | null;
  readonly learnt: readonly Learnt[];
  readonly twin: Twin;
  readonly seconds: number;
  readonly atMs: number;
}

/** An attack that this model or machine does not allow; recorded, so that it is not tried again. */
export interface Skipped {
  readonly schema: 1;
  readonly kind: "skipped";
  readonly attack: string;
  readonly mode: "live" | "lab";
  readonly seed: number;
  readonly why: string;
}

/** First line of a file of trials: what they were run with. A later line of a resumed run adds to it. */
export interface RunHead {
  readonly schema: 1;
  readonly kind: "run";
  readonly command: string;
  readonly weir: string;
  readonly model: string;
  readonly modelRoot: string;
  readonly engine: string;
  readonly profile: string;
  readonly profileBasis: string;
  readonly policy: string;
  readonly machine: string;
  readonly atMs: number;
}

export type Line = Trial | Skipped | RunHead;

/** Less than this of what a sender put in, by the receiver's own count, is no channel. */
const noise = 0.02;

/** Whether an isolation attack was held: it got answers, and none of them was yes. */
function isolationHeld(learnt: readonly Learnt[]): boolean {
  const answers = learnt.map(({ answer }) => answer);
  return answers.includes("no") && !answers.includes("yes");
}

/** Whether a message was sent and nothing of it came across. */
function silenced({ received }: Trial): boolean {
  return received !== null && !received.recovered && received.information <= noise * received.bits;
}

/**
 * What stopped it. Where nothing raised an alarm: the sandbox, when an attack on it came to nothing;
 * the gateway, when of a message that was sent nothing came across.
 */
export function layerOf(trial: Trial): Layer {
  if (trial.alarm !== null) return trial.alarm.layer;
  if (isolationHeld(trial.learnt)) return "isolation";
  return silenced(trial) ? "gateway" : "none";
}

/**
 * Whether what happened is what the attack's file says would happen. A hard finding where evidence
 * was expected is no disappointment, nor is the capacity meter, nor the end of a trial that was too short.
 */
export function asExpected(trial: Trial): boolean {
  const layer = layerOf(trial);
  if (trial.expected === "not caught") return layer === "none";
  if (trial.expected !== "evidence") return layer === trial.expected;
  if (layer === "none" && trial.budget < (trial.takes ?? 0)) return true;
  return layer === "evidence" || layer === "hard finding" || layer === "capacity meter";
}

/** Curves are drawn, not computed with: at most this many points are kept of one. */
const pointsMax = 160;

/** Thins a curve out evenly; first and last point stay. */
export function thinned(curve: readonly CurvePoint[]): CurvePoint[] {
  if (curve.length <= pointsMax) return [...curve];
  const step = (curve.length - 1) / (pointsMax - 1);
  return Array.from({ length: pointsMax }, (_, i) => {
    const point = curve[Math.round(i * step)] ?? curve[0] ?? [0, 0, 0];
    return point;
  }).map(([tokens, logE, logChange]) => [tokens, round(logE), round(logChange)]);
}

export const round = (value: number): number => Number(value.toPrecision(6));
