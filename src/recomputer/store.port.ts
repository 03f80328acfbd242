/** What a recomputer keeps for ever. adapter/sqlite/verdicts implements it. */
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
  put(pair: JudgedPair): void;
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
