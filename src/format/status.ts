/**
 * What each role tells observers: STATUS frames carry one of these as JSON, on change and once a
 * second. Read-only and free of users' text. The dashboard joins them (spec/status.md).
 */
import type { CapacityRule, LadderRung, LadderStep } from "./policy.ts";
import type { Mode } from "./router-link.ts";
import type { FindingId, Scores, VerdictKind } from "./verdict.ts";

export interface Alarm {
  readonly id: string;
  readonly atMs: number;
  readonly severity: "warning" | "critical";
  /** Dotted and stable: `verdict.fail`, `recomputer.silent`. */
  readonly kind: string;
  /** Which gateway or role it is about. */
  readonly subject: string;
  readonly text: string;
}

export interface GatewayStatus {
  readonly role: "gateway";
  readonly name: string;
  readonly modelId: string;
  readonly mode: Mode;
  readonly ready: boolean;
  readonly draining: boolean;
  readonly halted: {
    readonly digest: string;
    readonly reason: string;
    readonly sinceMs: number;
  } | null;
  readonly epoch: number;
  readonly boots: number;
  readonly lastKillReason: string;
  readonly upload: { readonly bitsForwarded: number; readonly bitsTotal: number };
  readonly inflight: number;
  readonly pairs: { readonly logged: number; readonly sampled: number; readonly cutOff: number };
  readonly tokens: number;
  readonly log: { readonly size: number; readonly root: string };
  readonly outbox: { readonly waiting: number; readonly capacity: number };
  readonly ring: {
    readonly bytes: number;
    readonly capacity: number;
    readonly pairsForgotten: number;
    readonly forgottenThrough: string;
  };
  readonly recomputer: { readonly connected: boolean; readonly silentMs: number };
  /** Share of pairs that is kept now, that the gateway was started with, and the order that raised it. */
  readonly sampling?: {
    readonly epsilon: number;
    readonly own: number;
    readonly order: string;
  };
  /** Replies wait for their verdicts: how many do, were let out, were not. null or absent: no quarantine. */
  readonly quarantine?: {
    readonly digest: string;
    readonly reason: string;
    readonly sinceMs: number;
    readonly held: number;
    readonly passed: number;
    readonly withheld: number;
  } | null;
  /** The last recheck of the ring; `lost`: pairs that the ring no longer held whole. */
  readonly recheck?: {
    readonly digest: string;
    readonly sinceMs: number;
    readonly done: boolean;
    readonly sent: number;
    readonly lost: number;
  } | null;
  readonly isolation: IsolationStatus;
  /** Parts that are simulated here, each in words. */
  readonly simulated: readonly string[];
  readonly alarms: readonly Alarm[];
}

/** How the server is boxed in. `off` must be unmistakable on every view. */
export interface IsolationStatus {
  readonly kind: "bubblewrap" | "unshare" | "remote" | "off";
  readonly detail: string;
}

export interface VerdictSummary {
  readonly tag: string;
  readonly gateway: string;
  readonly atMs: number;
  readonly kind: VerdictKind;
  readonly findings: readonly FindingId[];
  readonly scores: Scores | null;
}

/** What has come together against one gateway's server, spec/policy.md. Logs are natural. */
export interface GatewayEvidence {
  readonly gateway: string;
  readonly pairs: number;
  readonly tokens: number;
  /** Log e-value since the evidence began, and of a change at some time since; each with its threshold. */
  readonly logE: number;
  readonly logEThreshold: number;
  readonly logChange: number;
  readonly logChangeThreshold: number;
  /** Highest step of the ladder that was taken and not yet undone. */
  readonly step: LadderStep | "none";
  /** All that were, mildest first: a hard finding shuts down without the others. */
  readonly steps: readonly LadderStep[];
  readonly detectors: readonly {
    readonly id: string;
    readonly title: string;
    /** Of this detector alone. */
    readonly logE: number;
    readonly logChange: number;
  }[];
  /** Covert capacity, spec/verdict.md: bits that replies may have carried. */
  readonly capacity: {
    /** Audited tokens that the meter has seen; without those of a recheck. */
    readonly tokens: number;
    readonly bitsPerToken: number;
    readonly upperBitsPerToken: number;
    readonly upperBitsPerSecond: number;
    readonly limitBitsPerToken: number;
  };
}

export interface RecomputerStatus {
  readonly role: "recomputer";
  readonly name: string;
  readonly engine: "loading" | "ready" | "down";
  readonly queued: number;
  readonly judged: { readonly pass: number; readonly fail: number; readonly unable: number };
  readonly tokens: number;
  readonly msPerToken: number;
  /** `judged`, split by gateway. Without it observers count what `recent` shows them. */
  readonly judgedByGateway?: readonly {
    readonly gateway: string;
    readonly pass: number;
    readonly fail: number;
    readonly unable: number;
  }[];
  /** The whitelist's limit on mean margins, as judge applies it: meanMax + meanSpread / sqrt(tokens). */
  readonly marginLimit?: { readonly meanMax: number; readonly meanSpread: number };
  /** One for each gateway with audited pairs. */
  readonly evidence?: readonly GatewayEvidence[];
  /** What evidence is held against, spec/policy.md; the fleet's threshold as a number. */
  readonly policy?: { readonly ladder: readonly LadderRung[]; readonly capacity: CapacityRule };
  /** Newest last, at most 200. */
  readonly recent: readonly VerdictSummary[];
  readonly alarms: readonly Alarm[];
  readonly simulated: readonly string[];
}

export interface RouterStatus {
  readonly role: "router";
  readonly name: string;
  readonly inflight: number;
  readonly connections: number;
  readonly requests: number;
  readonly errors: number;
  readonly gateways: readonly {
    readonly name: string;
    readonly accepting: boolean;
    readonly inflight: number;
  }[];
}

export interface DepotStatus {
  readonly role: "depot";
  readonly name: string;
  readonly models: readonly { readonly modelId: string; readonly sizeBytes: number }[];
  readonly uploads: number;
  readonly bytesSent: number;
}

export type RoleStatus = GatewayStatus | RecomputerStatus | RouterStatus | DepotStatus;

/** RECEIPT, gateway -> operator: what the gateway holds about one tag. */
export interface Receipt {
  readonly tag: string;
  /** unknown, open, logged; then what the coin said. */
  readonly state: "unknown" | "open" | "logged" | "not-kept" | "kept" | "judged";
  readonly leafIndex: number | null;
  readonly leafHex: string | null;
  readonly leafHash: string | null;
  readonly logSize: number;
  readonly logRoot: string;
  /** Inclusion proof, hex, bottom first; empty when not logged. */
  readonly proof: readonly string[];
}

/** VERDICT_INFO, recomputer -> operator. */
export interface VerdictInfo {
  readonly tag: string;
  readonly verdict: VerdictSummary | null;
  readonly evidence: readonly string[];
}
