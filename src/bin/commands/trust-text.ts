/** Roots and whitelists in words, for the people of two parties to compare. */
import type { ProfileFile } from "../../format/profile.ts";
import {
  rootJson,
  type Duty,
  type RootParty,
  type Signed,
  type TrustRoot,
} from "../../format/trust-root.ts";
import { entryJson, type WhitelistContents, type WhitelistEntry } from "../../format/whitelist.ts";
import { size, table } from "../site/screen.ts";

export function day(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 16).replace("T", " ")} UTC`;
}

/** What the profile of an entry says, where it is at hand. */
function profileRows(entry: WhitelistEntry, file: ProfileFile | null): [string, string][] {
  const digest = entry.profile.toString("hex");
  if (file === null)
    return [
      ["Profile", digest],
      ["  says", "not at hand; --profile FILE"],
    ];
  if (!file.digest.equals(entry.profile)) {
    return [
      ["Profile", digest],
      ["  says", `NOT THIS FILE: it has ${file.digest.toString("hex")}`],
    ];
  }
  const { profile } = file;
  const tokens = profile.runs.reduce((sum, run) => sum + run.tokens, 0);
  const made = new Date(profile.provenance.atMs).toISOString().slice(0, 10);
  const nulls = profile.detectors.map(({ id, nullMean }) => `${id} ${nullMean}`).join(", ");
  return [
    ["Profile", digest],
    [
      "  fails",
      `pair mean above ${profile.meanMax} + ${profile.meanSpread}/sqrt(tokens), ` +
        `token above ${profile.tokenMax}; edge ${profile.edge}, clip ${profile.clip} nats`,
    ],
    ["  honest", `sigma ${profile.sigma} nats; ${nulls === "" ? "no detectors" : nulls}`],
    [
      `  ${profile.basis}`,
      profile.basis === "assumed"
        ? "by nobody"
        : `${tokens} tokens, ${profile.runs.length} conditions, ${made}, ${profile.provenance.machine}`,
    ],
  ];
}

/** One entry of a whitelist, field by field. */
export function entryText(entry: WhitelistEntry, profile: ProfileFile | null): string {
  const { weights, generation } = entry;
  const chunks = Math.ceil(weights.sizeBytes / weights.chunkBytes);
  return table([
    ["Model", entry.modelId],
    ["Entry", entry.digest.toString("hex")],
    ["Weights", `${size(weights.sizeBytes)} in ${chunks} chunks, ${8 * weights.sizeBytes} bits`],
    ["  root", weights.root.toString("hex")],
    ["Tokenizer", entry.tokenizerDigest.toString("hex")],
    ["Template", entry.templateDigest.toString("hex")],
    ["Engine", entry.engine],
    ["  build", entry.engineBuild.toString("hex")],
    ["Noise law", entry.noiseLaw],
    [
      "Clients may",
      `temperature to ${generation.temperatureMax}, top_p from ${generation.topPMin}, ` +
        `top_k to ${generation.topKMax}, ${generation.maxTokens} tokens in ${generation.contextTokens} of context`,
    ],
    ...profileRows(entry, profile),
  ]);
}

/** Fields of nested JSON as dotted paths and plain values. */
function flat(value: unknown, path: string): [string, string][] {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return [[path, Array.isArray(value) ? value.map(String).join(" ") : String(value)]];
  }
  return Object.entries(value).flatMap(([key, inner]) =>
    flat(inner, path === "" ? key : `${path}.${key}`),
  );
}

function shown(value: string | undefined): string {
  return value === undefined || value === "" ? "nothing" : value;
}

function changesOf(before: unknown, after: unknown): string[] {
  const old = new Map(flat(before, ""));
  const now = new Map(flat(after, ""));
  return [...new Set([...old.keys(), ...now.keys()])].flatMap((key) => {
    const from = old.get(key);
    const to = now.get(key);
    if (from === to) return [];
    return [`    ${key}: ${shown(from)} -> ${shown(to)}`];
  });
}

/** What a whitelist changes against an earlier one: a line per entry, and one per field. */
export function whitelistChanges(before: WhitelistContents, after: WhitelistContents): string[] {
  const head = changesOf(
    { version: before.version, rootVersion: before.rootVersion, expires: day(before.expiresMs) },
    { version: after.version, rootVersion: after.rootVersion, expires: day(after.expiresMs) },
  ).map((line) => line.slice(2));
  const ids = [...new Set([...before.entries, ...after.entries].map(({ modelId }) => modelId))];
  const lines = ids.flatMap((id) => {
    const old = before.entries.find(({ modelId }) => modelId === id);
    const now = after.entries.find(({ modelId }) => modelId === id);
    if (old === undefined) return [`+ ${id}: a NEW model`];
    if (now === undefined) return [`- ${id}: no longer allowed`];
    const changed = changesOf(entryJson(old), entryJson(now));
    return changed.length === 0 ? [`  ${id}: as before`] : [`~ ${id}: changed`, ...changed];
  });
  return [...head, ...lines];
}

/** What a root changes against the one before. */
export function rootChanges(before: TrustRoot, after: TrustRoot): string[] {
  const dated = (root: TrustRoot): unknown => ({
    ...rootJson(root),
    expiresMs: day(root.expiresMs),
  });
  return changesOf(dated(before), dated(after)).map((line) => line.slice(2));
}

/** Who has signed, party by party, of how many that must. */
export function signatureRows(root: TrustRoot, duty: Duty, signed: Signed): string[][] {
  const row = (party: RootParty, keys: readonly string[]): string[] => [
    party.name,
    `${keys.length} of the ${party.thresholds[duty]} that must sign: ${keys.map((key) => `${key.slice(0, 16)}...`).join(", ") || "nobody"}`,
  ];
  return [row(root.a, signed.a), row(root.b, signed.b)];
}

function partyRows(party: RootParty): string[][] {
  const { whitelist, root } = party.thresholds;
  return [
    [party.name, `${whitelist} of ${party.keys.length} keys sign whitelists, ${root} sign roots`],
    ...party.keys.map((key) => ["  key", key]),
    ...party.operators.map((key) => ["  operator", key]),
  ];
}

/** A root, in full. */
export function rootText(root: TrustRoot): string {
  return table([
    ["Version", String(root.version)],
    ["Until", day(root.expiresMs)],
    ["Digest", root.digest.toString("hex")],
    ...partyRows(root.a),
    ...partyRows(root.b),
  ]);
}
