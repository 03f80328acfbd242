/**
 * What each role tells observers: STATUS frames carry one of these as JSON, on change and once a
 * second. Read-only and free of users' text. The dashboard joins them (spec/status.md).
 */
import type { CarrierCounts } from "./carriers.ts";
import type { CapacityRule, FleetPolicy, LadderRung, LadderStep, ReleaseRule } from "./policy.ts";
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

/** What a recomputer found in one gateway's draw, spec/draw.md. */
export interface DrawAudit {
  readonly gateway: string;
  /** Log entries read, and the round that they end in. */
  readonly walked: number;
  readonly round: number;
  /** Rounds revealed and recomputed, with their pairs and those that their coins kept. */
  readonly rounds: number;
  readonly pairs: number;
  readonly kept: number;
  /** Kept pairs that are still awaited; that never came; that a crash may explain. */
  readonly waiting: number;
  readonly omitted: number;
  readonly excused: number;
  /** Rules of the draw that its log broke, in words; newest last. */
  readonly lies: readonly string[];
}

/** The joint draw of a gateway, spec/draw.md. */
export interface DrawStatus {
  /** `local`: no parties take part, the gateway draws alone. */
  readonly kind: "joint" | "local";
  /** The round in force; 0 before the first. Its age, its log entries so far, and its epsilon. */
  readonly round: number;
  readonly sinceMs: number;
  readonly entries: number;
  readonly epsilon: number;
  /** The round that is being agreed, 0 for none; how far it is, and who is waited for. */
  readonly coming: number;
  readonly step: string;
  readonly waitingFor: readonly string[];
  /** False: no pair is admitted because of the draw. */
  readonly accepting: boolean;
}

/** The transparency log of a gateway and the parties' witnesses, spec/checkpoint.md. */
export interface WitnessedStatus {
  readonly origin: string;
  /** C2SP verifier key of the log. */
  readonly vkey: string;
  /** Entries of the newest checkpoint that was signed, and of the newest that all parties cosigned. */
  readonly signed: number;
  readonly cosigned: number;
  /** Durable entries that not all parties have cosigned; above the bound no input is admitted. */
  readonly backlog: number;
  readonly backlogMax: number;
  /** Whether the publisher is there. */
  readonly connected: boolean;
  /** Why nothing is signed any more; "" while all is well. */
  readonly broken: string;
  /** `atMs`: of the newest cosignature, by the witness's clock. Empty: nobody witnesses this log. */
  readonly parties: readonly {
    readonly party: string;
    readonly size: number;
    readonly atMs: number;
  }[];
}

/** How a gateway booted (spec/boot.md); all digests and keys in hex. */
export interface BootStatus {
  /** RUNNING; BRICKING and BRICKED after tampering, with `why`. */
  readonly state: string;
  readonly why: string;
  /** file, puf or tpm, and the TPM's counter ("" without one): a witness who remembers it notices a rollback. */
  readonly uid: string;
  readonly counter: string;
  /** Digest of the ceremony's result; "" without one. */
  readonly ceremony: string;
  readonly measurement: string;
  readonly manifestVersion: number;
  /** The chain of format/boot-certificate.ts. */
  readonly identity: string;
  readonly subject: string;
  readonly certificate: string;
  readonly device: string;
  readonly log: string;
  readonly attestation: string;
}

export interface GatewayStatus {
  readonly role: "gateway";
  readonly name: string;
  readonly modelId: string;
  readonly mode: Mode;
  readonly ready: boolean;
  readonly draining: boolean;
  /** The oldest halt, and how many stand; absent: one. */
  readonly halted: {
    readonly digest: string;
    readonly reason: string;
    readonly sinceMs: number;
    readonly standing?: number;
  } | null;
  readonly epoch: number;
  readonly boots: number;
  readonly lastKillReason: string;
  readonly upload: { readonly bitsForwarded: number; readonly bitsTotal: number };
  /** Bytes that a server proves to have been filled with before each upload, 0: none; and how long that took, or null. */
  readonly erasure?: { readonly bytes: number; readonly seconds: number | null };
  readonly inflight: number;
  readonly pairs: { readonly logged: number; readonly sampled: number; readonly cutOff: number };
  readonly tokens: number;
  /** What left beside the tokens since the gateway's start; and how releases are shaped. */
  readonly carriers?: CarrierCounts & { readonly tickMs: number; readonly wholeReplies: boolean };
  readonly draw?: DrawStatus;
  /** Absent: the gateway was given no witnesses. */
  readonly witnessed?: WitnessedStatus;
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
    /** Pairs that there were to send; null: not counted yet. */
    readonly of: number | null;
  } | null;
  /** Absent where nothing measured the process. */
  readonly boot?: BootStatus;
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

/**
 * Upper bounds on what one gateway's server may have told beside its tokens, from its gateway's counts
 * (verification/release.ts): by when text left, which pairs failed, where replies ended. Bits.
 */
export interface GatewayCarriers {
  readonly gateway: string;
  /** Since the gateway's start: seconds counted, tokens of pairs that are over, and bits by carrier. */
  readonly seconds: number;
  readonly tokens: number;
  readonly release: number;
  readonly failures: number;
  readonly ends: number;
  /** All three, per token; 0 before the first. */
  readonly bitsPerToken: number;
  /** All three over the last minute or so; null before enough of it was counted. */
  readonly bitsPerSecond: number | null;
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
  readonly policy?: {
    readonly ladder: readonly LadderRung[];
    readonly capacity: CapacityRule;
    /** Absent from one that is too old to say; so are the fleet and `carriers`. */
    readonly release?: ReleaseRule;
    /** With the mean time between false shutdowns of the whole fleet, at least; years. */
    readonly fleet?: FleetPolicy & { readonly yearsBetween: number };
  };
  /** One for each gateway that has told its counts since the recomputer's start. */
  readonly carriers?: readonly GatewayCarriers[];
  /** One for each gateway whose draw is watched. */
  readonly draws?: readonly DrawAudit[];
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
  /** C2SP tlog-proof in the newest tree that all parties cosigned; null before that, or without witnesses. */
  readonly tlogProof?: string | null;
}

/** VERDICT_INFO, recomputer -> operator. */
export interface VerdictInfo {
  readonly tag: string;
  readonly verdict: VerdictSummary | null;
  readonly evidence: readonly string[];
}
