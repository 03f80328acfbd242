/**
 * `npm test`: every *.test.ts of the tree under node:test, one process a file. Arguments are passed
 * on as path filters: `npm test -- ring merkle` runs the files whose path holds either word.
 */
import { spawn } from "node:child_process";
import { globSync } from "node:fs";

const filters = process.argv.slice(2).filter((arg) => !arg.startsWith("-"));
const flags = process.argv.slice(2).filter((arg) => arg.startsWith("-"));
const files = globSync(["src/**/*.test.ts", "tests/**/*.test.ts", "bench/**/*.test.ts"])
  .filter((file) => filters.length === 0 || filters.some((filter) => file.includes(filter)))
  .sort();
if (files.length === 0) {
  console.error(`no test file matches ${filters.join(" ")}`);
  process.exit(2);
}
const reporter = process.env["WEIR_TEST_REPORTER"] ?? "spec";
const args = ["--test", `--test-reporter=${reporter}`, "--test-concurrency=2", ...flags, ...files];
const child = spawn(process.execPath, args, { stdio: "inherit" });
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => child.kill(signal));
child.on("close", (code, signal) => {
  process.exit(signal === null ? (code ?? 1) : 130);
});
