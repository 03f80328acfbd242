/**
 * `weir score`: scores texts that some provider generated, given as token ids in the JSON of the public
 * DiFR code, against a model on this machine. With a calibration profile it judges them too.
 */
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { describeModel } from "../adapter/llama/describe.ts";
import { openReplayEngine } from "../adapter/llama/replay.ts";
import { InvalidError, UnavailableError } from "../base/assert.ts";
import { noiseLaw, type DrawParams } from "../format/noise.ts";
import { openProfile, profileMismatch, type Profile, type ProfileFile } from "../format/profile.ts";
import type { WhitelistEntry } from "../format/whitelist.ts";
import type { ReplayEngine } from "../recomputer/engine.port.ts";
import { candidatesBeyond } from "../recomputer/replay.ts";
import { assumedProfile } from "../verification/calibration.ts";
import { configNumber, parseDifr, type DifrFile } from "../verification/difr.ts";
import type { Detector, DetectorScale } from "../verification/detector.ts";
import { betting, detectorsFor } from "../verification/detectors/index.ts";
import { surprise } from "../verification/detectors/surprise.ts";
import { tokenFacts } from "../verification/facts.ts";
import type { NoiseLaw } from "../verification/law.ts";
import { greedy } from "../verification/laws/greedy.ts";
import { laws, lawOf, positionOf } from "../verification/laws/index.ts";
import { untilStopped, withErrors } from "./process.ts";
import { Judge, judgementText, type Judgement } from "./score/judge.ts";
import { scoreOutput, totalOf, type OutputScores, type TotalScores } from "./score/summary.ts";

const help = `weir score FILE.json --model FILE.gguf [options]

Replay texts on a model and score every token. FILE.json holds prompts and outputs as token ids, as
the public DiFR code writes them: {"config": {...}, "samples": [{"prompt_token_ids": [...], "outputs":
[{"token_ids": [...]}]}]}. Options that are absent are taken from its "config" (temperature, top_k,
top_p, seed). It scores; with --profile it judges too, as a recomputer does, and exits with 3 on FAIL.

  --model FILE       the model to replay on (GGUF)
  --law NAME         how the provider's engine draws (default ${noiseLaw})
                     ${laws.map(({ name }) => name).join(" ")}
  --seed N           the seed of every request. Without it, and above temperature 0, only what
                     needs no seed is computed: surprise and the rank of the logits
  --temperature T    0 to 100; has no default
  --top-k K          1 to 4096 (default 64)
  --top-p P          above 0, at most 1 (default 1)
  --profile FILE     calibration profile of the model (weir calibrate): findings, evidence, verdict
  --alpha A          with --profile: chance that an honest provider ever fails (default 0.01)
  --threads N        threads of the replay (default 1)
  --out FILE         write the scores, a JSON object
  --json             print them
  --help             print this and exit
`;

interface Settings {
  readonly file: string;
  readonly model: string;
  readonly law: string | undefined;
  readonly seed: string | undefined;
  readonly temperature: string | undefined;
  readonly topK: string | undefined;
  readonly topP: string | undefined;
  readonly profile: string | null;
  readonly alpha: number;
  readonly threads: number;
  readonly out: string | null;
  readonly json: boolean;
}

/** How the tokens are compared, once options and the file's own metadata are put together. */
interface Terms {
  readonly params: DrawParams;
  readonly law: NoiseLaw;
  readonly seed: bigint | null;
  readonly detectors: readonly Detector[];
}

interface Report {
  readonly model: string;
  readonly law: string | null;
  readonly seed: string | null;
  readonly params: DrawParams;
  readonly edge: number;
  readonly scale: DetectorScale;
  /** Null without a profile. */
  readonly judgement: (Judgement & { readonly profile: string }) | null;
  readonly outputs: readonly OutputScores[];
  readonly total: TotalScores;
}

const contextMax = 131_072;
/** Exit code of a FAIL: not that of an error. */
const failed = 3;

