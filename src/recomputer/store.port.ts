/** What a recomputer keeps for ever. adapter/sqlite/verdicts implements it. */
import type { LadderStep } from "../format/policy.ts";
import type { EpochNotice } from "../format/proof-request.ts";
import type { VerdictInfo, VerdictSummary } from "../format/status.ts";
import type { Tag } from "../format/tag.ts";
import type { Finding, Verdict } from "../format/verdict.ts";

/** One judged pair with its evidence. `kind` of the verdict is pass or fail, never unable. */
export interface JudgedPair {
  readonly gateway: string;
  readonly tag: Tag;
  /** SHA-256 of the proof request as it came. */
  readonly requestDigest: Buffer;
  readonly modelId: string;
  /** Digest of the whitelist entry, hex; "" when it is not known. */
  readonly entry: string;
  readonly leafIndex: bigint;
  /** When the gateway completed the pair (its clock) and when it was judged (ours). */
  readonly completedMs: number;
  readonly judgedMs: number;
  readonly verdict: Verdict;
  /** Margin of each replayed token; Infinity outside the support. Most are 0. */
  readonly margins: Float64Array;
  /** Replay time per token; 0 without a replay. */
  readonly msPerToken: number;
  /** The encoded proof request: kept for a FAIL, so that anybody can replay it; null for a PASS. */
  readonly request: Buffer | null;
}

/**
 * What has come together against the server behind one gateway, under one whitelist entry. A life of
 * the evidence lasts until a signed release of a halt (spec/policy.md).
 */
export interface StoredEvidence {
  readonly gateway: string;
  /** Digest of the whitelist entry, hex. */
  readonly entry: string;
  readonly modelId: string;
  /** Counts from 1. */
  readonly life: number;
  /** Pairs that the gateway completed by then belong to an earlier life; 0 in the first. */
  readonly sinceMs: number;
  /** Pairs and tokens that count in this life. */
  readonly pairs: number;
  readonly tokens: number;
  /** Steps of the ladder that were ordered in this life, and those of them that were released. */
  readonly taken: readonly LadderStep[];
  readonly undone: readonly LadderStep[];
  /** The statistics' own state, as recomputer/evidence wrote it. */
  readonly state: string;
}

/** A step of the ladder on which no order has followed yet. */
export interface UnactedStep {
  /** Unique: this step of this life. */
  readonly cause: string;
  readonly gateway: string;
  readonly step: Exclude<LadderStep, "shutdown">;
  readonly epsilon: number | null;
  readonly reason: string;
}

/** What one pair changed. */
export interface EvidenceChange {
  readonly evidence: StoredEvidence;
  /** Whether the pair counts in this life; it does not when it failed on its own. */
  readonly counts: boolean;
  /** Steps that became due with it. */
  readonly steps: readonly UnactedStep[];
}

/** A release that a gateway obeyed and that was found good. */
export interface NotedRelease {
  readonly digest: string;
  readonly gateway: string;
  /** Digest of the order that it ended. */
  readonly ended: string;
  readonly signer: string;
  readonly reason: string;
  readonly atMs: number;
  /** As signed, so that anybody can check it. */
  readonly sealed: Buffer;
}

export interface KnownVerdict {
  readonly kind: "pass" | "fail";
  readonly requestDigest: Buffer;
}

/** A FAIL on which no alarm and no order has followed yet. */
export interface UnactedFail {
  readonly gateway: string;
  readonly tag: Tag;
  readonly completedMs: number;
  readonly findings: readonly Finding[];
}

export interface VerdictCounts {
  readonly pass: number;
  readonly fail: number;
  readonly tokens: number;
}

/** Every write is durable when it returns. One writer. */
export interface VerdictStore {
  /** Keeps an epoch key. `conflict`: another key is known for this epoch, and stays. */
  putEpoch(notice: EpochNotice): "new" | "known" | "conflict";
  epochKey(gateway: string, epoch: number): Buffer | null;
  /** Gateways that ever announced an epoch. */
  gateways(): string[];
  find(gateway: string, tag: Tag): KnownVerdict | null;
  /** Verdict, evidence and due steps in one transaction: no pair counts twice, and none is lost. */
  put(pair: JudgedPair, change: EvidenceChange | null): void;
  /** All evidence as it stands. */
  evidence(): StoredEvidence[];
  /** Steps of which the consequences are not yet durable, oldest first. */
  unactedSteps(): UnactedStep[];
  stepActed(cause: string): void;
  /** Notes a release, with the evidence as it stands after it, in one transaction. */
  putRelease(release: NotedRelease, after: readonly StoredEvidence[]): void;
  /** FAILs of which the consequences are not yet durable, oldest first. */
  unacted(): UnactedFail[];
  acted(gateway: string, tag: Tag): void;
  counts(): VerdictCounts;
  /** The same, split by gateway. */
  countsByGateway(): { readonly gateway: string; readonly pass: number; readonly fail: number }[];
  /** The newest `max` verdicts, newest last. */
  recent(max: number): VerdictSummary[];
  info(gateway: string, tag: Tag): VerdictInfo;
  close(): void;
}
