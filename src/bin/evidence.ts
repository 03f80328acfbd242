/** `weir evidence`: makes bundles that `weir audit` checks, and the parties' key files. spec/evidence.md. */
import {
  existsSync,
  fsyncSync,
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { InvalidError } from "../base/assert.ts";
import { encodeEvidenceManifest, manifestPath, parsePartyKeys } from "../format/evidence.ts";
import { parseTag } from "../format/tag.ts";
import { auditBundle } from "../log/audit.ts";
import { readParties } from "./audit/read.ts";
import { commonHelp, print, printJson, runSiteCommand } from "./commands/common.ts";
import { runSubcommand } from "./commands/subcommands.ts";
import { readKey } from "./commands/trust-files.ts";
import { gather, type Gathered, type GatherOptions } from "./evidence/gather.ts";
import { partyKeysText } from "./evidence/keys.ts";
import { UsageError, type Arguments } from "./site/arguments.ts";
import { readSigningKey, seedFile } from "./site/keys.ts";
import { dataPaths, type DataPaths } from "./site/paths.ts";
import { plain, size } from "./site/screen.ts";

const help = `Usage: weir evidence COMMAND [OPTIONS]

Evidence that an inspector carries to another machine and checks there with "weir audit":

  export      make a bundle of one gateway's log and what belongs to it
  keys        print a party's key file: the public keys that an audit starts from

Each has --help.
`;

const exportHelp = `Usage: weir evidence export FOLDER [OPTIONS]

Makes FOLDER, a bundle of evidence about one gateway, from a site that runs or is stopped. FOLDER must not exist; it
appears whole or not at all.

  --gateway NAME     whose log (default g1)
  --size N           up to the newest cosigned checkpoint of at most N entries
  --disclose TAG     show the texts of this pair; may be repeated. Default: of every pair that FAILed
  --disclose none    show no texts
  --whitelist FILE   a whitelist that was in force; may be repeated. The site's is added
  --boot-manifest F  a boot manifest that was in force; may be repeated. The site's is added
  --tiles URL        read the log from its publisher, http://HOST:PORT/GATEWAY
  --log VKEY         its key (default: keys/log-NAME.vkey)
  --trust-root FILE  the trust root (default: the site's)
  --db FILE          the recomputer's file (default: the site's)
  --order-key FILE   the recomputer's key, which signs what it says (default: the site's)
  --party-a FILE     the parties' key files, which say whose cosignatures count
  --party-b FILE     (default: of the keys that lie in the site's folder)
${commonHelp}`;

const keysHelp = `Usage: weir evidence keys PARTY [OPTIONS]

Prints the key file of party a or b of a trial site, where both parties' keys lie in one folder. Parties who keep
their own keys write the file themselves: docs/operating/evidence.md.

${commonHelp}`;

const text = { type: "string" } as const;
const several = { type: "string", multiple: true } as const;
const exportOptions = {
  ...{
    gateway: text,
    size: text,
    disclose: several,
    whitelist: several,
    "boot-manifest": several,
    tiles: text,
    log: text,
  },
  ...{ "trust-root": text, db: text, "order-key": text, "party-a": text, "party-b": text },
} as const;

function partiesOf(args: Arguments, paths: DataPaths): GatherOptions["parties"] {
  const [a, b] = [args.text("party-a"), args.text("party-b")];
  if (a !== undefined && b !== undefined) return readParties(a, b);
  if (a !== undefined || b !== undefined)
    throw new UsageError("--party-a and --party-b are given together");
  const own = (party: "a" | "b"): ReturnType<typeof parsePartyKeys> =>
    parsePartyKeys(Buffer.from(partyKeysText(paths, party)));
  return { a: own("a"), b: own("b") };
}

function discloseOf(args: Arguments): GatherOptions["disclose"] {
  const words = args.list("disclose");
  if (words.length === 0) return "fails";
  if (words.length === 1 && words[0] === "none") return [];
  return words.map((word) => parseTag(word).tag.toString(16).padStart(16, "0"));
}

function orderKeyOf(args: Arguments, paths: DataPaths): GatherOptions["orderKey"] {
  const given = args.text("order-key");
  if (given !== undefined) return readKey(given);
  return existsSync(seedFile(paths.keys, "recomputer-order"))
    ? readSigningKey(paths.keys, "recomputer-order")
    : null;
}

function progress(done: number, of: number): void {
  if (process.stderr.isTTY) process.stderr.write(`\rentries: ${done} of ${of}\x1b[K\r`);
}

function optionsOf(args: Arguments, folder: string): GatherOptions {
  const paths = dataPaths(resolve(folder));
  const sizeMax = args.number("size", 1, Number.MAX_SAFE_INTEGER);
  return {
    ...{ paths, gateway: args.text("gateway") ?? "g1", parties: partiesOf(args, paths) },
    ...{ tiles: args.text("tiles") ?? null, vkey: args.text("log") ?? null },
    ...{
      trustRoot: args.text("trust-root") ?? null,
      whitelists: args.list("whitelist"),
      bootManifests: args.list("boot-manifest"),
    },
    ...{ db: args.text("db") ?? null, orderKey: orderKeyOf(args, paths) },
    ...{ sizeMax: sizeMax ?? null, disclose: discloseOf(args), nowMs: Date.now(), progress },
  };
}

function writeDurable(path: string, bytes: Uint8Array): void {
  mkdirSync(dirname(path), { recursive: true });
  const file = openSync(path, "wx", 0o644);
  try {
    writeFileSync(file, bytes);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

/** Writes a bundle whole or not at all: a folder beside it, renamed when all of it is durable. */
export function writeBundle(folder: string, files: ReadonlyMap<string, Uint8Array>): void {
  const target = resolve(folder);
  if (existsSync(target)) throw new InvalidError("file.exists", `${folder} is there already`);
  const draft = mkdtempSync(join(dirname(target), `.${basename(target)}-`));
  // A stop in the middle leaves nothing behind.
  const remove = (): void => {
    rmSync(draft, { recursive: true, force: true });
  };
  process.once("exit", remove);
  try {
    for (const [path, bytes] of files) writeDurable(join(draft, path), bytes);
    renameSync(draft, target);
  } finally {
    remove();
    process.removeListener("exit", remove);
  }
}

function tell(folder: string, { files, lacking }: Gathered, unchecked: readonly string[]): void {
  const bytes = [...files.values()].reduce((sum, content) => sum + content.length, 0);
  print(`${folder}: ${files.size} files, ${size(bytes)}; sound, by "weir audit" here\n`);
  for (const line of lacking) print(`  lacks  ${plain(line)}\n`);
  for (const line of unchecked) print(`  cannot be checked  ${plain(line)}\n`);
}

function runExport(argv: string[]): Promise<number> {
  return runSiteCommand(argv, {
    help: exportHelp,
    options: exportOptions,
    wordsMax: 1,
    run: async (args, data) => {
      const [folder] = args.words;
      if (folder === undefined) throw new UsageError("name the folder that the bundle is to be");
      if (existsSync(folder)) throw new InvalidError("file.exists", `${folder} is there already`);
      for (const signal of ["SIGINT", "SIGTERM"] as const)
        process.once(signal, () => process.exit(130));
      const options = optionsOf(args, data);
      const gathered = await gather(options);
      const { files, lacking } = gathered;
      const head = { gateway: options.gateway, createdMs: options.nowMs };
      const whole = new Map([
        [manifestPath, Buffer.from(encodeEvidenceManifest(head, files))] as const,
        ...files,
      ]);
      // What is wrong is written all the same: it is evidence.
      const { failure, unchecked } = auditBundle(whole, options.parties);
      writeBundle(folder, whole);
      if (args.flag("json")) {
        printJson({ folder, files: [...whole.keys()], lacking, failure, unchecked });
      } else if (failure === null) tell(folder, { ...gathered, files }, unchecked);
      else
        print(
          `${folder}: written, and UNSOUND: ${failure.code} at ${failure.where}: ${plain(failure.why)}\n`,
        );
      return failure === null ? 0 : 1;
    },
  });
}

function runKeys(argv: string[]): Promise<number> {
  return runSiteCommand(argv, {
    help: keysHelp,
    wordsMax: 1,
    run: (args, data) => {
      const [party] = args.words;
      if (party !== "a" && party !== "b") throw new UsageError('name the party: "a" or "b"');
      const keys = partyKeysText(dataPaths(resolve(data)), party);
      if (args.flag("json")) printJson({ party, lines: keys.trimEnd().split("\n") });
      else print(keys);
      return Promise.resolve(0);
    },
  });
}

/** `weir evidence`. */
export function runEvidence(argv: string[]): Promise<number> {
  return runSubcommand("evidence", argv, help, { export: runExport, keys: runKeys });
}