/** Scores a file. Returns the exit code; 130 when it was stopped. */
export function runScore(argv: string[]): Promise<number> {
  return withErrors("weir score", async () => {
    const settings = readSettings(argv);
    if (settings === null) {
      process.stdout.write(help);
      return 0;
    }
    const file = parseDifr(readFileSync(settings.file, "utf8"));
    const calibration = await calibrationOf(settings);
    const terms = termsOf(settings, file, calibration?.profile ?? null);
    const stopped = { asked: false };
    void untilStopped().then(() => (stopped.asked = true));
    const report = await score(settings, file, { ...terms, calibration }, stopped);
    if (report === null) return 130;
    if (settings.out !== null) writeWhole(settings.out, `${JSON.stringify(report, null, 2)}\n`);
    process.stdout.write(settings.json ? `${JSON.stringify(report)}\n` : textOf(report));
    return report.judgement?.verdict === "fail" ? failed : 0;
  });
}

function readSettings(argv: readonly string[]): Settings | null {
  const text = { type: "string" } as const;
  const flag = { type: "boolean", default: false } as const;
  let parsed;
  try {
    parsed = parseArgs({
      args: [...argv],
      allowPositionals: true,
      options: {
        ...{ model: text, law: text, seed: text, temperature: text, "top-k": text, "top-p": text },
        ...{
          profile: text,
          alpha: text,
          threads: { ...text, default: "1" },
          out: text,
          json: flag,
          help: flag,
        },
      },
    });
  } catch (error) {
    throw new InvalidError("options.flag", error instanceof Error ? error.message : String(error));
  }
  const { values, positionals } = parsed;
  if (values.help) return null;
  const [file, ...more] = positionals;
  if (file === undefined || more.length > 0) {
    throw new InvalidError("options.missing", "name one FILE.json");
  }
  if (values.model === undefined) throw new InvalidError("options.missing", "--model is missing");
  return {
    ...{ file, model: values.model, law: values.law, seed: values.seed },
    ...{ temperature: values.temperature, topK: values["top-k"], topP: values["top-p"] },
    profile: values.profile ?? null,
    alpha: alphaOf(values.alpha, values.profile !== undefined),
    threads: whole("--threads", numberOf("--threads", values.threads), 1, 256),
    ...{ out: values.out ?? null, json: values.json },
  };
}

function alphaOf(text: string | undefined, judged: boolean): number {
  if (text === undefined) return 0.01;
  if (!judged) throw new InvalidError("options.value", "--alpha goes with --profile");
  const value = numberOf("--alpha", text);
  if (value > 0 && value < 1) return value;
  throw new InvalidError("options.value", "--alpha must be above 0 and below 1");
}

/** Reads the profile that was named. Throws InvalidError when it does not speak for the model's weights. */
async function calibrationOf(settings: Settings): Promise<ProfileFile | null> {
  if (settings.profile === null) return null;
  const found = openProfile(readFileSync(settings.profile));
  const { root } = await describeModel(settings.model);
  const { noiseLaw: law } = found.profile;
  const mismatch = profileMismatch(found.profile, { weights: { root }, noiseLaw: law });
  if (mismatch === null) return found;
  throw new InvalidError("profile.other", `${settings.profile}: ${mismatch}`);
}

function numberOf(flag: string, text: string): number {
  const value = Number(text);
  if (text.trim() !== "" && Number.isFinite(value)) return value;
  throw new InvalidError("options.value", `${flag} must be a number, not "${text}"`);
}

function whole(name: string, value: number, min: number, max: number): number {
  if (Number.isInteger(value) && value >= min && value <= max) return value;
  throw new InvalidError("options.value", `${name} must be a whole number from ${min} to ${max}`);
}

function seedOf(settings: Settings, file: DifrFile): bigint | null {
  const text = settings.seed ?? configNumber(file.config, "seed")?.toString();
  if (text === undefined) return null;
  if (/^\d{1,20}$/.test(text) && BigInt(text) < 1n << 64n) return BigInt(text);
  throw new InvalidError("options.value", "the seed must be a whole number from 0 to 2^64 - 1");
}

/** The law that was named; null: none was. */
function askedLaw({ law }: Settings, profile: Profile | null): NoiseLaw | null {
  if (law === undefined) return null;
  const asked = lawOf(law);
  if (profile === null || asked.name === profile.noiseLaw) return asked;
  const message = `the profile is for the law ${profile.noiseLaw}, not ${asked.name}`;
  throw new InvalidError("profile.other", message);
}

