/** `weir root`: who the two parties are; made once, changed by both, verified by everybody. */
import { randomBytes } from "node:crypto";
import { InvalidError } from "../../base/assert.ts";
import { privateKeyFromSeed, publicKeyHex } from "../../base/sign.ts";
import {
  encodeRootLines,
  parseTrustRoot,
  rootGap,
  sealTrustRoot,
  signedBy,
  trustRootType,
  type RootContents,
  type RootParty,
} from "../../format/trust-root.ts";
import { UsageError, type Arguments } from "../site/arguments.ts";
import { writeAtomic } from "../site/files.ts";
import { table } from "../site/screen.ts";
import { print, printJson, runSiteCommand } from "./common.ts";
import { runSubcommand } from "./subcommands.ts";
import {
  addSignature,
  expiryOf,
  need,
  readKey,
  readRootDraft,
  wordOf,
  writeNew,
  type RootDraft,
} from "./trust-files.ts";
import { rootChanges, rootText, signatureRows } from "./trust-text.ts";

const help = `Usage: weir root COMMAND [OPTIONS]

The trust root: the keys of the two parties, and how many of each must sign. Each party works offline, on its own
machine, with its own key:

  key         make a signing key for a person
  init        draft the first version, from the public keys of both parties
  propose     draft the next version: keys, thresholds or time changed
  sign        add one signature to the last version of a root file
  verify      check a root file as a gateway does
  show        show a root file, its signatures and what its last version changes

A version counts only with enough keys of BOTH parties, under the version before it and under itself.
Each has --help. How two parties do it together: docs/operating/whitelist.md.
`;

const keyHelp = `Usage: weir root key --out FILE

Makes an Ed25519 signing key: 64 hex digits in FILE, mode 0600; prints the public key. Nobody else has a copy.

  --out FILE    where it is kept; an existing file is not written over (required)
  --json        machine-readable output
`;

const partyHelp = `  --a-name NAME         name of party A
  --a-key HEX           a public key of party A; repeat it for each of at most 8
  --a-whitelist K       how many of them must sign a whitelist (default 1)
  --a-root K            how many of them must sign a root (default: as for whitelists)
  --a-operator HEX      a key for administrative requests; may be repeated
  --b-...               the same for party B
  --days N              it lasts so many days (default 3650); or --until 2036-01-31
  --out FILE            the draft; an existing file is not written over (required)
  --json                machine-readable output
`;

const initHelp = `Usage: weir root init --a-name N --a-key HEX --b-name N --b-key HEX --out FILE [OPTIONS]

Drafts version 1 of a trust root. Its digest is the anchor: both parties compare it by voice, and every gateway and
recomputer is told it.

${partyHelp}`;

const proposeHelp = `Usage: weir root propose FILE --out FILE [OPTIONS]

Drafts the next version of a root file. What is not named stays; a list that is named replaces the old one.

${partyHelp}`;

const signHelp = `Usage: weir root sign FILE --key SEED [OPTIONS]

Adds one signature to the last version in a root file, in place. Look at it first: weir root show FILE.

  --key FILE         the signing key (weir root key; required)
  --root-anchor HEX  refuse a file that does not begin with this digest
  --digest HEX       sign only if the last version has this digest: the one that was shown
  --json             machine-readable output
`;

const verifyHelp = `Usage: weir root verify FILE --root-anchor HEX

Checks every version of a root file. Exit code 1 and the reason, if one does not count.

  --root-anchor HEX  the digest of version 1, as both parties noted it (required)
  --json             machine-readable output
`;

const showHelp = `Usage: weir root show FILE [--root-anchor HEX] [--json]

Shows the last version of a root file, who has signed it, and what it changes. Exit code 1 if signatures lack.
`;

