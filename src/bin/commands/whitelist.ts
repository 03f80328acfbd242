/** `weir whitelist`: what both parties allowed, with their signatures checked here and now. */
import { existsSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import { InvalidError } from "../../base/assert.ts";
import { publicKeyHex } from "../../base/sign.ts";
import { openProfile, type ProfileFile } from "../../format/profile.ts";
import { entryJson, openWhitelist, type WhitelistEntry } from "../../format/whitelist.ts";
import { UsageError, type Arguments } from "../site/arguments.ts";
import { readSigningKey } from "../site/keys.ts";
import { dataPaths } from "../site/paths.ts";
import { size, table } from "../site/screen.ts";
import { commonHelp, print, printJson, runSiteCommand } from "./common.ts";

const help = `Usage: weir whitelist [OPTIONS]

Shows a whitelist after checking the signatures of both parties.

  --file FILE   this whitelist instead of the site's
  --profile FILE
                the calibration profile that it names (default: the site's)
  --party-a HEX --party-b HEX
                the parties' public keys (default: those of the site's folder)
${commonHelp}`;

function partiesOf(args: Arguments, keys: string): { a: string; b: string } {
  const a = args.text("party-a");
  const b = args.text("party-b");
  if ((a === undefined) !== (b === undefined)) {
    throw new UsageError("--party-a and --party-b go together");
  }
  if (a !== undefined && b !== undefined) return { a, b };
  return {
    a: publicKeyHex(readSigningKey(keys, "party-a")),
    b: publicKeyHex(readSigningKey(keys, "party-b")),
  };
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

function entryText(entry: WhitelistEntry, profile: ProfileFile | null): string {
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
    ["Noise law", entry.noiseLaw],
    [
      "Clients may",
      `temperature to ${generation.temperatureMax}, top_p from ${generation.topPMin}, ` +
        `top_k to ${generation.topKMax}, ${generation.maxTokens} tokens in ${generation.contextTokens} of context`,
    ],
    ...profileRows(entry, profile),
  ]);
}

function readProfile(named: string | undefined, site: string): ProfileFile | null {
  if (named === undefined && !existsSync(site)) return null;
  return openProfile(readFileSync(named ?? site));
}

/** `weir whitelist`. */
export function runWhitelist(argv: string[]): Promise<number> {
  return runSiteCommand(argv, {
    help,
    options: {
      file: { type: "string" },
      profile: { type: "string" },
      "party-a": { type: "string" },
      "party-b": { type: "string" },
    },
    run: (args, folder) => {
      const paths = dataPaths(resolve(folder));
      const file = args.text("file") ?? paths.whitelist;
      if (!existsSync(file))
        throw new InvalidError("whitelist.none", `there is no whitelist ${file}`);
      const parties = partiesOf(args, paths.keys);
      const whitelist = openWhitelist(readFileSync(file), parties);
      const profile = readProfile(args.text("profile"), paths.profile);
      if (args.flag("json")) {
        const entries = whitelist.entries.map((entry) => ({
          ...entryJson(entry),
          digest: entry.digest.toString("hex"),
          profileContents: profile?.digest.equals(entry.profile) === true ? profile.profile : null,
        }));
        printJson({ version: whitelist.version, parties, entries });
      } else {
        print(`Whitelist version ${whitelist.version}; both signatures are good.\n`);
        print(
          table([
            ["Party A", parties.a],
            ["Party B", parties.b],
          ]),
        );
        for (const entry of whitelist.entries) print(`\n${entryText(entry, profile)}`);
      }
      return Promise.resolve(0);
    },
  });
}
