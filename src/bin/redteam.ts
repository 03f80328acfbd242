/** `weir redteam`: attacks against a live site or in the lab, and the report of what they came to. */
import { mkdirSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import { attacks } from "../adversary/attacks/index.ts";
import { knobsOf } from "../adversary/attacks/index.ts";
import { Journal } from "./redteam/journal.ts";
import { Lab, type LabTrialOptions } from "./redteam/lab.ts";
import { listJson, listText } from "./redteam/list.ts";
import { Live } from "./redteam/live.ts";
import { readModel, type RedteamModel } from "./redteam/model.ts";
import { help, readPlan, type Plan } from "./redteam/plan.ts";
import { progressOn, type Progress } from "./redteam/progress.ts";
import { reportHtml } from "./redteam/report.ts";
import { reportJson } from "./redteam/report-json.ts";
import { asExpected, type RunHead, type Skipped, type Trial } from "./redteam/trial.ts";
import { weirVersion } from "./redteam/version.ts";
import { writeAtomic } from "./site/files.ts";
import { stopSignals, type StopSignals } from "./site/signals.ts";

/** Runs one trial; null when it was stopped. */
type RunTrial = (options: LabTrialOptions) => Promise<Trial | Skipped | null>;

interface Range {
  readonly run: RunTrial;
  close(): Promise<void>;
}

function rangeOf(plan: Plan, model: RedteamModel, progress: Progress): Range {
  if (plan.mode === "lab") {
    const lab = new Lab(model);
    return { run: (options) => lab.trial(options), close: () => lab.close() };
  }
  const live = new Live(model);
  const tell = (text: string): void => {
    progress.note(text);
  };
  const { sandbox } = plan;
  return {
    run: (options) => live.trial({ ...options, sandbox, tell }),
    close: () => live.close(),
  };
}

function headOf(plan: Plan, model: RedteamModel): RunHead {
  const { profile, entry, policyDigest } = model;
  const [cpu] = cpus();
  return {
    ...{ schema: 1, kind: "run", command: plan.command, weir: weirVersion(), atMs: Date.now() },
    ...{ model: entry.modelId, modelRoot: entry.weights.root.toString("hex") },
    engine: entry.engine,
    profile: profile.digest.toString("hex"),
    profileBasis: profile.profile.basis,
    policy: policyDigest,
    machine: `${process.platform} ${process.arch}, ${cpus().length} x ${cpu?.model.trim() ?? "CPU"}`,
  };
}

async function runTrials(
  plan: Plan,
  model: RedteamModel,
  journal: Journal,
  stop: StopSignals,
): Promise<void> {
  const progress = progressOn(process.stderr, () => performance.now());
  const due = plan.seeds.flatMap((seed) =>
    plan.attacks
      .filter(({ id: attack }) => !journal.has({ attack, mode: plan.mode, seed }))
      .map((attack) => ({ attack, seed })),
  );
  if (due.length === 0) return;
  journal.add(headOf(plan, model));
  const range = rangeOf(plan, model, progress);
  try {
    for (const [i, { attack, seed }] of due.entries()) {
      if (stop.wasAsked) break;
      progress.begin(i + 1, due.length, `${attack.id}, seed ${seed}`);
      const line = await range.run({
        ...{ attack, knobs: knobsOf(attack, plan.knobs), seed, epsilon: plan.epsilon },
        ...{ budget: plan.tokens, traffic: plan.traffic },
        shaping: { tickMs: plan.tickMs, wholeReplies: plan.wholeReplies },
        onProgress: (tokens, logE) => {
          progress.step(tokens, plan.tokens, logE);
        },
        stopped: () => stop.wasAsked,
      });
      if (line === null) continue;
      journal.add(line);
      progress.end(line);
    }
  } finally {
    await range.close();
  }
}

function write(plan: Plan, journal: Journal): void {
  const report = reportJson(attacks, journal);
  const json = `${JSON.stringify(report, null, 2)}\n`;
  writeAtomic(join(plan.out, "report.json"), json, 0o644);
  writeAtomic(join(plan.out, "report.html"), reportHtml(report, journal.trials), 0o644);
  if (plan.json) process.stdout.write(json);
  else process.stdout.write(`${report.summary}\n\n${join(plan.out, "report.html")}\n`);
}

/** `weir redteam`. 0: completed; 3: with --expect, an outcome was not as expected; 130: interrupted. */
export async function runRedteam(argv: string[]): Promise<number> {
  const plan = readPlan(argv);
  if (plan === null) {
    process.stdout.write(help);
    return 0;
  }
  if (plan.list) {
    const text = plan.json
      ? `${JSON.stringify(listJson(plan.attacks), null, 2)}\n`
      : listText(plan.attacks);
    process.stdout.write(text);
    return 0;
  }
  const model = await readModel(plan);
  mkdirSync(plan.out, { recursive: true });
  const journal = plan.resume ? Journal.resume(plan.trials) : Journal.create(plan.trials);
  const stop = stopSignals();
  stop.onAgain(() => process.exit(130));
  try {
    await runTrials(plan, model, journal, stop);
  } finally {
    stop.close();
    write(plan, journal);
  }
  if (stop.wasAsked) return 130;
  const mine = journal.trials.filter(({ mode }) => mode === plan.mode);
  return plan.expect && !mine.every(asExpected) ? 3 : 0;
}
