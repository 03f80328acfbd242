/**
 * `npm run tcb`: the trusted computing base of each process, as its import closure: files, lines and
 * npm packages. Dynamic imports and programs of threads (`*-worker.ts`) count, type-only imports do not.
 */
import { existsSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArguments } from "./site/arguments.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));

const processes: Readonly<Record<string, string>> = {
  rom: "src/boot/rom.ts",
  gateway: "src/bin/gateway.ts",
  server: "src/bin/server-agent.ts",
  depot: "src/bin/depot.ts",
  router: "src/bin/router.ts",
  recomputer: "src/bin/recomputer.ts",
  executor: "src/bin/executor.ts",
  page: "src/bin/dashboard.ts",
};

export interface Closure {
  readonly process: string;
  readonly files: readonly string[];
  readonly lines: number;
  readonly packages: readonly string[];
}

function importsOf(text: string): string[] {
  const found = text.matchAll(
    /^\s*(?:import|export)\s+(?!type\b)[^"';]*?from\s+"([^"]+)"|^\s*import\s+"([^"]+)"|\bimport\(\s*"([^"]+)"\s*\)|\bnew URL\("(\.[^"]+-worker\.ts)"/gm,
  );
  return [...found].map((match) => match[1] ?? match[2] ?? match[3] ?? match[4] ?? "");
}

/** The import closure of `entry` (a path from the package root). */
export function closureOf(process: string, entry: string): Closure {
  const files = new Set<string>();
  const packages = new Set<string>();
  let lines = 0;
  const visit = (path: string): void => {
    const name = relative(root, path);
    if (files.has(name)) return;
    files.add(name);
    const text = readFileSync(path, "utf8");
    lines += text.split("\n").length - 1;
    for (const target of importsOf(text)) {
      if (target.startsWith(".")) visit(join(dirname(path), target));
      else if (!target.startsWith("node:")) packages.add(packageName(target));
    }
  };
  visit(join(root, entry));
  return { process, files: [...files].sort(), lines, packages: [...packages].sort() };
}

function packageName(target: string): string {
  const parts = target.split("/");
  return parts.slice(0, target.startsWith("@") ? 2 : 1).join("/");
}

const help = `Usage: weir tcb [OPTIONS]

Counts the code that each process trusts: our files, their lines, and npm packages.

  --files   name the files too
  --json    JSON instead of text
  --manifest FILE  measure the gateway and its first stage: writes FILE signed with --key, or adds that
            signature to FILE after measuring that the tree here is the one it names (spec/boot.md)
  --key SEEDFILE   signing key of a party
  --version N      of a new manifest; a device never goes back to a lower one (default 1)
  --help    this text
`;

/** Prints all closures. `--json` for machines, `--files` names the files. */
export async function runTcb(argv: string[]): Promise<number> {
  const args = parseArguments(argv, {
    files: { type: "boolean" },
    manifest: { type: "string" },
    key: { type: "string" },
    version: { type: "string" },
    json: { type: "boolean" },
    help: { type: "boolean", short: "h" },
  });
  if (args.flag("help")) {
    process.stdout.write(help);
    return 0;
  }
  if (args.text("manifest") !== undefined) {
    (await import("./commands/boot-manifest.ts")).signBootManifest(args);
    return 0;
  }
  const closures = Object.entries(processes)
    .filter(([, entry]) => existsSync(join(root, entry)))
    .map(([name, entry]) => closureOf(name, entry));
  if (args.flag("json")) {
    process.stdout.write(`${JSON.stringify(closures, null, 2)}\n`);
    return 0;
  }
  for (const { process: name, files, lines, packages } of closures) {
    const npm = packages.length === 0 ? "no npm packages" : packages.join(", ");
    process.stdout.write(`${name.padEnd(11)} ${files.length} files, ${lines} lines, ${npm}\n`);
    if (args.flag("files")) for (const file of files) process.stdout.write(`  ${file}\n`);
  }
  return 0;
}
