/** The red team against a live site: separate processes, a sandbox where there is one, real HTTP. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const weir = fileURLToPath(new URL("../../src/bin/weir.ts", import.meta.url));
const model = fileURLToPath(new URL("../../models/weir-tiny.gguf", import.meta.url));

interface Report {
  readonly attacks: readonly {
    readonly attack: string;
    readonly mode: string;
    readonly layers: Readonly<Record<string, number>>;
    readonly twin: { readonly accused: number };
  }[];
}

test("redteam: a live server draws with a wrong seed -> halted by a hard finding, its twin serves on", () => {
  const out = mkdtempSync(join(tmpdir(), "weir-test-"));
  try {
    const argv = ["redteam", "--attacks", "wrong-seed", "--tokens", "3000", "--model", model];
    const run = spawnSync(
      process.execPath,
      ["--disable-warning=ExperimentalWarning", weir, ...argv, "--out", out, "--json", "--expect"],
      { encoding: "utf8", timeout: 300_000 },
    );
    assert.equal(run.status, 0, run.stderr);
    const { attacks } = JSON.parse(run.stdout) as Report;
    assert.deepEqual(attacks[0]?.layers, { "hard finding": 1 });
    assert.equal(attacks[0].mode, "live");
    assert.equal(attacks[0].twin.accused, 0);
    assert.match(readFileSync(join(out, "report.html"), "utf8"), /^<!doctype html>/);
    assert.equal(readFileSync(join(out, "trials.jsonl"), "utf8").trimEnd().split("\n").length, 2);
  } finally {
    rmSync(out, { recursive: true, force: true });
  }
});
