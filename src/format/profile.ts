/**
 * The calibration profile, spec/profile.md: what honest servers of one model and engine pair show,
 * measured, with its provenance. A whitelist entry names it by digest; without it nothing is judged.
 *
 * Trust: who sets the numbers decides what counts as honest. Both parties sign the entry that names
 * the digest; everybody can run the recorded command again and compare.
 */
import { InvalidError } from "../base/assert.ts";
import { decodeUtf8 } from "../base/bytes.ts";
import { sha256 } from "../base/hash.ts";
import { Fields, parseJson } from "./json.ts";

/** Honest behaviour of one detector. */
export interface DetectorNull {
  readonly id: string;
  /** `bounded`: upper bound on the mean evidence of an honest pair. `ratios`: slack per token, nats. */
  readonly nullMean: number;
  /** What was measured, before room was added: worst condition's mean and its upper confidence bound. */
  readonly observed: number;
  readonly upper: number;
}

/** One condition under which honest pairs were made. */
export interface ProfileRun {
  /** In words: `decode, 4 sequences, 2 threads, build haswell, T = 1, top-p 1`. */
  readonly condition: string;
  readonly pairs: number;
  readonly tokens: number;
  readonly mismatches: number;
  readonly outside: number;
  readonly meanMargin: number;
  readonly maxMargin: number;
}

export interface Profile {
  readonly schema: 1;
  /** `measured`: from runs; `assumed`: wide default that nobody measured. */
  readonly basis: "measured" | "assumed";
  readonly model: { readonly name: string; readonly root: string };
  /** Engine names of server and reference, as whitelist entries spell them. */
  readonly engines: { readonly server: string; readonly reference: string };
  readonly noiseLaw: string;
  /** Nats of logit; spec/verdict.md sections 2 to 4. */
  readonly edge: number;
  readonly clip: number;
  /** A single margin beyond this is a hard failure. */
  readonly tokenMax: number;
  /** A pair fails when its mean clipped margin exceeds meanMax + meanSpread / sqrt(tokens). */
  readonly meanMax: number;
  readonly meanSpread: number;
  /** Standard deviation of honest logit noise; nats. */
  readonly sigma: number;
  /** Share of honest tokens whose margin exceeds each level, with upper bounds. */
  readonly tail: readonly {
    readonly margin: number;
    readonly share: number;
    readonly upper: number;
  }[];
  readonly confidence: number;
  readonly detectors: readonly DetectorNull[];
  readonly runs: readonly ProfileRun[];
  readonly provenance: {
    readonly command: string;
    readonly seed: number;
    readonly machine: string;
    readonly weir: string;
    readonly atMs: number;
  };
}

/** The numbers that a single pair is held against. */
export type MarginLimits = Pick<Profile, "edge" | "clip" | "tokenMax" | "meanMax" | "meanSpread">;

/** A profile as it was read, with the digest that whitelist entries name. */
export interface ProfileFile {
  readonly profile: Profile;
  /** SHA-256 of the file's bytes. */
  readonly digest: Buffer;
}

/** Files are read whole; a real one has some 200 KiB. */
const bytesMax = 4_194_304;
const whole = Number.MAX_SAFE_INTEGER;
/** Nats: margins, edges and deviations beyond this mean nothing. */
const natsMax = 1000;

function parseModel(from: Fields): Profile["model"] {
  const model = { name: from.text("name"), root: from.text("root") };
  from.end();
  if (/^[0-9a-f]{64}$/.test(model.root)) return model;
  throw new InvalidError("json.shape", "profile.model.root must be 64 lower-case hex digits");
}

function parseEngines(from: Fields): Profile["engines"] {
  const engines = { server: from.text("server"), reference: from.text("reference") };
  from.end();
  return engines;
}

function parseDetector(from: Fields): DetectorNull {
  const detector = {
    id: from.text("id"),
    nullMean: from.number("nullMean", 0, natsMax),
    observed: from.number("observed", -natsMax, natsMax),
    upper: from.number("upper", -natsMax, natsMax),
  };
  from.end();
  return detector;
}

