/** `weir whitelist show`: what a whitelist says, who has signed it, and what it changes. */
import { existsSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import { InvalidError } from "../../../base/assert.ts";
import { openProfile, type ProfileFile } from "../../../format/profile.ts";
import { quorumGap, signedBy, type RootChain } from "../../../format/trust-root.ts";
import {
  entryJson,
  parseWhitelist,
  whitelistType,
  type WhitelistContents,
} from "../../../format/whitelist.ts";
import type { Arguments } from "../../site/arguments.ts";
import { readIfThere } from "../../site/files.ts";
import { dataPaths } from "../../site/paths.ts";
import { table } from "../../site/screen.ts";
import { readRootChain } from "../../trust.ts";
import { commonHelp, print, printJson, runSiteCommand } from "../common.ts";
import { readEnvelope, readNamed } from "../trust-files.ts";
import { day, entryText, signatureRows, whitelistChanges } from "../trust-text.ts";
import { readInForce } from "./draft.ts";

const help = `Usage: weir whitelist show [FILE] [OPTIONS]

Shows a whitelist, signed or not, after checking whatever signatures it has. Exit code 1 if it is not in force
under the root: signatures that lack are named.

  --trust-root FILE  the root (default: the site's)
  --root-anchor HEX  the digest of the root's first version (default: what the site noted)
  --against FILE     also show what it changes against this whitelist
  --profile FILE     the calibration profile that it names (default: the site's)
${commonHelp}`;

interface Shown {
  readonly file: string;
  readonly chain: RootChain;
  readonly contents: WhitelistContents;
  readonly signatures: readonly string[][];
  readonly missing: string | null;
  readonly changes: readonly string[];
  readonly profile: ProfileFile | null;
}

function readProfile(named: string | undefined, site: string): ProfileFile | null {
  if (named === undefined && !existsSync(site)) return null;
  return openProfile(readFileSync(named ?? site));
}

function look(args: Arguments, folder: string): Shown {
  const paths = dataPaths(resolve(folder));
  const file = args.words[0] ?? paths.whitelist;
  if (!existsSync(file)) throw new InvalidError("whitelist.none", `there is no whitelist ${file}`);
  const given = args.text("trust-root");
  const noted = given === undefined ? readIfThere(paths.anchor)?.trim() : undefined;
  const chain = readRootChain(given ?? paths.trustRoot, args.text("root-anchor") ?? noted ?? null);
  const envelope = readEnvelope(file, "whitelist");
  const { current } = chain;
  const signed = readNamed(file, "whitelist", () => signedBy(envelope, whitelistType, current));
  const contents = readNamed(file, "whitelist", () => parseWhitelist(envelope.payload));
  const stale =
    contents.rootVersion === current.version
      ? null
      : `it is for root version ${contents.rootVersion}, and the root is version ${current.version}`;
  const against = args.text("against");
  return {
    file,
    chain,
    contents,
    signatures: signatureRows(current, "whitelist", signed),
    missing: stale ?? quorumGap(current, "whitelist", signed),
    changes: against === undefined ? [] : whitelistChanges(readInForce(against, chain), contents),
    profile: readProfile(args.text("profile"), paths.profile),
  };
}

function printShown({ contents, chain, signatures, missing, changes, profile }: Shown): void {
  const { version, rootVersion, expiresMs, digest, entries } = contents;
  print(
    missing === null
      ? `Whitelist version ${version}; both parties have signed it.\n`
      : `Whitelist version ${version} is NOT IN FORCE: ${missing}.\n`,
  );
  const anchor = chain.roots[0]?.digest.toString("hex") ?? "";
  print(
    table([
      ["Digest", digest.toString("hex")],
      ["Until", day(expiresMs)],
      ["Root", `version ${rootVersion}, anchor ${anchor}`],
      ...signatures.map((row) => [...row]),
    ]),
  );
  if (changes.length > 0) print(`\nAgainst the other:\n${changes.join("\n")}\n`);
  for (const entry of entries) print(`\n${entryText(entry, profile)}`);
}

export function runShow(argv: string[]): Promise<number> {
  return runSiteCommand(argv, {
    help,
    options: {
      "trust-root": { type: "string" },
      "root-anchor": { type: "string" },
      against: { type: "string" },
      profile: { type: "string" },
    },
    wordsMax: 1,
    run: (args, folder) => {
      const shown = look(args, folder);
      if (args.flag("json")) {
        const { version, rootVersion, expiresMs, digest, entries } = shown.contents;
        printJson({
          ...{ version, rootVersion, expiresMs, digest: digest.toString("hex") },
          ...{ missing: shown.missing, changes: shown.changes },
          entries: entries.map((entry) => ({
            ...entryJson(entry),
            digest: entry.digest.toString("hex"),
            profileContents:
              shown.profile?.digest.equals(entry.profile) === true ? shown.profile.profile : null,
          })),
        });
      } else printShown(shown);
      return Promise.resolve(shown.missing === null ? 0 : 1);
    },
  });
}
