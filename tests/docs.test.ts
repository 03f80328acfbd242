/**
 * The documents tell the truth about names: every file, symbol, command and link that they mention
 * exists. What they say in sentences, people have to check.
 */
import assert from "node:assert/strict";
import { existsSync, globSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { test } from "node:test";

interface Document {
  readonly path: string;
  readonly text: string;
}

const documents: Document[] = globSync(["*.md", "docs/**/*.md", "spec/*.md", "models/*.md"])
  .sort()
  .map((path) => ({ path: path.replaceAll("\\", "/"), text: readFileSync(path, "utf8") }));

/** A backticked path from the repository's root, with the symbol or words after `#`. */
const citation = /`((?:src|spec|docs|tests|models|bench)\/[^`#\s]*)(?:#([^`\n]+))?`/g;
const link = /\]\(([^)\s]+)\)/g;
/** Key derivation names (`weir ring/1`) look alike and are none. */
const command = /`(?:\.\/)?weir ([a-z][a-z-]*)\b(?![^`\n]*\/1)/g;

/** `Class.method` names both; anything that is no identifier is looked for as it stands. */
function holds(text: string, symbol: string): boolean {
  if (!/^[\w.]+$/.test(symbol)) return text.includes(symbol);
  return symbol.split(".").every((name) => new RegExp(`\\b${name}\\b`).test(text));
}

function complaintAboutCitation(path: string, symbol: string | undefined): string | null {
  if (path.includes("*")) return globSync(path).length > 0 ? null : `${path} matches nothing`;
  if (!existsSync(path)) return `${path} does not exist`;
  if (symbol === undefined || holds(readFileSync(path, "utf8"), symbol)) return null;
  return `${path} has no ${symbol}`;
}

function complaintAboutLink(document: Document, target: string): string | null {
  if (/^[a-z]+:/.test(target) || target.startsWith("#")) return null;
  const path = normalize(join(dirname(document.path), target.split("#")[0] ?? ""));
  return existsSync(path) ? null : `the link ${target} leads nowhere`;
}

function commands(): Set<string> {
  const text = readFileSync("src/bin/weir.ts", "utf8");
  return new Set([...text.matchAll(/name: "([a-z-]+)"/g)].map((match) => match[1] ?? ""));
}

function complaintsAbout(document: Document): string[] {
  const known = commands();
  const found = [
    ...[...document.text.matchAll(citation)].map((m) => complaintAboutCitation(m[1] ?? "", m[2])),
    ...[...document.text.matchAll(link)].map((m) => complaintAboutLink(document, m[1] ?? "")),
    ...[...document.text.matchAll(command)].map((m) =>
      known.has(m[1] ?? "") ? null : `there is no command weir ${m[1] ?? ""}`,
    ),
  ];
  return found
    .filter((complaint) => complaint !== null)
    .map((complaint) => `${document.path}: ${complaint}`);
}

test("docs: every path, symbol, link and command that a document names exists", () => {
  assert.deepEqual(documents.flatMap(complaintsAbout), []);
});

test("docs: the check finds what does not exist", () => {
  const text =
    "`src/gateway/mode.ts#nextMode` `src/gateway/mode.ts#noSuchName` `src/nowhere.ts` " +
    "[here](TRUST.md) [there](NOWHERE.md) `weir up` `weir fly` `tests/path/*.test.ts` `spec/*.txt`";
  assert.deepEqual(complaintsAbout({ path: "docs/forged.md", text }), [
    "docs/forged.md: src/gateway/mode.ts has no noSuchName",
    "docs/forged.md: src/nowhere.ts does not exist",
    "docs/forged.md: spec/*.txt matches nothing",
    "docs/forged.md: the link NOWHERE.md leads nowhere",
    "docs/forged.md: there is no command weir fly",
  ]);
});

test("docs: the import table of ARCHITECTURE.md is the one that tidy enforces", () => {
  const architecture = readFileSync("docs/ARCHITECTURE.md", "utf8");
  const section = /Import table([^#]*)/.exec(architecture)?.[1] ?? "";
  const tidy = readFileSync("tests/tidy.test.ts", "utf8");
  const inCode = /const table[^{]*\{([^}]*)\}/.exec(tidy)?.[1] ?? "";
  const rowsInCode = [...inCode.matchAll(/(\w+): \[([^\]]*)\]/g)].map(
    ([, folder = "", list = ""]) => [folder, list.replaceAll('"', "")],
  );
  const rows = [...section.matchAll(/^\| `(\w+)\/` \| ([^|]*) \|$/gm)].map(
    ([, folder = "", list = ""]) => [folder, list.trim()],
  );
  const inWords = new Map([
    ["nothing of ours", ""],
    ["everything", "*"],
  ]);
  assert.ok(rows.length > 0, "the table was found");
  assert.deepEqual(
    rows.map(([folder, list = ""]) => [folder, inWords.get(list) ?? list]),
    rowsInCode,
  );
});

test("docs: README and ARCHITECTURE stay short", () => {
  const lines = (path: string): number => readFileSync(path, "utf8").split("\n").length - 1;
  assert.ok(lines("README.md") <= 150, `README.md has ${lines("README.md")} lines`);
  const architecture = lines("docs/ARCHITECTURE.md");
  assert.ok(architecture <= 300, `docs/ARCHITECTURE.md has ${architecture} lines`);
});
