/** report.json, spec/redteam.md. */
import type { Attack } from "../../adversary/attack.ts";
import type { Journal } from "./journal.ts";
import { inWords, summarise, type AttackSummary } from "./summary.ts";
import type { RunHead, Skipped } from "./trial.ts";

export interface Report {
  readonly schema: 1;
  /** In words; what succeeded comes first. */
  readonly summary: string;
  readonly attacks: readonly AttackSummary[];
  readonly skipped: readonly Skipped[];
  /** One for each time the command ran on this file of trials. */
  readonly runs: readonly RunHead[];
}

export function reportJson(
  attacks: readonly Attack[],
  journal: Pick<Journal, "trials" | "skipped" | "heads">,
): Report {
  const { trials, skipped, heads } = journal;
  const summaries = summarise(attacks, trials);
  return {
    schema: 1,
    summary: inWords(summaries, skipped),
    attacks: summaries,
    skipped,
    runs: heads,
  };
}
