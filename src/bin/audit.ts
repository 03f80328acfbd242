/** `weir audit`: checks an evidence bundle offline, with the public keys of the two parties alone. spec/evidence.md. */
import { parseVkey, type NoteKey } from "../format/note.ts";
import { InvalidError, UnavailableError } from "../base/assert.ts";
import { auditBundle, type AuditReport } from "../log/audit.ts";
import { readBundle, readParties } from "./audit/read.ts";
import { recompute, type Recomputed, type RecomputeOptions } from "./audit/recompute.ts";
import { need } from "./commands/trust-files.ts";
import { parseArguments, UsageError, type Arguments } from "./site/arguments.ts";
import { plain, styleFor } from "./site/screen.ts";

const help = `Usage: weir audit BUNDLE --party-a FILE --party-b FILE [OPTIONS]

Checks an evidence bundle (weir evidence export) on this machine, with nothing from outside but the public keys of the
two parties. Names the first thing that is wrong, and says what could not be checked.

  --party-a FILE     party A's key file, from party A itself (weir evidence keys)
  --party-b FILE     party B's
  --log VKEY         the key of the gateway's log, if you have it from elsewhere
  --epsilon-min E    the smallest share of recomputed pairs that the parties agreed to (default 0: not checked)
  --model FILE       recompute the disclosed pairs on this GGUF file; with --profile
  --profile FILE     the calibration profile that the whitelist names
  --threads N        threads of the recomputation (default 1)
  --strict           unsound too if anything could not be checked
  --json             machine-readable output
  --help             this text

Exit codes: 0 sound, 1 unsound, 2 wrong usage.
`;

const text = { type: "string" } as const;
const flag = { type: "boolean" } as const;
const options = {
  ...{ "party-a": text, "party-b": text, log: text, "epsilon-min": text },
  ...{ model: text, profile: text, threads: text, strict: flag, json: flag },
  help: { type: "boolean", short: "h" },
} as const;

function logKey(args: Arguments): NoteKey | null {
  const vkey = args.text("log");
  try {
    return vkey === undefined ? null : parseVkey(vkey);
  } catch (error) {
    if (!(error instanceof InvalidError)) throw error;
    throw new UsageError(`--log: ${error.message}`);
  }
}

type Told = Pick<AuditReport, "failure" | "held" | "unchecked" | "figures">;

/** Progress on a terminal's standard error, one line that is written over. */
function progressOf(what: string): (done: number, of: number) => void {
  return (done, of) => {
    if (process.stderr.isTTY && of > 0) process.stderr.write(`\r${what}: ${done} of ${of}\x1b[K\r`);
  };
}

/** A model that cannot be used is wrong usage: it says nothing about the bundle. */
async function recomputed(report: AuditReport, how: RecomputeOptions): Promise<Recomputed> {
  try {
    return await recompute(report, how);
  } catch (error) {
    if (!(error instanceof InvalidError) && !(error instanceof UnavailableError)) throw error;
    throw new UsageError(`the disclosed pairs cannot be recomputed: ${error.message}`);
  }
}

async function replayed(report: AuditReport, args: Arguments): Promise<Told> {
  const [model, profile] = [args.text("model"), args.text("profile")];
  if (report.failure !== null || report.pairs.length === 0) return report;
  if (model === undefined || profile === undefined) {
    const what = `recomputing ${report.pairs.length} disclosed pairs: no model was given (--model, --profile)`;
    return { ...report, unchecked: [...report.unchecked, what] };
  }
  const threads = args.number("threads", 1, 256) ?? 1;
  const found = await recomputed(report, {
    model,
    profile,
    threads,
    progress: progressOf("recomputed"),
  });
  return {
    failure: found.failure,
    held: [...report.held, ...found.held],
    unchecked: [...report.unchecked, ...found.unchecked],
    figures: report.figures,
  };
}

function endOf({ failure, figures }: Told, sound: boolean): string {
  const style = styleFor(process.stdout);
  if (failure !== null) {
    const where = `  where  ${plain(failure.where)}\n  why    ${plain(failure.why)}`;
    return `${style.red("UNSOUND")}  ${failure.code}\n${where}`;
  }
  if (!sound)
    return `${style.red("NOT PROVED")}  nothing is wrong, but not everything could be checked (--strict)`;
  const { entries, gateway, fails } = figures;
  return `${style.green("SOUND")}  ${entries} entries of gateway ${gateway}; ${fails} pairs failed recomputation`;
}

function show(told: Told, sound: boolean): void {
  const { held, unchecked } = told;
  const style = styleFor(process.stdout);
  const lines = held.map((line) => `  ${style.green("holds")}        ${plain(line)}`);
  const not = unchecked.map((line) => `  ${style.yellow("not checked")}  ${plain(line)}`);
  process.stdout.write(`${[...lines, ...not, endOf(told, sound)].join("\n")}\n`);
}

/** Runs the audit. Exit codes: 0 sound, 1 unsound, 2 usage (thrown). */
export async function runAudit(argv: string[]): Promise<number> {
  const args = parseArguments(argv, options, 1);
  if (args.flag("help")) {
    process.stdout.write(help);
    return 0;
  }
  const [folder] = args.words;
  if (folder === undefined) throw new UsageError("name the folder of a bundle");
  if ((args.text("model") === undefined) !== (args.text("profile") === undefined)) {
    throw new UsageError("--model and --profile are given together");
  }
  // Nothing is written: a stop needs no tidying.
  for (const signal of ["SIGINT", "SIGTERM"] as const)
    process.once(signal, () => process.exit(130));
  const parties = readParties(need(args, "party-a"), need(args, "party-b"));
  const epsilonMin = args.number("epsilon-min", 0, 1) ?? 0;
  const files = readBundle(folder);
  const report = auditBundle(files, parties, {
    ...{ log: logKey(args), epsilonMin, progress: progressOf("entries") },
  });
  const told = await replayed(report, args);
  const { failure, held, unchecked, figures } = told;
  const sound = failure === null && !(args.flag("strict") && unchecked.length > 0);
  if (args.flag("json")) {
    process.stdout.write(
      `${JSON.stringify({ sound, failure, held, unchecked, figures }, null, 2)}\n`,
    );
  } else show(told, sound);
  return sound ? 0 : 1;
}
