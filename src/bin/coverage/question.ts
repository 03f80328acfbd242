/** What `weir coverage` is asked: its options, read and checked. */
import { betting } from "../../verification/detectors/index.ts";
import { gumbelPhilox } from "../../verification/laws/gumbel-philox.ts";
import { emptyEvidence } from "../../verification/sequential.ts";
import {
  fleetThreshold,
  measuredClasses,
  measuredHonest,
  type Detection,
  type Traffic,
} from "../../verification/coverage.ts";
import { parseArguments, UsageError, type Arguments } from "../site/arguments.ts";

/** Of Weir's own noise law: betting() in verification/detectors/index.ts. */
const componentsDefault = betting(gumbelPhilox).length;

export const coverageHelp = `Usage: weir coverage [OPTIONS]

How much recomputation gives how much confidence: when is a cheating server caught, and what does that
cost? Without options: the fleet of RFD 017, and the kinds of cheating whose traces were measured.

Traffic:
  --epsilon E          share of pairs that are audited (default 1e-4)
  --beta B             share of its pairs that a cheating server forges (default 0.01)
  --servers K          servers in the fleet (default 250000)
  --cheating C         of which cheat, for the campaign (default 100)
  --pairs-per-day R    pairs that one server serves (default 127872000: 1,480 a second)
  --tokens-per-pair N  tokens of a reply (default 500)
  --recompute-cost X   recomputing a token against generating it (default 0.2)

What an audited forged pair shows; without any of these, every measured class:
  --class NAME         ${measuredClasses.map(({ name }) => name).join(", ")}
  --mismatch M         share of forged tokens that are off by more than rounding
    --hard H             and chance that a forged token is proof by itself (default 0)
  --power W            caught by itself with probability W
  --drift D            D nats of evidence on average
    --variance S         and variance S (default 0)
    --honest-cost H      an audited honest pair takes H nats back (default 0)
  --honest-mismatch M  share of honest tokens that are off (default ${measuredHonest.mismatch})
  --null-mean M        what the calibration profile allows them (default ${measuredHonest.nullMean})
  --alpha A            chance of any false alarm in the fleet; threshold ln(2 K / A) (default 0.01)
  --components N       detectors that share the capital, an eighth being kept: ln(8 N / 7) more
                       (default ${componentsDefault})

Questions:
  --within T           time to judge by: 90s, 30m, 12h, 1d, 2w, 1y (default 1d)
  --confidence Q       wanted probability (default 0.999)
  --solve epsilon      the least epsilon that catches within T with probability Q
  --solve beta         the share that a cheat can forge and still hope to last T
  --simulate N         play N servers too, beside the formulas (simulation); with --seed S (default 1)
  --rfd018             the figures of RFD 018 and of the sampling tables instead

Output:
  --plot FILE.svg      draw chance against time, and the epsilon needed against beta
  --json               JSON instead of tables
  --help               this text

Examples:
  weir coverage
  weir coverage --epsilon 0.01 --beta 0.05 --servers 100 --pairs-per-day 20000 --class q4_0
  weir coverage --solve epsilon --power 0.9 --within 1d --confidence 0.999
  weir coverage --solve beta --epsilon 1e-4 --within 1w
  weir coverage --epsilon 0.01 --class q4_0 --simulate 2000
  weir coverage --plot coverage.svg
`;

export interface Case {
  readonly name: string;
  readonly detection: Detection;
}

export interface Question {
  readonly traffic: Traffic;
  readonly servers: number;
  readonly cheating: number;
  readonly recomputeCost: number;
  readonly alpha: number;
  readonly components: number;
  readonly withinDays: number;
  readonly confidence: number;
  readonly cases: readonly Case[];
  readonly solve: "epsilon" | "beta" | null;
  readonly simulate: { readonly runs: number; readonly seed: number } | null;
  readonly plot: string | null;
}

export interface Request {
  readonly help: boolean;
  readonly rfd018: boolean;
  readonly json: boolean;
  readonly question: Question;
}

const text = { type: "string" } as const;
const flag = { type: "boolean" } as const;

const options = {
  ...{ epsilon: text, beta: text, servers: text, cheating: text, "pairs-per-day": text },
  ...{ "tokens-per-pair": text, "recompute-cost": text, class: text, mismatch: text, power: text },
  ...{ drift: text, variance: text, "honest-cost": text, "honest-mismatch": text, alpha: text },
  ...{ hard: text, "null-mean": text },
  ...{ components: text, within: text, confidence: text, solve: text, simulate: text, seed: text },
  ...{ plot: text, rfd018: flag, json: flag, help: { ...flag, short: "h" } },
};

/** A number above `min`. */
function above(args: Arguments, name: string, min: number, max: number, fallback: number): number {
  const value = args.number(name, min, max) ?? fallback;
  if (value > min) return value;
  throw new UsageError(`--${name} must be above ${min}`);
}

function whole(args: Arguments, name: string, min: number, max: number, fallback: number): number {
  const value = args.number(name, min, max) ?? fallback;
  if (Number.isInteger(value)) return value;
  throw new UsageError(`--${name} must be a whole number, not "${args.text(name) ?? ""}"`);
}

const daysOf: Readonly<Record<string, number>> = {
  ...{ s: 1 / 86_400, m: 1 / 1440, h: 1 / 24, d: 1, w: 7, y: 365 },
};

function duration(given: string): number {
  const match = /^(\d+(?:\.\d+)?)([smhdwy])$/.exec(given);
  const days = Number(match?.[1]) * (daysOf[match?.[2] ?? ""] ?? NaN);
  if (days > 0) return days;
  throw new UsageError(
    `--within must be a time such as 90s, 30m, 12h, 1d, 2w or 1y, not "${given}"`,
  );
}