const partyOptions = {
  "a-name": { type: "string" },
  "a-key": { type: "string", multiple: true },
  "a-whitelist": { type: "string" },
  "a-root": { type: "string" },
  "a-operator": { type: "string", multiple: true },
  "b-name": { type: "string" },
  "b-key": { type: "string", multiple: true },
  "b-whitelist": { type: "string" },
  "b-root": { type: "string" },
  "b-operator": { type: "string", multiple: true },
  days: { type: "string" },
  until: { type: "string" },
  out: { type: "string" },
} as const;

const seedBytes = 32;

function runKey(argv: string[]): Promise<number> {
  return runSiteCommand(argv, {
    help: keyHelp,
    options: { out: { type: "string" } },
    run: (args) => {
      const file = need(args, "out");
      const seed = randomBytes(seedBytes);
      const publicKey = publicKeyHex(privateKeyFromSeed(seed));
      writeNew(file, `${seed.toString("hex")}\n`, 0o600);
      if (args.flag("json")) printJson({ file, publicKey });
      else print(`Signing key in ${file}; keep it, and give away only this:\n\n${publicKey}\n`);
      return Promise.resolve(0);
    },
  });
}

/** A party of the next version: what is named, else what was. */
function partyFrom(args: Arguments, side: "a" | "b", before: RootParty | null): RootParty {
  const name = args.text(`${side}-name`) ?? before?.name;
  if (name === undefined) throw new UsageError(`--${side}-name is required`);
  const given = args.list(`${side}-key`);
  const keys = given.length > 0 ? given : (before?.keys ?? []);
  if (keys.length === 0) throw new UsageError(`--${side}-key is required`);
  const operators = args.list(`${side}-operator`);
  const whitelist = args.number(`${side}-whitelist`, 1, 8) ?? before?.thresholds.whitelist ?? 1;
  const root = args.number(`${side}-root`, 1, 8) ?? before?.thresholds.root ?? whitelist;
  return {
    name,
    keys,
    thresholds: { whitelist, root },
    operators: operators.length > 0 ? operators : (before?.operators ?? []),
  };
}

function writeRoot(args: Arguments, before: RootDraft | null): number {
  const out = need(args, "out");
  const contents: RootContents = {
    version: (before?.root.version ?? 0) + 1,
    expiresMs: expiryOf(args, 3650),
    a: partyFrom(args, "a", before?.root.a ?? null),
    b: partyFrom(args, "b", before?.root.b ?? null),
  };
  const envelope = sealTrustRoot(contents, []);
  // Read as others will read it, before anything is on disk.
  const root = parseTrustRoot(envelope.payload);
  writeNew(out, encodeRootLines([...(before?.envelopes ?? []), envelope]));
  const digest = root.digest.toString("hex");
  const changes = before === null ? [] : rootChanges(before.root, root);
  if (args.flag("json")) {
    printJson({ file: out, version: root.version, digest, changes });
    return 0;
  }
  print(
    `Draft of root version ${root.version} in ${out}; nobody has signed it.\n\n${rootText(root)}`,
  );
  if (before === null) print("\nThe digest is the anchor: compare it with the other party's.\n");
  for (const line of changes) print(`${line}\n`);
  return 0;
}

function runInit(argv: string[]): Promise<number> {
  return runSiteCommand(argv, {
    help: initHelp,
    options: partyOptions,
    run: (args) => Promise.resolve(writeRoot(args, null)),
  });
}

function runPropose(argv: string[]): Promise<number> {
  return runSiteCommand(argv, {
    help: proposeHelp,
    options: { ...partyOptions, "root-anchor": { type: "string" } },
    wordsMax: 1,
    run: (args) => {
      const file = wordOf(args, "the root file");
      const before = readRootDraft(file, args.text("root-anchor") ?? null);
      if (before.gap !== null) {
        throw new InvalidError("root.unsigned", `${file} does not count yet: ${before.gap}`);
      }
      return Promise.resolve(writeRoot(args, before));
    },
  });
}