function parseRun(from: Fields): ProfileRun {
  const run = {
    condition: from.text("condition"),
    pairs: from.integer("pairs", 0, whole),
    tokens: from.integer("tokens", 0, whole),
    mismatches: from.integer("mismatches", 0, whole),
    outside: from.integer("outside", 0, whole),
    meanMargin: from.number("meanMargin", 0, natsMax),
    maxMargin: from.number("maxMargin", 0, natsMax),
  };
  from.end();
  return run;
}

function parseTail(from: Fields): Profile["tail"][number] {
  const level = {
    margin: from.number("margin", 0, natsMax),
    share: from.number("share", 0, 1),
    upper: from.number("upper", 0, 1),
  };
  from.end();
  return level;
}

function parseProvenance(from: Fields): Profile["provenance"] {
  const provenance = {
    command: from.text("command"),
    seed: from.integer("seed", 0, whole),
    machine: from.text("machine"),
    weir: from.text("weir"),
    atMs: from.integer("atMs", 0, whole),
  };
  from.end();
  return provenance;
}

function parseBasis(text: string): Profile["basis"] {
  if (text === "measured" || text === "assumed") return text;
  throw new InvalidError("json.shape", "profile.basis must be measured or assumed");
}

function parseProfile(from: Fields): Profile {
  from.integer("schema", 1, 1);
  const profile: Profile = {
    schema: 1,
    basis: parseBasis(from.text("basis")),
    model: parseModel(from.object("model")),
    engines: parseEngines(from.object("engines")),
    noiseLaw: from.text("noiseLaw"),
    edge: from.number("edge", 0, natsMax),
    clip: from.number("clip", 1e-6, natsMax),
    tokenMax: from.number("tokenMax", 0, natsMax),
    meanMax: from.number("meanMax", 0, natsMax),
    meanSpread: from.number("meanSpread", 0, natsMax),
    sigma: from.number("sigma", 1e-9, natsMax),
    tail: from.objects("tail").map(parseTail),
    confidence: from.number("confidence", 0.5, 1),
    detectors: from.objects("detectors").map(parseDetector),
    runs: from.objects("runs").map(parseRun),
    provenance: parseProvenance(from.object("provenance")),
  };
  from.end();
  return profile;
}

/** The file of a profile: JSON, fields in the order of spec/profile.md. What comes back has its digest. */
export function sealProfile(profile: Profile): ProfileFile & { readonly bytes: Buffer } {
  const bytes = Buffer.from(`${JSON.stringify(profile, null, 2)}\n`);
  return { ...openProfile(bytes), bytes };
}

/** Parses a profile's file. Throws InvalidError `profile.*`, `json.*` or `bytes.utf8`; it names the field. */
export function openProfile(bytes: Uint8Array): ProfileFile {
  if (bytes.length > bytesMax) {
    throw new InvalidError("profile.size", `a profile has at most ${bytesMax} bytes`);
  }
  const profile = parseProfile(new Fields(parseJson(decodeUtf8(bytes)), "profile"));
  const ids = new Set(profile.detectors.map(({ id }) => id));
  if (ids.size !== profile.detectors.length) {
    throw new InvalidError("profile.detectors", "profile.detectors names a detector twice");
  }
  if (profile.basis === "measured" && !profile.runs.some(({ tokens }) => tokens > 0)) {
    throw new InvalidError("profile.runs", "profile.runs is empty, yet profile.basis is measured");
  }
  return { profile, digest: sha256(bytes) };
}

/**
 * Why a profile does not speak for a whitelist entry, in words; null when it does. A measured one
 * speaks for the weights it was measured on; an assumed one for any.
 */
export function profileMismatch(
  profile: Profile,
  entry: { readonly weights: { readonly root: Buffer }; readonly noiseLaw: string },
): string | null {
  if (profile.noiseLaw !== entry.noiseLaw) {
    return `it is for the noise law ${profile.noiseLaw}, not ${entry.noiseLaw}`;
  }
  const root = entry.weights.root.toString("hex");
  if (profile.basis === "measured" && profile.model.root !== root) {
    return `it was measured on other weights (root ${profile.model.root})`;
  }
  return null;
}
