/** Step 6: findings to a verdict. Pure; the rule is spec/verdict.md section 4. */
import type { Finding, Verdict } from "../format/verdict.ts";
import type { TokenScore } from "../verification/margin.ts";
import { marginFindings, pairScores } from "../verification/threshold.ts";
import type { OpenedPair } from "./checks.ts";

/** A pair that failed before any replay. `findings` is not empty. */
export function judgeUnreplayed(findings: readonly Finding[]): Verdict {
  return { kind: "fail", findings, scores: null, reason: "" };
}

/** A replayed pair, by its token scores. */
export function judgeReplayed(pair: OpenedPair, tokens: readonly TokenScore[]): Verdict {
  const { calibration } = pair.entry;
  const findings = marginFindings(tokens, pair.output.tokenIds, calibration);
  const scores = pairScores(tokens, calibration.clip);
  return { kind: findings.length === 0 ? "pass" : "fail", findings, scores, reason: "" };
}

/** What an alarm and a shutdown order say about a FAIL: at most 400 characters, no users' text. */
export function failReason(tagText: string, findings: readonly Finding[]): string {
  const words = findings.map((finding) => `${finding.id}: ${finding.evidence}`).join("; ");
  return `pair ${tagText} failed: ${words}`.slice(0, 400).toWellFormed();
}