function runSign(argv: string[]): Promise<number> {
  return runSiteCommand(argv, {
    help: signHelp,
    options: {
      key: { type: "string" },
      "root-anchor": { type: "string" },
      digest: { type: "string" },
    },
    wordsMax: 1,
    run: (args) => {
      const file = wordOf(args, "the root file");
      const draft = readRootDraft(file, args.text("root-anchor") ?? null);
      const key = readKey(need(args, "key"));
      const hex = publicKeyHex(key);
      const roots = draft.before === null ? [draft.root] : [draft.before, draft.root];
      const parties = roots.flatMap(({ a, b }) => [a, b]);
      const party = parties.find(({ keys }) => keys.includes(hex));
      if (party === undefined) {
        const text = `neither version ${draft.root.version} nor the one before names the key ${hex}`;
        throw new InvalidError("sign.stranger", text);
      }
      const digest = draft.root.digest.toString("hex");
      const wanted = args.text("digest");
      if (wanted !== undefined && wanted !== digest) {
        throw new InvalidError("sign.digest", `the last version is ${digest}, not ${wanted}`);
      }
      const signed = addSignature(draft.last, key, file);
      const missing = rootGap(signed, draft.before);
      writeAtomic(file, encodeRootLines([...draft.envelopes.slice(0, -1), signed]));
      const { version } = draft.root;
      if (args.flag("json")) printJson({ file, version, digest, party: party.name, missing });
      else {
        print(`${party.name} has signed root version ${version}, digest ${digest}.\n`);
        print(missing === null ? "It is complete.\n" : `It is not complete: ${missing}.\n`);
      }
      return Promise.resolve(0);
    },
  });
}

function runVerify(argv: string[]): Promise<number> {
  return runSiteCommand(argv, {
    help: verifyHelp,
    options: { "root-anchor": { type: "string" } },
    wordsMax: 1,
    run: (args) => {
      const file = wordOf(args, "the root file");
      const draft = readRootDraft(file, need(args, "root-anchor"));
      const { root, gap, anchor } = draft;
      if (gap !== null) throw new InvalidError("root.unsigned", `${file}: ${gap}`);
      if (root.expiresMs <= Date.now()) {
        throw new InvalidError("root.expired", `${file}: version ${root.version} has expired`);
      }
      const digest = root.digest.toString("hex");
      if (args.flag("json")) printJson({ file, version: root.version, digest, anchor });
      else print(`Root version ${root.version} is good; ${draft.envelopes.length} in all.\n`);
      return Promise.resolve(0);
    },
  });
}

function runShow(argv: string[]): Promise<number> {
  return runSiteCommand(argv, {
    help: showHelp,
    options: { "root-anchor": { type: "string" } },
    wordsMax: 1,
    run: (args) => {
      const draft = readRootDraft(wordOf(args, "the root file"), args.text("root-anchor") ?? null);
      const { root, before, last, gap, anchor } = draft;
      const changes = before === null ? [] : rootChanges(before, root);
      if (args.flag("json")) {
        printJson({ ...root, digest: root.digest.toString("hex"), anchor, missing: gap, changes });
        return Promise.resolve(gap === null ? 0 : 1);
      }
      print(gap === null ? "Both parties have signed it.\n" : `NOT IN FORCE: ${gap}.\n`);
      print(`${rootText(root)}${table([["Anchor", anchor]])}`);
      for (const under of before === null ? [root] : [before, root]) {
        const rows = signatureRows(under, "root", signedBy(last, trustRootType, under));
        print(`\nSigned, by the keys of version ${under.version}:\n${table(rows, "  ")}`);
      }
      if (changes.length > 0) print(`\nAgainst version ${before?.version ?? 0}:\n`);
      for (const line of changes) print(`${line}\n`);
      return Promise.resolve(gap === null ? 0 : 1);
    },
  });
}

/** `weir root`. */
export function runRoot(argv: string[]): Promise<number> {
  const commands = {
    key: runKey,
    init: runInit,
    propose: runPropose,
    sign: runSign,
    verify: runVerify,
    show: runShow,
  };
  return runSubcommand("root", argv, help, commands);
}
