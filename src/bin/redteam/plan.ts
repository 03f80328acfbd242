/** Options of `weir redteam`, checked. */
import { dirname, join, resolve } from "node:path";
import { attackGroups, type Attack, type Knobs } from "../../adversary/attack.ts";
import { attacks, knobsOf } from "../../adversary/attacks/index.ts";
import { InvalidError } from "../../base/assert.ts";
import { parseArguments, UsageError, type Arguments } from "../site/arguments.ts";
import { homeFolder } from "../site/config.ts";
import type { TrafficKind } from "./traffic.ts";

export const help = `Usage: weir redteam [OPTIONS]

Runs attacks against inference servers behind their gateways, each with an honest twin beside it, and
reports which of them nothing stopped. Exits 0 when the run completed, whatever was caught.

  --attacks LIST      ids with commas, group:NAME, or all (default all); --list shows them
  --list              the attacks, and what their authors expect
  --live              against a live site: separate processes, sandboxes, the real router (default)
  --lab               the same engine, agent, pair path and judgement in one process: for many seeds
  --seeds N           trials of each attack, with seeds from --seed on (default 1; --lab 10)
  --seed N            first seed: of the traffic and of the attacks' own randomness (default 1)
  --tokens N          tokens of the owned server after which it has escaped (default 10000)
  --epsilon E         share of pairs that are recomputed (default 1)
  --knob NAME=VALUE   sets a knob of the attacks (may be repeated; --list shows them)
  --traffic KIND      mixed, or plain: temperature 1, 64 tokens (default mixed)
  --tick-ms N         of the lab: release tick of the gateways (default 20)
  --whole-replies     of the lab: gateways let nothing of a reply out before all of it is there
  --model FILE.gguf   model to serve (default: the one that comes with Weir)
  --profile FILE      its calibration profile (default: MODEL.profile.json beside it)
  --policy FILE       alarm policy (default: that of spec/policy.md)
  --sandbox KIND      of a live site: auto, bubblewrap, unshare or off (default auto)
  --out DIR           trials.jsonl, report.json and report.html go there (default redteam)
  --resume FILE       continue a trials.jsonl: what is in it is not run again
  --expect            exit 3 when an outcome is not what the attack's author expects
  --json              the report as JSON on standard output
  --help              this text
`;

export interface Plan {
  readonly attacks: readonly Attack[];
  readonly list: boolean;
  readonly mode: "live" | "lab";
  readonly seeds: readonly number[];
  readonly tokens: number;
  readonly epsilon: number;
  readonly knobs: Knobs;
  readonly traffic: TrafficKind;
  readonly tickMs: number;
  readonly wholeReplies: boolean;
  readonly model: string;
  readonly profile: string | undefined;
  readonly policy: string | undefined;
  readonly sandbox: string;
  readonly out: string;
  readonly trials: string;
  readonly resume: boolean;
  readonly expect: boolean;
  readonly json: boolean;
  /** As typed, for the report. */
  readonly command: string;
}

const text = { type: "string" } as const;
const flag = { type: "boolean" } as const;
const options = {
  ...{ attacks: text, seeds: text, seed: text, tokens: text, epsilon: text, traffic: text },
  ...{ model: text, profile: text, policy: text, sandbox: text, out: text, resume: text },
  ...{ "tick-ms": text, "whole-replies": flag },
  ...{ list: flag, live: flag, lab: flag, expect: flag, json: flag },
  knob: { type: "string", multiple: true },
  help: { type: "boolean", short: "h" },
} as const;

/** The attacks that a list names; each once, in the order of the registry. Throws UsageError. */
export function chosenAttacks(words: string): readonly Attack[] {
  const wanted = new Set<Attack>();
  for (const word of words.split(",").map((one) => one.trim())) {
    const group = attackGroups.find((name) => word === `group:${name}`);
    const named = attacks.filter(
      (attack) => word === "all" || attack.group === group || attack.id === word,
    );
    if (named.length === 0) {
      const groups = attackGroups.map((name) => `group:${name}`).join(", ");
      throw new UsageError(
        `there is no attack "${word}"; --list shows them, and the groups are ${groups}`,
      );
    }
    for (const attack of named) wanted.add(attack);
  }
  return attacks.filter((attack) => wanted.has(attack));
}

