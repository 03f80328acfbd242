/** Step 6: findings of one pair to a verdict. Pure; the rule is spec/verdict.md section 4. */
import type { MarginLimits } from "../format/profile.ts";
import { isFatal, type Finding, type Verdict } from "../format/verdict.ts";
import type { TokenScore } from "../verification/facts.ts";
import { marginFindings, pairScores } from "../verification/threshold.ts";
import type { OpenedPair } from "./checks.ts";

/** A pair that failed before any replay. `findings` is not empty. */
export function judgeUnreplayed(findings: readonly Finding[]): Verdict {
  return { kind: "fail", findings, scores: null, reason: "" };
}

/**
 * A replayed pair, by its token scores and the numbers of its entry's profile. A soft finding is
 * written down, and fails nothing: it is one pair's, and the ladder looks at all.
 */
export function judgeReplayed(
  pair: OpenedPair,
  tokens: readonly TokenScore[],
  profile: MarginLimits,
): Verdict {
  const findings = marginFindings(tokens, pair.output.tokenIds, profile);
  const scores = pairScores(tokens, profile.clip);
  const fatal = findings.some(({ id }) => isFatal(id));
  return { kind: fatal ? "fail" : "pass", findings, scores, reason: "" };
}

/** A pair with which the evidence against its server stands beyond the policy; `words` say how. */
export function judgeBeyond(verdict: Verdict, words: string): Verdict {
  const finding: Finding = { id: "evidence.threshold", evidence: words };
  return { ...verdict, kind: "fail", findings: [...verdict.findings, finding] };
}

/** What an alarm and a shutdown order say about a FAIL: at most 400 characters, no users' text. */
export function failReason(tagText: string, findings: readonly Finding[]): string {
  const words = findings.map((finding) => `${finding.id}: ${finding.evidence}`).join("; ");
  return `pair ${tagText} failed: ${words}`.slice(0, 400).toWellFormed();
}