/** Options first, then the file's metadata, then defaults. */
function termsOf(settings: Settings, file: DifrFile, profile: Profile | null): Terms {
  const choose = (flag: string, text: string | undefined, key: string): number | null =>
    text === undefined ? configNumber(file.config, key) : numberOf(flag, text);
  const temperature = choose("--temperature", settings.temperature, "temperature");
  if (temperature === null) {
    throw new InvalidError("options.missing", "the file states no temperature: give --temperature");
  }
  const topP = choose("--top-p", settings.topP, "top_p") ?? 1;
  if (temperature < 0 || temperature > 100 || topP <= 0 || topP > 1) {
    const message = "the temperature must be from 0 to 100, top-p above 0 and at most 1";
    throw new InvalidError("options.value", message);
  }
  const topK = whole("top-k", choose("--top-k", settings.topK, "top_k") ?? 64, 1, 4096);
  const params = { temperature, topK, topP };
  const asked = askedLaw(settings, profile);
  if (temperature === 0 || asked === greedy) {
    const plain = { ...params, temperature: 0 };
    return { params: plain, law: greedy, seed: null, detectors: detectorsFor(greedy) };
  }
  const seed = seedOf(settings, file);
  if (seed !== null) {
    const law = asked ?? lawOf(profile?.noiseLaw ?? noiseLaw);
    return { params, law, seed, detectors: detectorsFor(law) };
  }
  if (asked !== null) {
    throw new InvalidError("options.missing", `the law ${asked.name} needs --seed`);
  }
  // Whoever does not know the noise can still weigh the text, and rank its tokens by their logits.
  return { params, law: greedy, seed: null, detectors: [surprise] };
}

/** Tokens of the longest sample: what the context must hold. */
function longestOf(file: DifrFile): number {
  let longest = 0;
  file.samples.forEach(({ promptTokenIds, outputs }, i) => {
    for (const output of outputs) {
      const length = promptTokenIds.length + output.length;
      if (length > contextMax) {
        throw new InvalidError(
          "difr.too-long",
          `sample ${i} has ${length} tokens; ${contextMax} fit`,
        );
      }
      longest = Math.max(longest, length);
    }
  });
  return Math.max(1, longest);
}

/** The entry that the replay stands for: the engine reads its context only. */
function entryOf(contextTokens: number, { law, params }: Terms): WhitelistEntry {
  const none = Buffer.alloc(32);
  const generation = {
    temperatureMax: 100,
    topPMin: 0,
    topKMax: params.topK,
    maxTokens: contextTokens,
  };
  return {
    ...{ modelId: "score", weights: { sizeBytes: 1, chunkBytes: 4096, root: none } },
    ...{
      tokenizerDigest: none,
      templateDigest: none,
      engine: "",
      engineBuild: none,
      noiseLaw: law.name,
    },
    ...{ generation: { ...generation, contextTokens }, profile: none, digest: none },
  };
}

async function score(
  settings: Settings,
  file: DifrFile,
  terms: Judged,
  stopped: { readonly asked: boolean },
): Promise<Report | null> {
  const entry = entryOf(longestOf(file), terms);
  const engine = await openReplayEngine(entry, settings.model, { threads: settings.threads });
  const judge = judgeOf(settings, terms);
  const outputs: OutputScores[] = [];
  let empty = 0;
  try {
    for (const [sample, { promptTokenIds, outputs: lists }] of file.samples.entries()) {
      for (const [output, ids] of lists.entries()) {
        if (stopped.asked) return null;
        if (ids.length === 0) empty++;
        else
          outputs.push(
            await scoreOne(engine, terms, judge, { sample, output }, promptTokenIds, ids),
          );
      }
    }
  } finally {
    await engine.close();
  }
  return {
    model: settings.model,
    law: terms.seed === null && terms.params.temperature > 0 ? null : terms.law.name,
    seed: terms.seed?.toString() ?? null,
    ...{ params: terms.params, edge: limitsOf(terms).edge, scale: scaleOf(terms) },
    judgement: judgementOf(judge, terms),
    outputs,
    total: totalOf(outputs, empty, terms.detectors),
  };
}

/** How tokens are compared, and the profile that judges them. */
interface Judged extends Terms {
  readonly calibration: ProfileFile | null;
}

/** The numbers to score with: the profile's, or wide ones that nobody measured. */
const limitsOf = ({ calibration }: Judged): Profile => calibration?.profile ?? assumedProfile;

