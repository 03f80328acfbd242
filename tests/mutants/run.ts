/**
 * Mutation checks of what verifies: each mutant of a file (mutate.ts) is put into a copy of the tree, and the
 * file's own tests are run on it. A mutant on which they pass survived: the tests do not look there, or it
 * means the same. docs/TESTING.md lists those of the second kind.
 *
 *   sh with-node node tests/mutants/run.ts [WORD..]     files whose path holds a word; all without
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { mutantsOf, type Mutant } from "./mutate.ts";

interface Target {
  readonly path: string;
  readonly tests: readonly string[];
  /** Functions and classes; all of the file without. */
  readonly only?: readonly string[];
}

const beside = (path: string, ...more: string[]): Target => ({
  path,
  tests: [path.replace(/\.ts$/, ".test.ts"), ...more],
});

const targets: readonly Target[] = [
  {
    ...beside("src/base/merkle.ts"),
    only: ["leafHash", "nodeHash", "verifyInclusion", "consistencyRoots", "verifyConsistency"],
  },
  beside("src/format/dsse.ts"),
  beside("src/format/leaf.ts"),
  beside("src/format/note.ts"),
  { path: "src/format/checkpoint.ts", tests: ["src/format/note.test.ts"] },
  { path: "src/format/cosignature.ts", tests: ["src/format/note.test.ts"] },
  beside("src/base/sign.ts", "tests/vectors.test.ts"),
  beside("src/base/enrol.ts"),
  beside("src/base/gcm.ts"),
  beside("src/base/hpke.ts"),
  beside("src/format/trust-root.ts"),
  beside("src/format/trust-memory.ts"),
  beside("src/format/boot-key.ts"),
  beside("src/recomputer/checks.ts"),
  beside("src/gateway/upload.ts"),
  { path: "src/gateway/life-state.ts", tests: ["tests/model/gateway.test.ts"] },
  {
    path: "src/gateway/halt.ts",
    tests: ["tests/model/gateway.test.ts", "tests/path/orders.test.ts"],
  },
];

const root = join(import.meta.dirname, "../..");
const words = process.argv.slice(2);
const chosen = targets.filter(
  ({ path }) => words.length === 0 || words.some((word) => path.includes(word)),
);
if (chosen.length === 0) {
  console.error(`no target matches ${words.join(" ")}`);
  process.exit(2);
}

/** Passes within the time, or not. A mutant may loop for ever. */
async function passes(dir: string, tests: readonly string[], limitMs: number): Promise<boolean> {
  for (const file of tests) {
    const child = spawn(process.execPath, ["--test-reporter=dot", file], {
      cwd: dir,
      stdio: "ignore",
      timeout: limitMs,
      killSignal: "SIGKILL",
    });
    const [code] = (await once(child, "close")) as [number | null];
    if (code !== 0) return false;
  }
  return true;
}

/** With the public vectors beside it, where they are. */
function copyOfTree(): string {
  const above = mkdtempSync(join(tmpdir(), "weir-mutants-"));
  const dir = join(above, "tree");
  for (const part of ["src", "tests", "spec", "package.json", "tsconfig.json"]) {
    cpSync(join(root, part), join(dir, part), { recursive: true });
  }
  for (const part of ["node_modules", "models"]) symlinkSync(join(root, part), join(dir, part));
  symlinkSync(join(root, "../shared"), join(above, "shared"));
  return dir;
}

/** Runs all mutants of one file; those that survived. */
async function attack(target: Target, dirs: readonly string[]): Promise<Mutant[]> {
  const { path, tests, only = [] } = target;
  const text = readFileSync(join(dirs[0] ?? root, path), "utf8");
  const began = performance.now();
  if (!(await passes(dirs[0] ?? root, tests, 300_000))) {
    console.log(`${path}: its tests fail as they are: left out`);
    return [];
  }
  const limitMs = Math.round(10_000 + 5 * (performance.now() - began));
  const mutants = mutantsOf(text, only);
  const survived: Mutant[] = [];
  const queue = [...mutants];
  await Promise.all(
    dirs.map(async (dir) => {
      for (let mutant = queue.shift(); mutant !== undefined; mutant = queue.shift()) {
        writeFileSync(join(dir, path), mutant.text);
        if (await passes(dir, tests, limitMs)) survived.push(mutant);
      }
      writeFileSync(join(dir, path), text);
    }),
  );
  console.log(`${path}: ${mutants.length} mutants, ${survived.length} survived`);
  survived.sort((a, b) => a.line - b.line);
  for (const { line, what } of survived) console.log(`  ${path}:${line}  ${what}`);
  return survived;
}

const dirs = Array.from({ length: Math.min(2, availableParallelism()) }, copyOfTree);
try {
  let survived = 0;
  for (const target of chosen) survived += (await attack(target, dirs)).length;
  console.log(`${survived} survived in all`);
} finally {
  for (const dir of dirs) rmSync(join(dir, ".."), { recursive: true, force: true });
}
