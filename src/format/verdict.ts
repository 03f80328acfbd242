/** Verdicts and the findings under them, spec/verdict.md. Data for policy; never thrown. */

/** Hard findings: impossible for an honest server under any admissible noise. */
export const hardFindings = [
  /** An id that the reference gives no place in the kept support. */
  "token.outside-support",
  /** One token's margin is beyond anything that calibration ever saw. */
  "token.margin",
  /** The text is not what the ids spell. */
  "text.mismatch",
  /** The prompt ids are not what template and tokenizer give. */
  "prompt.mismatch",
  /** The finish reason does not follow from ids, text and limits. */
  "finish.mismatch",
  /** The seed is not HMAC(epoch key, tag). */
  "seed.law",
  /** Input or output do not hash to the leaf. */
  "leaf.mismatch",
  /** The request breaks the whitelist entry's policy, or cannot be parsed. */
  "request.invalid",
] as const;

/** Statistical findings, spec/verdict.md section 4. */
export const softFindings = [
  /** One pair's mean margin is beyond what calibration expects of a pair: no verdict by itself. */
  "margin.mean",
  /** What came together against the server stands beyond the policy's shutdown: a FAIL. */
  "evidence.threshold",
] as const;

export type FindingId = (typeof hardFindings)[number] | (typeof softFindings)[number];

/** Whether a finding alone makes a FAIL. */
export function isFatal(id: FindingId): boolean {
  return id !== "margin.mean";
}

export interface Finding {
  readonly id: FindingId;
  /** In words, for people. */
  readonly evidence: string;
}

export interface Scores {
  readonly tokens: number;
  /** Tokens that differ from the reference's own draw. */
  readonly mismatches: number;
  /** Mean of margins clipped at the entry's clip; nats. */
  readonly meanMargin: number;
  readonly maxMargin: number;
}

export type VerdictKind = "pass" | "fail" | "unable";

export interface Verdict {
  readonly kind: VerdictKind;
  readonly findings: readonly Finding[];
  /** Absent when no replay took place (a hard failure before it, or unable). */
  readonly scores: Scores | null;
  /** For `unable`: why, in words. */
  readonly reason: string;
}