/** Nats that one of `count` detectors has to win more because they share the capital. */
function capitalCost(count: number): number {
  const shapes = Array.from({ length: count }, (_, i) => ({
    ...{ id: String(i), kind: "bounded" as const, alternatives: 1 },
  }));
  return -Math.log(emptyEvidence(shapes).detectors[0]?.share ?? 1);
}

type Mismatch = Extract<Detection, { kind: "mismatch" }>;

function mismatchCase(name: string, detection: Mismatch): Case {
  const { forged, honest } = detection;
  if (forged <= honest) {
    throw new UsageError(
      `--honest-mismatch ${honest} must be below the forged share ${forged} of ${name}: nothing tells them apart`,
    );
  }
  return { name, detection };
}

function driftCase(args: Arguments, threshold: number): Case {
  const drift = above(args, "drift", 0, 1e6, NaN);
  const variance = args.number("variance", 0, 1e9) ?? 0;
  const honestCost = args.number("honest-cost", 0, 1e6) ?? 0;
  return {
    name: `${drift} nats a pair`,
    detection: { ...{ kind: "drift", drift, variance, honestCost, threshold } },
  };
}

const companions = [
  ["variance", "drift"],
  ["honest-cost", "drift"],
  ["hard", "mismatch"],
] as const;

/** One case for the kind of detection that was named, or every measured class. */
function casesOf(args: Arguments, threshold: number): Case[] {
  const kinds = ["class", "mismatch", "power", "drift"].filter((k) => args.text(k) !== undefined);
  if (kinds.length > 1) {
    throw new UsageError(`--${kinds[0] ?? ""} and --${kinds[1] ?? ""} exclude each other`);
  }
  for (const [name, kind] of companions) {
    if (args.text(name) !== undefined && kinds[0] !== kind) {
      throw new UsageError(`--${name} goes with --${kind}`);
    }
  }
  if (kinds[0] === "power") {
    const power = above(args, "power", 0, 1, NaN);
    return [{ name: `power ${power}`, detection: { kind: "power", power } }];
  }
  if (kinds[0] === "drift") return [driftCase(args, threshold)];
  const common = {
    kind: "mismatch" as const,
    honest: share(args, "honest-mismatch", measuredHonest.mismatch),
    nullMean: share(args, "null-mean", measuredHonest.nullMean),
    threshold,
  };
  if (kinds[0] === "mismatch") {
    const forged = share(args, "mismatch", NaN);
    const hard = args.number("hard", 0, 0.999999) ?? 0;
    return [mismatchCase(`mismatch ${forged}`, { ...common, forged, hard })];
  }
  const wanted = args.text("class");
  const classes = measuredClasses.filter(({ name }) => wanted === undefined || name === wanted);
  if (classes.length === 0) {
    const known = measuredClasses.map(({ name }) => name).join(", ");
    throw new UsageError(`--class must be one of ${known}, not "${wanted ?? ""}"`);
  }
  return classes.map(({ name, mismatch, hard }) =>
    mismatchCase(name, { ...common, forged: mismatch, hard }),
  );
}

/** A share strictly between 0 and 1. */
function share(args: Arguments, name: string, fallback: number): number {
  const value = above(args, name, 0, 1, fallback);
  if (value < 1) return value;
  throw new UsageError(`--${name} must be below 1`);
}

function solveOf(args: Arguments): Question["solve"] {
  const given = args.text("solve");
  if (given === undefined || given === "epsilon" || given === "beta") return given ?? null;
  throw new UsageError(`--solve must be epsilon or beta, not "${given}"`);
}

function simulateOf(args: Arguments): Question["simulate"] {
  if (args.text("simulate") === undefined) {
    if (args.text("seed") !== undefined) throw new UsageError("--seed goes with --simulate");
    return null;
  }
  const runs = whole(args, "simulate", 10, 1e6, NaN);
  return { runs, seed: whole(args, "seed", 0, 2 ** 32 - 1, 1) };
}

/** Reads the command line. Throws UsageError that names the option. */
export function readRequest(argv: readonly string[]): Request {
  const args = parseArguments(argv, options);
  const servers = whole(args, "servers", 1, 1e9, 250_000);
  const alpha = share(args, "alpha", 0.01);
  const components = whole(args, "components", 1, 1e6, componentsDefault);
  const cheating = whole(args, "cheating", 1, 1e9, Math.min(100, servers));
  if (cheating > servers)
    throw new UsageError(`--cheating ${cheating} exceeds --servers ${servers}`);
  const solve = solveOf(args);
  if (solve !== null && args.text(solve) !== undefined) {
    throw new UsageError(`--${solve} is what --solve ${solve} works out: leave it away`);
  }
  const threshold = fleetThreshold(servers, alpha) + capitalCost(components);
  const question: Question = {
    traffic: {
      epsilon: above(args, "epsilon", 0, 1, 1e-4),
      beta: above(args, "beta", 0, 1, 0.01),
      pairsPerDay: above(args, "pairs-per-day", 0, 1e12, 127_872_000),
      tokensPerPair: whole(args, "tokens-per-pair", 1, 20_000, 500),
    },
    recomputeCost: above(args, "recompute-cost", 0, 100, 0.2),
    ...{ servers, cheating, alpha, components, solve },
    withinDays: duration(args.text("within") ?? "1d"),
    confidence: share(args, "confidence", 0.999),
    cases: casesOf(args, threshold),
    simulate: simulateOf(args),
    plot: args.text("plot") ?? null,
  };
  return {
    help: args.flag("help"),
    rfd018: args.flag("rfd018"),
    json: args.flag("json"),
    question,
  };
}
