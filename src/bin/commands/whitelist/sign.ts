/** `weir whitelist sign` and `verify`: one party's signature on a draft, and whether both have given theirs. */
import { InvalidError } from "../../../base/assert.ts";
import { publicKeyHex } from "../../../base/sign.ts";
import { expiryAt } from "../../../format/trust-memory.ts";
import { quorumGap, signedBy, type TrustRoot } from "../../../format/trust-root.ts";
import { openWhitelist, parseWhitelist, whitelistType } from "../../../format/whitelist.ts";
import { table } from "../../site/screen.ts";
import { writeAtomic } from "../../site/files.ts";
import { readRootChain } from "../../trust.ts";
import { print, printJson, runSiteCommand } from "../common.ts";
import {
  addSignature,
  encodeFile,
  need,
  readEnvelope,
  readKey,
  readNamed,
  wordOf,
} from "../trust-files.ts";
import { day, signatureRows, whitelistChanges } from "../trust-text.ts";
import { readInForce } from "./draft.ts";

const signHelp = `Usage: weir whitelist sign FILE --key SEED --trust-root FILE [OPTIONS]

Adds one party's signature to a draft, in place. Look at it first: weir whitelist show FILE --against CURRENT.

  --key FILE         the signing key: 64 hex digits, readable by its owner alone (weir root key; required)
  --trust-root FILE  the root that names the keys (required)
  --root-anchor HEX  refuse a root that does not begin with this digest
  --digest HEX       sign only if the whitelist has this digest: the one that was shown
  --json             machine-readable output
`;

const verifyHelp = `Usage: weir whitelist verify FILE --trust-root FILE --root-anchor HEX [--against CURRENT]

Checks what a gateway checks: enough signatures of both parties under this root, not expired, and, with
--against, newer than the whitelist in force. Exit code 1 and the reason, if not.

  --trust-root FILE  the root (required)
  --root-anchor HEX  the digest of its first version, as both parties noted it (required)
  --against FILE     the whitelist in force
  --json             machine-readable output
`;

const options = {
  "trust-root": { type: "string" },
  "root-anchor": { type: "string" },
} as const;

/** Refuses a key that the root does not have. */
function partyOf(root: TrustRoot, key: string): string {
  const party = [root.a, root.b].find(({ keys }) => keys.includes(key));
  if (party !== undefined) return party.name;
  throw new InvalidError(
    "sign.stranger",
    `root version ${root.version} does not name the key ${key}: its signature would count for nobody`,
  );
}

export function runSign(argv: string[]): Promise<number> {
  return runSiteCommand(argv, {
    help: signHelp,
    options: { ...options, key: { type: "string" }, digest: { type: "string" } },
    wordsMax: 1,
    run: (args) => {
      const file = wordOf(args, "the file to sign");
      const { current } = readRootChain(need(args, "trust-root"), args.text("root-anchor") ?? null);
      const key = readKey(need(args, "key"));
      const party = partyOf(current, publicKeyHex(key));
      const envelope = readEnvelope(file, "whitelist");
      const { version, rootVersion, digest } = readNamed(file, "whitelist", () =>
        parseWhitelist(envelope.payload),
      );
      const hex = digest.toString("hex");
      const wanted = args.text("digest");
      if (wanted !== undefined && wanted !== hex) {
        throw new InvalidError("sign.digest", `${file} has the digest ${hex}, not ${wanted}`);
      }
      if (rootVersion !== current.version) {
        throw new InvalidError(
          "whitelist.root",
          `${file} is for root version ${rootVersion}, and the root is version ${current.version}`,
        );
      }
      const signed = addSignature(envelope, key, file);
      const missing = quorumGap(current, "whitelist", signedBy(signed, whitelistType, current));
      writeAtomic(file, encodeFile(signed));
      if (args.flag("json")) {
        printJson({ file, version, digest: hex, party, complete: missing === null, missing });
      } else {
        print(`${party} has signed whitelist version ${version}, digest ${hex}.\n`);
        print(missing === null ? "It is complete.\n" : `It is not complete: ${missing}.\n`);
      }
      return Promise.resolve(0);
    },
  });
}

export function runVerify(argv: string[]): Promise<number> {
  return runSiteCommand(argv, {
    help: verifyHelp,
    options: { ...options, against: { type: "string" } },
    wordsMax: 1,
    run: (args) => {
      const file = wordOf(args, "the whitelist");
      const chain = readRootChain(need(args, "trust-root"), need(args, "root-anchor"));
      const { current } = chain;
      const whitelist = readNamed(file, "whitelist", (bytes) => openWhitelist(bytes, current));
      const expiresMs = Math.min(whitelist.expiresMs, current.expiresMs);
      const { over } = expiryAt(expiresMs, Date.now(), 0);
      if (over !== null) throw new InvalidError("whitelist.expired", `${file}: ${over}`);
      const against = args.text("against");
      const before = against === undefined ? null : readInForce(against, chain);
      if (before !== null && whitelist.version <= before.version) {
        throw new InvalidError(
          "trust.rollback",
          `${file} is version ${whitelist.version}, and version ${before.version} is in force`,
        );
      }
      const digest = whitelist.digest.toString("hex");
      const changes = before === null ? [] : whitelistChanges(before, whitelist);
      if (args.flag("json")) {
        const { version, rootVersion, signed } = whitelist;
        printJson({ file, version, rootVersion, expiresMs, digest, signed, changes });
        return Promise.resolve(0);
      }
      print(`Whitelist version ${whitelist.version} is good until ${day(expiresMs)}.\n`);
      print(table([["Digest", digest], ...signatureRows(current, "whitelist", whitelist.signed)]));
      for (const line of changes) print(`${line}\n`);
      return Promise.resolve(0);
    },
  });
}
