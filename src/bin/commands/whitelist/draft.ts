/** `weir whitelist add`, `remove`, `renew`: drafts of the next whitelist, which nobody has signed. */
import { InvalidError } from "../../../base/assert.ts";
import { basename } from "node:path";
import { openProfile, profileMismatch } from "../../../format/profile.ts";
import type { RootChain } from "../../../format/trust-root.ts";
import {
  openWhitelist,
  parseWhitelist,
  sealWhitelist,
  type GenerationPolicy,
  type WhitelistContents,
  type WhitelistEntry,
} from "../../../format/whitelist.ts";
import { parseEnvelope } from "../../../format/dsse.ts";
import type { Arguments } from "../../site/arguments.ts";
import { describeFile, generationPolicy, measuredEntry } from "../../site/entry.ts";
import { readRootChain } from "../../trust.ts";
import { print, printJson, runSiteCommand } from "../common.ts";
import { encodeFile, expiryOf, need, readNamed, writeNew } from "../trust-files.ts";
import { entryText, whitelistChanges } from "../trust-text.ts";

const common = `  --trust-root FILE  the root under which it is to be signed (required)
  --root-anchor HEX  refuse a root that does not begin with this digest
  --whitelist FILE   the whitelist in force, which the new one follows
  --days N           it lasts so many days (default 365); or --until 2027-01-31
  --out FILE         the draft; an existing file is not written over (required)
  --json             machine-readable output
`;

const addHelp = `Usage: weir whitelist add --model FILE.gguf --profile FILE --trust-root FILE --out FILE [OPTIONS]

Drafts the next whitelist: that in force, with one model added or replaced. Reads the whole model file and the
engine installed here, and computes every digest itself. Signs nothing.

  --model FILE.gguf  the model (required)
  --profile FILE     its calibration profile (weir calibrate; required)
  --model-id ID      its name for clients (default: the file's name)
${common}
What clients may ask for:
  --temperature-max N, --top-p-min N, --top-k-max N, --max-tokens N, --context-tokens N
`;

const removeHelp = `Usage: weir whitelist remove --model-id ID --whitelist FILE --trust-root FILE --out FILE

Drafts the next whitelist: that in force, without one model. Signs nothing.

  --model-id ID      the model to take off (required)
${common}`;

const renewHelp = `Usage: weir whitelist renew --whitelist FILE --trust-root FILE --out FILE

Drafts the next whitelist with the entries of that in force: before it expires, or after a change of the root.

${common}`;

const options = {
  "trust-root": { type: "string" },
  "root-anchor": { type: "string" },
  whitelist: { type: "string" },
  days: { type: "string" },
  until: { type: "string" },
  out: { type: "string" },
  "model-id": { type: "string" },
} as const;

const addOptions = {
  ...options,
  model: { type: "string" },
  profile: { type: "string" },
  "temperature-max": { type: "string" },
  "top-p-min": { type: "string" },
  "top-k-max": { type: "string" },
  "max-tokens": { type: "string" },
  "context-tokens": { type: "string" },
} as const;

/** The whitelist in force, verified under the root version that it names, which may be an older one. */
export function readInForce(path: string, chain: RootChain): WhitelistContents {
  return readNamed(path, "whitelist", (bytes) => {
    const { rootVersion } = parseWhitelist(parseEnvelope(bytes).payload);
    const root = chain.roots.find(({ version }) => version === rootVersion);
    if (root === undefined) {
      throw new InvalidError(
        "whitelist.root",
        `it is of root version ${rootVersion}, not known here`,
      );
    }
    return openWhitelist(bytes, root);
  });
}

type Entries = readonly Omit<WhitelistEntry, "digest">[];

