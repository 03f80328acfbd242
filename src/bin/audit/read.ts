/** Reads a bundle and party key files from disk. What is a link or no plain file is not part of a bundle. */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join, relative, sep } from "node:path";
import { InvalidError } from "../../base/assert.ts";
import { checkParties, parsePartyKeys, type PartyKeys } from "../../format/evidence.ts";
import { UsageError } from "../site/arguments.ts";

/** All plain files below a folder, by their paths with `/`. Throws UsageError when it is no folder. */
export function readBundle(folder: string): Map<string, Buffer> {
  if (!(statSync(folder, { throwIfNoEntry: false })?.isDirectory() ?? false)) {
    throw new UsageError(`${folder} is no folder of evidence`);
  }
  const files = new Map<string, Buffer>();
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    files.set(relative(folder, path).split(sep).join("/"), readFileSync(path));
  }
  return files;
}

function readParty(path: string): PartyKeys {
  try {
    return parsePartyKeys(readFileSync(path));
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new UsageError(`the key file ${path}: ${why}`);
  }
}

/** Both parties' key files. Throws UsageError: the audit has nothing to stand on. */
export function readParties(pathA: string, pathB: string): { a: PartyKeys; b: PartyKeys } {
  const parties = { a: readParty(pathA), b: readParty(pathB) };
  try {
    checkParties(parties.a, parties.b);
  } catch (error) {
    if (!(error instanceof InvalidError)) throw error;
    throw new UsageError(error.message);
  }
  return parties;
}
