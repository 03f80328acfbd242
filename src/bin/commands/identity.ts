/** `weir identity`: a certificate for one role, for sites whose roles run on several machines. */
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { InvalidError } from "../../base/assert.ts";
import { peerRoles } from "../../format/wire.ts";
import { UsageError } from "../site/arguments.ts";
import { ensureIdentityFiles } from "../site/keys.ts";
import { dataPaths } from "../site/paths.ts";
import { commonHelp, print, printJson, runSiteCommand } from "./common.ts";

const help = `Usage: weir identity ROLE NAME [OPTIONS]

Issues the certificate ROLE-NAME.crt and its key, signed by the site's authority, and makes that
authority where there is none. Copy the two files and ca.crt to the role's machine as its
--identity folder; ca.key stays where it is. A certificate that is still good is left alone.
ROLE: ${peerRoles.join(", ")}

  --keys DIR    folder of the authority and of what is issued (default: keys/ of --data)
${commonHelp}`;

/** `weir identity`. */
export function runIdentity(argv: string[]): Promise<number> {
  return runSiteCommand(argv, {
    help,
    options: { keys: { type: "string" } },
    wordsMax: 2,
    run: async (args, folder) => {
      const [word, name] = args.words;
      if (word === undefined || name === undefined)
        throw new UsageError("name a role and its name");
      const role = peerRoles.find((candidate) => candidate === word);
      if (role === undefined) throw new UsageError(`"${word}" is none of ${peerRoles.join(", ")}`);
      const keys = resolve(args.text("keys") ?? dataPaths(folder).keys);
      if (existsSync(join(keys, "ca.crt")) && !existsSync(join(keys, "ca.key"))) {
        const text = `${keys} holds ca.crt but not ca.key: issue where the authority's key is`;
        throw new InvalidError("identity.authority", text);
      }
      const made = await ensureIdentityFiles(keys, { role, name }, Date.now());
      const base = join(keys, `${role}-${name}`);
      const files = [`${base}.crt`, `${base}.key`, join(keys, "ca.crt")];
      if (args.flag("json")) printJson({ role, name, made, files });
      else
        print(`${made ? "made" : "still good"}:\n${files.map((file) => `  ${file}\n`).join("")}`);
      return 0;
    },
  });
}
