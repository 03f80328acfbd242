/**
 * The site as one document, spec/status.md: what `/api/status` and `/api/events` carry and what the
 * page draws. It repeats what roles say of themselves; it is a view, not evidence. No imports, so
 * that the page's own code type-checks against it without Node's types.
 */

/** Whether a role answers now. Numbers of a role that is not `live` are its last known ones. */
export interface Reach {
  readonly state: "connecting" | "live" | "unreachable";
  /** Since when, milliseconds of the Unix epoch, by this observer's clock. */
  readonly sinceMs: number;
  /** For `unreachable`: why, in words; otherwise "". */
  readonly why: string;
}

type ServerMode = "OFF" | "UPLOAD" | "SERVING" | "KILLED" | "HALTED";
export type VerdictWord = "pass" | "fail" | "unable";

export interface Checks {
  readonly pass: number;
  readonly fail: number;
  readonly unable: number;
}

interface Fill {
  readonly used: number;
  readonly capacity: number;
}

/** What a gateway last said about itself and its server. */
export interface ServerFacts {
  readonly modelId: string;
  readonly mode: ServerMode;
  /** The engine can take requests; false for a moment after upload, and always outside SERVING. */
  readonly ready: boolean;
  readonly draining: boolean;
  /** The oldest halt, and how many stand. */
  readonly halted: {
    readonly reason: string;
    readonly sinceMs: number;
    readonly standing: number;
  } | null;
  readonly lastKillReason: string;
  readonly epoch: number;
  readonly boots: number;
  readonly upload: { readonly bitsForwarded: number; readonly bitsTotal: number };
  readonly inflight: number;
  readonly tokens: number;
  readonly pairs: { readonly logged: number; readonly sampled: number; readonly cutOff: number };
  readonly log: { readonly size: number; readonly root: string };
  /** How much of the log each party's witness has cosigned, and what not all have; null: nobody witnesses it. */
  readonly witnessed: {
    readonly signed: number;
    readonly cosigned: number;
    readonly backlog: Fill;
    readonly broken: string;
    readonly parties: readonly { readonly party: string; readonly size: number }[];
  } | null;
  readonly outbox: Fill;
  readonly ring: Fill & { readonly pairsForgotten: number };
  readonly recomputer: { readonly connected: boolean; readonly silentMs: number };
  /** Share of pairs kept now and by the gateway's own settings; null when it does not say. */
  readonly sampling: {
    readonly epsilon: number;
    readonly own: number;
    /** A signed order raised it. */
    readonly ordered: boolean;
  } | null;
  /** Every reply waits for its verdict; null: it does not. */
  readonly quarantine: {
    readonly reason: string;
    readonly sinceMs: number;
    readonly held: number;
    readonly passed: number;
    readonly withheld: number;
  } | null;
  /** The last recheck of the ring; null: none. */
  readonly recheck: {
    readonly sinceMs: number;
    readonly done: boolean;
    readonly sent: number;
    readonly lost: number;
    readonly of: number | null;
  } | null;
  /** The round of the joint draw; null: the gateway draws its coins alone. */
  readonly draw: {
    readonly round: number;
    readonly epsilon: number;
    readonly waitingFor: readonly string[];
    readonly accepting: boolean;
  } | null;
  readonly isolation: {
    readonly kind: "bubblewrap" | "unshare" | "remote" | "off";
    readonly detail: string;
  };
}

/** One gateway with the server behind it. */
export interface ServerView {
  readonly name: string;
  readonly reach: Reach;
  /** Null until the gateway has answered once. */
  readonly facts: ServerFacts | null;
  /** Over the sliding window; null when there is none to tell: not live, not serving, or just begun. */
  readonly tokensPerSecond: number | null;
  /** One rate a second, oldest first, at most 60; null where none was known. */
  readonly rates: readonly (number | null)[];
  readonly checks: Checks;
  /** False: `checks` counts only verdicts seen since this observer started. */
  readonly checksComplete: boolean;
  /** What recomputers made of its draw, all together; null where none watches it. */
  readonly drawAudit: {
    readonly rounds: number;
    readonly kept: number;
    readonly waiting: number;
    readonly omitted: number;
    readonly excused: number;
    readonly lies: readonly string[];
  } | null;
  /** Newest last, at most 24. */
  readonly lastVerdicts: readonly { readonly tag: string; readonly kind: VerdictWord }[];
}

export interface RouterView {
  readonly name: string;
  readonly reach: Reach;
  readonly facts: {
    readonly requests: number;
    readonly inflight: number;
    readonly connections: number;
    readonly errors: number;
  } | null;
}

export interface RecomputerView {
  readonly name: string;
  readonly reach: Reach;
  readonly facts: {
    readonly engine: "loading" | "ready" | "down";
    readonly queued: number;
    readonly tokens: number;
    readonly msPerToken: number;
    readonly judged: Checks;
  } | null;
}

export interface DepotView {
  readonly name: string;
  readonly reach: Reach;
  readonly facts: {
    readonly models: readonly { readonly modelId: string; readonly sizeBytes: number }[];
    readonly uploads: number;
    readonly bytesSent: number;
  } | null;
}

