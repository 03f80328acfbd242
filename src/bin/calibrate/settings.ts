/** Options of `weir calibrate`. */
import { parseArgs } from "node:util";
import { InvalidError } from "../../base/assert.ts";

export const help = `weir calibrate MODEL.gguf [options]

Measure what honest servers of a model show, and write it as a calibration profile (spec/profile.md)
for a whitelist entry. Servers on every CPU build of llama.cpp that this machine runs, under several
shapes of batch, generate; recomputers on every build replay and score: each pair by prefill, and
blind, as recomputers do by default, a part alone, a part 8, a part 32 side by side. Builds that compute
the same bits are measured once. Every position is drawn again under fresh seeds (--redraws): what server
and recomputer computed there is known, so that costs no inference.

  --out FILE         write the profile (weir up finds MODEL.profile.json beside MODEL.gguf)
  --tokens N         tokens to serve in all, not counting redraws (default 60000; --quick: 4000)
  --builds LIST      all, here (what this machine would choose), or names with commas (default all);
                     list: print the builds that this machine runs, and exit
  --seed S           seed of the draws (default 1)
  --redraws N        further draws of each pair on each build: a third where it replays by prefill,
                     the rest where it replays blind (default 15; --quick: 63)
  --top-k N          top-k of the measurement (default 64)
  --quick            few tokens on this machine's own build, by prefill and 32 side by side: wide
                     bounds, in a minute
  --replay FILE      replay on this model instead: what a swapped model looks like to each detector
  --serve-temperature F  draw at F times each temperature: what a dishonest sampler looks like
  --json             print everything as one JSON object
  --help             print this and exit
`;

export interface Settings {
  readonly model: string;
  readonly replayModel: string;
  readonly tokens: number;
  readonly seed: number;
  readonly redraws: number;
  readonly topK: number;
  readonly heat: number;
  /** `all`, `here`, `list` or names. */
  readonly builds: "all" | "here" | "list" | readonly string[];
  readonly quick: boolean;
  readonly out: string | null;
  readonly json: boolean;
  /** As it is typed to run it again, for the profile. */
  readonly command: string;
}

const text = { type: "string" } as const;
const flag = { type: "boolean", default: false } as const;
const options = {
  out: text,
  tokens: text,
  builds: text,
  seed: { ...text, default: "1" },
  redraws: text,
  "top-k": { ...text, default: "64" },
  replay: text,
  "serve-temperature": { ...text, default: "1" },
  quick: flag,
  json: flag,
  help: flag,
} as const;

function parse(argv: readonly string[]): ReturnType<typeof parseAll> {
  try {
    return parseAll(argv);
  } catch (error) {
    throw new InvalidError("options.flag", error instanceof Error ? error.message : String(error));
  }
}

function parseAll(argv: readonly string[]) {
  return parseArgs({ args: [...argv], allowPositionals: true, options });
}

/** Reads the options; null where help was asked for. Throws InvalidError `options.*`. */
export function readSettings(argv: readonly string[]): Settings | null {
  const { values, positionals } = parse(argv);
  if (values.help) return null;
  const { quick } = values;
  const builds = buildsOf(values.builds ?? (quick ? "here" : "all"));
  const model = builds === "list" ? "" : oneModel(positionals);
  const heat = factor(values["serve-temperature"]);
  const honest = values.replay === undefined && heat === 1;
  if (!honest && values.out !== undefined) {
    throw new InvalidError("options.value", "--out is for honest servers: nothing to write here");
  }
  return {
    model,
    replayModel: values.replay ?? model,
    tokens: integer("--tokens", values.tokens ?? (quick ? "4000" : "60000"), 10, 1e9),
    seed: integer("--seed", values.seed, 0, 2 ** 32),
    // A cheat is shown as it is: one draw.
    redraws: honest ? integer("--redraws", values.redraws ?? (quick ? "63" : "15"), 0, 10_000) : 0,
    topK: integer("--top-k", values["top-k"], 1, 4096),
    heat,
    builds: honest || builds === "list" ? builds : "here",
    ...{ quick, json: values.json, out: values.out ?? null },
    command: ["weir calibrate", ...argv].join(" "),
  };
}

function oneModel(positionals: readonly string[]): string {
  const [model, ...more] = positionals;
  if (model !== undefined && more.length === 0) return model;
  throw new InvalidError("options.missing", "name one MODEL.gguf");
}

function buildsOf(value: string): Settings["builds"] {
  if (value === "all" || value === "here" || value === "list") return value;
  const names = value.split(",");
  if (names.every((name) => /^[A-Za-z0-9._]+$/.test(name))) return names;
  throw new InvalidError("options.value", "--builds must be all, here, list or names with commas");
}

function integer(name: string, value: string, min: number, max: number): number {
  const number = Number(value);
  if (Number.isInteger(number) && number >= min && number <= max && value.trim() !== "") {
    return number;
  }
  throw new InvalidError("options.value", `${name} must be a whole number from ${min} to ${max}`);
}

function factor(value: string): number {
  const number = Number(value);
  if (number > 0 && number <= 100) return number;
  throw new InvalidError("options.value", "--serve-temperature must be above 0 and at most 100");
}
