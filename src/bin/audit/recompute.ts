/**
 * Recomputes the disclosed pairs of a bundle on a model of the inspector's own, by the recomputer's checks, replay and
 * scores. The seed law alone is not checked: its key is no part of a bundle.
 */
import { readFileSync } from "node:fs";
import { systemClock } from "../../adapter/clock.ts";
import { describeModel } from "../../adapter/llama/describe.ts";
import { openReplayEngine } from "../../adapter/llama/replay.ts";
import type { RecordedVerdict } from "../../format/evidence.ts";
import { openProfile, profileMismatch, type ProfileFile } from "../../format/profile.ts";
import type { Verdict } from "../../format/verdict.ts";
import type { WhitelistEntry } from "../../format/whitelist.ts";
import type { AuditedPair } from "../../log/audit-claims.ts";
import type { AuditFailure, AuditReport } from "../../log/audit.ts";
import {
  checkAgainstModel,
  checkPolicy,
  unsupported,
  type OpenedPair,
} from "../../recomputer/checks.ts";
import type { ReplayEngine } from "../../recomputer/engine.port.ts";
import { judgeReplayed, judgeUnreplayed } from "../../recomputer/judge.ts";
import { replayPair } from "../../recomputer/replay.ts";
import { scorePair } from "../../recomputer/score.ts";
import { defaultTiming } from "../../recomputer/serve.ts";
import { UsageError } from "../site/arguments.ts";

export interface RecomputeOptions {
  readonly model: string;
  readonly profile: string;
  readonly threads: number;
  readonly progress: (done: number, of: number) => void;
}

export interface Recomputed {
  readonly failure: AuditFailure | null;
  readonly held: readonly string[];
  readonly unchecked: readonly string[];
}

/** Findings that stand on more than one pair, or on a key that is no part of a bundle. */
const beyondOnePair = new Set(["evidence.threshold", "seed.law"]);

async function judge(
  pair: AuditedPair,
  entry: WhitelistEntry,
  engine: ReplayEngine,
  file: ProfileFile,
): Promise<Verdict> {
  const { leaf, decoded, index } = pair;
  const opened: OpenedPair = {
    ...{ tag: leaf.tag, leafIndex: BigInt(index), rechecked: false, leaf, ...decoded, entry },
  };
  const wrong = checkPolicy(opened);
  const findings = wrong === null ? checkAgainstModel(opened, engine) : [wrong];
  if (findings.length > 0) return judgeUnreplayed(findings);
  const positions = await replayPair(opened, engine, systemClock, defaultTiming.replay);
  return judgeReplayed(opened, scorePair(opened, positions, file.profile.edge), file.profile);
}

/** What a verdict found here means beside the recorded one; null: they go together. */
export function disagreement(
  { where }: Pick<AuditedPair, "where">,
  found: Verdict,
  recorded: RecordedVerdict | undefined,
): AuditFailure | null {
  if (found.kind === "fail" && recorded?.kind !== "fail") {
    const words = found.findings.map(({ id, evidence }) => `${id}: ${evidence}`).join("; ");
    const said = recorded === undefined ? "nobody judged it" : "its recomputer passed it";
    return { code: "replay.fail", where, why: `recomputed here it fails, ${said}: ${words}` };
  }
  if (found.kind === "pass" && recorded?.kind === "fail") {
    if (recorded.findings.some((finding) => beyondOnePair.has(finding))) return null;
    const why = `recomputed here it passes; its recomputer found ${recorded.findings.join(", ")}`;
    return { code: "replay.pass", where, why };
  }
  return null;
}

/** Recomputes what is disclosed of one model. Throws InvalidError for a model or profile that is none, UnavailableError. */
export async function recompute(
  { pairs, verdicts }: Pick<AuditReport, "pairs" | "verdicts">,
  options: RecomputeOptions,
): Promise<Recomputed> {
  const file = openProfile(readFileSync(options.profile));
  const { root } = await describeModel(options.model);
  const entries = new Map<string, { entry: WhitelistEntry; pairs: AuditedPair[] }>();
  let elsewhere = 0;
  for (const pair of pairs) {
    const { entry } = pair;
    const fits =
      entry !== null && entry.weights.root.equals(root) && entry.profile.equals(file.digest);
    if (!fits) {
      elsewhere++;
      continue;
    }
    const key = entry.digest.toString("hex");
    const group = entries.get(key) ?? { entry, pairs: [] };
    group.pairs.push(pair);
    entries.set(key, group);
  }
  const unchecked =
    elsewhere === 0
      ? []
      : [`${elsewhere} disclosed pairs: of another model or profile than those given`];
  let done = 0;
  for (const { entry, pairs: own } of entries.values()) {
    const lacking = unsupported(entry) ?? profileMismatch(file.profile, entry);
    if (lacking !== null) throw new UsageError(`model ${entry.modelId}: ${lacking}`);
    const engine = await openReplayEngine(entry, options.model, { threads: options.threads });
    try {
      for (const pair of own) {
        const failure = disagreement(
          pair,
          await judge(pair, entry, engine, file),
          verdicts.get(pair.index),
        );
        if (failure !== null) return { failure, held: [], unchecked };
        options.progress(++done, pairs.length);
      }
    } finally {
      await engine.close();
    }
  }
  const held = [
    `recomputed: ${done} of ${pairs.length} disclosed pairs on the given model, as their verdicts say`,
  ];
  return {
    failure: null,
    held,
    unchecked: [...unchecked, "the seed law of the recomputed pairs: its key is in no bundle"],
  };
}