function scaleOf(terms: Judged): DetectorScale {
  const { clip, sigma } = limitsOf(terms);
  return { clip, sigma };
}

function judgeOf({ alpha }: Settings, { calibration, law, seed, params }: Judged): Judge | null {
  if (calibration === null) return null;
  const seedKnown = seed !== null || params.temperature === 0;
  const bets = seedKnown ? betting(lawOf(calibration.profile.noiseLaw)) : [surprise];
  const usable = law === greedy && seedKnown ? bets.filter(({ id }) => id !== surprise.id) : bets;
  return new Judge(calibration.profile, usable, { alpha, seedKnown });
}

function judgementOf(judge: Judge | null, { calibration }: Judged): Report["judgement"] {
  if (judge === null || calibration === null) return null;
  return { ...judge.judgement, profile: calibration.digest.toString("hex") };
}

async function scoreOne(
  engine: ReplayEngine,
  terms: Judged,
  judge: Judge | null,
  at: { readonly sample: number; readonly output: number },
  prompt: readonly number[],
  ids: readonly number[],
): Promise<OutputScores> {
  const { law, params, detectors } = terms;
  const positions = await engine
    .replay(prompt, ids, params.topK + candidatesBeyond)
    .catch((error: unknown) => {
      if (!(error instanceof InvalidError)) throw error;
      throw new InvalidError(
        error.code,
        `sample ${at.sample}, output ${at.output}: ${error.message}`,
      );
    });
  const { edge } = limitsOf(terms);
  const facts = ids.map((id, i) => {
    const candidates = positions[i];
    if (candidates === undefined) {
      throw new UnavailableError("engine.broken", "the engine left positions out", "none");
    }
    const index = positionOf(law, prompt.length, i);
    return tokenFacts(law, { candidates, params, seed: terms.seed ?? 0n, index }, id, edge);
  });
  judge?.add(at, ids, facts);
  return scoreOutput(at, facts, detectors, scaleOf(terms));
}

/** Whole or not at all. */
function writeWhole(path: string, text: string): void {
  writeFileSync(`${path}.new`, text);
  renameSync(`${path}.new`, path);
}

function lineOf(each: Omit<TotalScores, "outputs" | "empty" | "logE">, blind: boolean): string {
  const margins = `mean margin ${each.meanMargin.toFixed(5)}  largest ${each.maxMargin.toFixed(3)}`;
  return [
    `${each.tokens} tokens`.padStart(13),
    blind ? "" : `${each.mismatches} differ`.padStart(11),
    `${each.outside} outside`.padStart(12),
    blind ? "" : `  ${margins}`,
    `  mean rank ${each.meanRank.toFixed(3)}`,
    `  surprise ${each.excess >= 0 ? "+" : ""}${each.excess.toFixed(4)}\n`,
  ].join("");
}

function textOf(report: Report): string {
  const { total, params, law, seed } = report;
  const blind = law === null;
  const head =
    `temperature ${params.temperature}, top-k ${params.topK}, top-p ${params.topP}; ` +
    (blind
      ? "no seed is known: only surprise and the rank of the logits are computed\n"
      : `law ${law}${seed === null ? "" : `, seed ${seed}`}\n`);
  const rows = report.outputs.map(
    (each) => `${`${each.sample}.${each.output}`.padStart(8)}${lineOf(each, blind)}`,
  );
  const bounded = Object.entries(total.evidence).flatMap(([id, value]) =>
    typeof value === "number" ? [`${id} ${value.toFixed(4)}`] : [],
  );
  const ratios = Object.entries(total.logE).map(
    ([id, log]) => `${id}: ln e = ${log.toFixed(3)} (e-value, averaged over its alternatives)\n`,
  );
  return [
    head,
    ...rows,
    `   total${lineOf(total, blind)}`,
    total.empty > 0 ? `${total.empty} empty outputs were left out\n` : "",
    bounded.length > 0 ? `detectors, mean over outputs (0 to 1): ${bounded.join("  ")}\n` : "",
    ...ratios,
    report.judgement === null ? "" : judgementText(report.judgement, report.judgement.profile),
    "Margins are nats of logit; surprise is nats per token above the model's own entropy.\n",
  ].join("");
}