/** Knobs for all chosen attacks: each must have them. Throws UsageError. */
function readKnobs(words: readonly string[], chosen: readonly Attack[]): Knobs {
  const knobs = Object.fromEntries(
    words.map((word) => {
      const at = word.indexOf("=");
      const value = Number(word.slice(at + 1));
      if (at < 1 || word.slice(at + 1).trim() === "" || !Number.isFinite(value)) {
        throw new UsageError(`--knob must be NAME=NUMBER, not "${word}"`);
      }
      return [word.slice(0, at), value];
    }),
  );
  try {
    for (const attack of chosen) knobsOf(attack, knobs);
  } catch (error) {
    if (error instanceof InvalidError) throw new UsageError(`--knob: ${error.message}`);
    throw error;
  }
  return knobs;
}

function whole(args: Arguments, name: string, min: number, max: number, value: number): number {
  const given = args.number(name, min, max) ?? value;
  if (Number.isInteger(given)) return given;
  throw new UsageError(`--${name} must be a whole number, not ${given}`);
}

function choice<T extends string>(
  args: Arguments,
  name: string,
  allowed: readonly T[],
  value: T,
): T {
  const given = args.text(name) ?? value;
  const found = allowed.find((one) => one === given);
  if (found !== undefined) return found;
  throw new UsageError(`--${name} must be one of ${allowed.join(", ")}, not "${given}"`);
}

/** How the lab's gateways shape releases; a live site's are as they are. */
function shapingOf(args: Arguments, mode: Plan["mode"]): Pick<Plan, "tickMs" | "wholeReplies"> {
  const given = args.text("tick-ms") !== undefined || args.flag("whole-replies");
  if (given && mode === "live") throw new UsageError("--tick-ms and --whole-replies need --lab");
  return { tickMs: whole(args, "tick-ms", 1, 1000, 20), wholeReplies: args.flag("whole-replies") };
}

/** Reads the options; null where help was asked for. Throws UsageError. */
export function readPlan(argv: readonly string[]): Plan | null {
  const args = parseArguments(argv, options);
  if (args.flag("help")) return null;
  if (args.flag("live") && args.flag("lab"))
    throw new UsageError("--live and --lab exclude each other");
  const mode = args.flag("lab") ? "lab" : "live";
  const chosen = chosenAttacks(args.text("attacks") ?? "all");
  const seeds = whole(args, "seeds", 1, 1e6, mode === "lab" ? 10 : 1);
  const first = whole(args, "seed", 0, 2 ** 31, 1);
  const resume = args.text("resume");
  const out = resolve(args.text("out") ?? (resume === undefined ? "redteam" : dirname(resume)));
  return {
    ...{ attacks: chosen, mode, out, list: args.flag("list") },
    seeds: Array.from({ length: seeds }, (_, i) => first + i),
    tokens: whole(args, "tokens", 100, 1e9, 10_000),
    epsilon: args.number("epsilon", 0.0001, 1) ?? 1,
    knobs: readKnobs(args.list("knob"), chosen),
    traffic: choice(args, "traffic", ["mixed", "plain"], "mixed"),
    ...shapingOf(args, mode),
    model: resolve(args.text("model") ?? join(homeFolder, "models/weir-demo.gguf")),
    ...{ profile: args.text("profile"), policy: args.text("policy") },
    sandbox: choice(args, "sandbox", ["auto", "bubblewrap", "unshare", "off"], "auto"),
    trials: resume === undefined ? join(out, "trials.jsonl") : resolve(resume),
    ...{ resume: resume !== undefined, expect: args.flag("expect"), json: args.flag("json") },
    command: ["weir redteam", ...argv].join(" "),
  };
}
