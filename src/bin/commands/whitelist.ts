/** `weir whitelist`: what both parties allowed, with their signatures checked here and now. */
import { existsSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import { InvalidError } from "../../base/assert.ts";
import { publicKeyHex } from "../../base/sign.ts";
import { entryJson, openWhitelist, type WhitelistEntry } from "../../format/whitelist.ts";
import { UsageError, type Arguments } from "../site/arguments.ts";
import { readSigningKey } from "../site/keys.ts";
import { dataPaths } from "../site/paths.ts";
import { size, table } from "../site/screen.ts";
import { commonHelp, print, printJson, runSiteCommand } from "./common.ts";

const help = `Usage: weir whitelist [OPTIONS]

Shows a whitelist after checking the signatures of both parties.

  --file FILE   this whitelist instead of the site's
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

function entryText(entry: WhitelistEntry): string {
  const { weights, generation, calibration } = entry;
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
    [
      "Verdicts",
      `pair mean to ${calibration.meanMax} + ${calibration.meanSpread}/sqrt(tokens), ` +
        `token to ${calibration.tokenMax}, edge ${calibration.edge}, clip ${calibration.clip} nats`,
    ],
    ["  from", calibration.source],
  ]);
}

/** `weir whitelist`. */
export function runWhitelist(argv: string[]): Promise<number> {
  return runSiteCommand(argv, {
    help,
    options: {
      file: { type: "string" },
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
      if (args.flag("json")) {
        const entries = whitelist.entries.map((entry) => ({
          ...entryJson(entry),
          digest: entry.digest.toString("hex"),
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
        for (const entry of whitelist.entries) print(`\n${entryText(entry)}`);
      }
      return Promise.resolve(0);
    },
  });
}