/** Writes the draft that follows the whitelist in force, and says what it changes. */
function writeDraft(
  args: Arguments,
  chain: RootChain,
  before: WhitelistContents | null,
  entries: Entries,
): number {
  const out = need(args, "out");
  const draft = {
    version: (before?.version ?? 0) + 1,
    rootVersion: chain.current.version,
    expiresMs: expiryOf(args, 365),
    entries,
  };
  const envelope = sealWhitelist(draft, []);
  // Read as others will read it, before anything is on disk.
  const contents = parseWhitelist(envelope.payload);
  writeNew(out, encodeFile(envelope));
  const digest = contents.digest.toString("hex");
  const changes = before === null ? [] : whitelistChanges(before, contents);
  if (args.flag("json")) {
    printJson({
      file: out,
      version: draft.version,
      rootVersion: draft.rootVersion,
      digest,
      changes,
    });
    return 0;
  }
  print(`Draft of whitelist version ${draft.version} in ${out}; nobody has signed it.\n`);
  print(`Digest ${digest}\n\n`);
  if (before === null) for (const entry of contents.entries) print(`${entryText(entry, null)}\n`);
  for (const line of changes) print(`${line}\n`);
  return 0;
}

function basis(args: Arguments): { chain: RootChain; before: WhitelistContents | null } {
  const chain = readRootChain(need(args, "trust-root"), args.text("root-anchor") ?? null);
  const file = args.text("whitelist");
  return { chain, before: file === undefined ? null : readInForce(file, chain) };
}

function asked(args: Arguments): { readonly [K in keyof GenerationPolicy]: number | undefined } {
  return {
    temperatureMax: args.number("temperature-max", 0, 100),
    topPMin: args.number("top-p-min", 0, 1),
    topKMax: args.number("top-k-max", 1, 4096),
    maxTokens: args.number("max-tokens", 1, Number.MAX_SAFE_INTEGER),
    contextTokens: args.number("context-tokens", 2, Number.MAX_SAFE_INTEGER),
  };
}

async function draftedEntry(args: Arguments): Promise<Omit<WhitelistEntry, "digest">> {
  const model = need(args, "model");
  const profile = readNamed(need(args, "profile"), "profile", openProfile);
  const facts = await describeFile(model);
  const measured = measuredEntry(facts);
  const mismatch = profileMismatch(profile.profile, measured);
  if (mismatch !== null) throw new InvalidError("profile.other", `the profile: ${mismatch}`);
  return {
    modelId: args.text("model-id") ?? basename(model).replace(/\.gguf$/i, ""),
    ...measured,
    generation: generationPolicy(asked(args), facts.contextTokens),
    profile: profile.digest,
  };
}

export function runAdd(argv: string[]): Promise<number> {
  return runSiteCommand(argv, {
    help: addHelp,
    options: addOptions,
    run: async (args) => {
      const { chain, before } = basis(args);
      need(args, "out");
      const entry = await draftedEntry(args);
      const others = before?.entries.filter(({ modelId }) => modelId !== entry.modelId) ?? [];
      return writeDraft(args, chain, before, [...others, entry]);
    },
  });
}

function inForce(args: Arguments): { chain: RootChain; before: WhitelistContents } {
  need(args, "whitelist");
  const { chain, before } = basis(args);
  if (before === null) throw new InvalidError("whitelist.none", "there is no whitelist in force");
  return { chain, before };
}

export function runRemove(argv: string[]): Promise<number> {
  return runSiteCommand(argv, {
    help: removeHelp,
    options,
    run: (args) => {
      const { chain, before } = inForce(args);
      const id = need(args, "model-id");
      const left = before.entries.filter(({ modelId }) => modelId !== id);
      if (left.length === before.entries.length) {
        throw new InvalidError("whitelist.model-id", `the whitelist in force has no model ${id}`);
      }
      return Promise.resolve(writeDraft(args, chain, before, left));
    },
  });
}

export function runRenew(argv: string[]): Promise<number> {
  return runSiteCommand(argv, {
    help: renewHelp,
    options,
    run: (args) => {
      const { chain, before } = inForce(args);
      return Promise.resolve(writeDraft(args, chain, before, before.entries));
    },
  });
}