export interface AlarmView {
  readonly id: string;
  /** Who raised it: `recomputer/r1`, or `page` for what this observer itself noticed. */
  readonly source: string;
  readonly atMs: number;
  readonly severity: "warning" | "critical";
  /** Dotted and stable: `verdict.fail`. */
  readonly kind: string;
  /** What the kind means, in words a person understands. */
  readonly title: string;
  readonly subject: string;
  readonly text: string;
}

export interface VerdictRow {
  readonly tag: string;
  readonly server: string;
  readonly recomputer: string;
  readonly atMs: number;
  readonly kind: VerdictWord;
  readonly findings: readonly string[];
  readonly scores: {
    readonly tokens: number;
    readonly mismatches: number;
    readonly meanMargin: number;
    readonly maxMargin: number;
  } | null;
  /** The mean margin beyond what calibration expects of such a pair, nats; null when not known. */
  readonly limit: number | null;
}

export type StepWord = "raise-epsilon" | "recheck-ring" | "quarantine" | "shutdown";

/** What stood at one time. Logs are natural. */
export interface EvidencePoint {
  readonly atMs: number;
  readonly pairs: number;
  readonly logE: number;
  readonly logChange: number;
}

/** A step of the parties' ladder and the evidence from which it is taken, nats. */
export interface RungView {
  readonly step: StepWord;
  readonly logE: number;
  /** raise-epsilon only: the share of pairs to keep. */
  readonly epsilon: number | null;
}

/** Bounds on what release times, failures and ends of one server's replies carried. Bits. */
export interface CarriersView {
  /** Counted since the gateway's start. */
  readonly seconds: number;
  readonly tokens: number;
  readonly release: number;
  readonly failures: number;
  readonly ends: number;
  readonly bitsPerToken: number;
  /** Over the last minute; null before enough of it was counted. */
  readonly bitsPerSecond: number | null;
  /** null when the recomputer does not say. */
  readonly limitBitsPerSecond: number | null;
}

/** The budget of false shutdowns that the parties share out. */
export interface FleetView {
  readonly servers: number;
  readonly alpha: number;
  readonly years: number;
  readonly beginnings: number;
  /** Mean time between false shutdowns in the whole fleet, at least; years. */
  readonly yearsBetween: number;
}

/** What has come together against one server, as one recomputer sees it. */
export interface EvidenceView {
  readonly server: string;
  readonly recomputer: string;
  readonly pairs: number;
  readonly tokens: number;
  /** Log e-value since the evidence began, and of a change at some time since. */
  readonly logE: number;
  readonly logEThreshold: number;
  readonly logChange: number;
  readonly logChangeThreshold: number;
  /** Highest step that was ordered and not undone. */
  readonly step: StepWord | "none";
  /** All that were, mildest first. */
  readonly steps: readonly StepWord[];
  /** Rising; empty when the recomputer does not say. */
  readonly ladder: readonly RungView[];
  /** Each alone, strongest first. */
  readonly detectors: readonly {
    readonly id: string;
    readonly title: string;
    readonly logE: number;
    readonly logChange: number;
  }[];
  readonly capacity: {
    readonly tokens: number;
    readonly bitsPerToken: number;
    readonly upperBitsPerToken: number;
    readonly upperBitsPerSecond: number;
    readonly limitBitsPerToken: number;
    /** null when the recomputer does not say. */
    readonly limitBitsPerSecond: number | null;
    /** The limits hold from this many audited tokens on; null when the recomputer does not say. */
    readonly minTokens: number | null;
  };
  /** What left beside the tokens may have carried at most; null when the recomputer does not say. */
  readonly carriers: CarriersView | null;
  /** The fleet whose false alarms the threshold bounds; null when the recomputer does not say. */
  readonly fleet: FleetView | null;
  /** Since this observer started, oldest first, thinned to at most 240. */
  readonly history: readonly EvidencePoint[];
}

/** One judged pair in the chart. */
interface MarginPoint {
  readonly atMs: number;
  readonly nats: number;
  readonly kind: VerdictWord;
}

export interface SiteStatus {
  readonly schema: 1;
  /** When the document was joined. */
  readonly atMs: number;
  readonly headline: {
    readonly text: string;
    readonly level: "good" | "busy" | "attention" | "alarm";
  };
  /** Where clients send requests; "" when this observer was not told. */
  readonly endpoint: string;
  /** Servers that run without a sandbox. Not empty: every view must say so. */
  readonly isolationOff: readonly string[];
  /** Newest first, at most 200. */
  readonly alarms: readonly AlarmView[];
  readonly servers: readonly ServerView[];
  readonly routers: readonly RouterView[];
  readonly recomputers: readonly RecomputerView[];
  readonly depots: readonly DepotView[];
  /** In the order of `servers`; none for a server without audited pairs. */
  readonly evidence: readonly EvidenceView[];
  /** Newest first, at most 60. */
  readonly verdicts: readonly VerdictRow[];
  readonly margins: {
    /** What is expected at most of an output of `tokens` tokens (the median of what is shown); null: not known. */
    readonly limit: { readonly nats: number; readonly tokens: number } | null;
    /** Points oldest first, at most 200 a server. */
    readonly series: readonly {
      readonly server: string;
      readonly points: readonly MarginPoint[];
    }[];
  };
  readonly simulated: readonly { readonly what: string; readonly where: readonly string[] }[];
}
