import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { Coverage } from "./coverage/answer.ts";
import { readRequest } from "./coverage/question.ts";
import { amount, chance, time } from "./coverage/tables.ts";
import { UsageError } from "./site/arguments.ts";

const weir = new URL("./weir.ts", import.meta.url).pathname;

function coverage(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(process.execPath, [weir, "coverage", ...args], { encoding: "utf8" });
}

function json(...args: string[]): Coverage {
  const { status, stdout, stderr } = coverage(...args, "--json");
  assert.equal(status, 0, stderr);
  return JSON.parse(stdout) as Coverage;
}

test("weir coverage: no options -> the fleet of RFD 017 and every measured class", () => {
  const { status, stdout, stderr } = coverage();
  assert.equal(status, 0, stderr);
  for (const word of ["250,000 servers", "wrong-seed", "q8_0", "A campaign of 100", "0.002% of"]) {
    assert.ok(stdout.includes(word), `${word} in ${stdout}`);
  }
});

test("weir coverage --rfd018: the RFD's table, its formula's error, and the sampling tables", () => {
  const { stdout } = coverage("--rfd018");
  for (const word of [
    "7e9",
    "  7%",
    "0.7%",
    "wrong side",
    "458.2",
    "4602.9",
    "46049.4",
    "0.994%",
  ]) {
    assert.ok(stdout.includes(word), `${word} in ${stdout}`);
  }
  const { stdout: figures } = coverage("--rfd018", "--json");
  assert.equal((JSON.parse(figures) as { table: unknown[] }).table.length, 2);
});

test("weir coverage --json: one class -> numbers that belong together", () => {
  const args = ["--power", "0.5", "--epsilon", "0.01", "--beta", "0.1", "--pairs-per-day", "1000"];
  const { answers, recomputation } = json(...args, "--servers", "10", "--recompute-cost", "0.1");
  assert.equal(answers.length, 1);
  const [answer] = answers;
  assert.ok(Math.abs(answer!.pairs.mean - 2000) < 1e-6);
  assert.ok(Math.abs(answer!.days.mean - 2) < 1e-9);
  assert.ok(Math.abs(answer!.within - (1 - 0.9995 ** 1000)) < 1e-9);
  assert.deepEqual(
    { share: recomputation.share, recomputers: recomputation.recomputers },
    { share: 0.001, recomputers: 1 },
  );
});

test("weir coverage --solve: epsilon put back gives the confidence; beta too", () => {
  const common = ["--power", "0.9", "--within", "12h", "--confidence", "0.99"];
  const epsilon = json("--solve", "epsilon", ...common).solved?.[0]?.value ?? NaN;
  const back = json("--epsilon", String(epsilon), ...common).answers[0];
  assert.ok(Math.abs((back?.within ?? 0) - 0.99) < 1e-4);
  const beta = json("--solve", "beta", ...common).solved?.[0];
  assert.ok((beta?.value ?? 0) > 0 && (beta?.forgedTokensPerDay ?? 0) > 0);
  assert.match(coverage("--solve", "epsilon", ...common).stdout, /least epsilon/);
  assert.match(
    coverage("--solve", "epsilon", "--power", "0.9", "--within", "1s", "--pairs-per-day", "9")
      .stdout,
    /not even 1/,
  );
});

test("weir coverage --simulate: labelled, beside the formula, the same for the same seed", () => {
  const args = ["--epsilon", "0.01", "--beta", "0.2", "--class", "q4_0", "--tokens-per-pair", "64"];
  const { stdout } = coverage(...args, "--simulate", "200", "--seed", "7");
  assert.match(stdout, /Simulation, 200 servers played \(seed 7\)/);
  assert.equal(coverage(...args, "--simulate", "200", "--seed", "7").stdout, stdout);
  const [simulated] = json(...args, "--simulate", "400").simulated ?? [];
  const mean = simulated?.rows.find(({ what }) => what === "mean pairs");
  assert.ok(mean !== undefined);
  assert.ok(Math.abs(mean.formula / mean.simulation.value - 1) < 0.2);
});

test("weir coverage --simulate: a server that is never caught -> not played, and said", () => {
  const args = ["--class", "kv-q8_0", "--beta", "0.01", "--tokens-per-pair", "64"];
  assert.match(coverage(...args, "--simulate", "100").stdout, /never caught: not played/);
});

test("weir coverage: an early chance that evidence makes -> marked, with what the mark says", () => {
  const args = [
    "--class",
    "kv-q8_0",
    "--beta",
    "1",
    "--epsilon",
    "0.01",
    "--tokens-per-pair",
    "64",
  ];
  const all = [...args, "--pairs-per-day", "20000"];
  const { stdout } = coverage(...all);
  assert.match(stdout, /kv-q8_0 +~[\d.]+ /);
  assert.match(stdout, /~ rests on a chance below 1%/);
  assert.equal(json(...all).answers[0]?.doubtful.firstDaysMedian, true);
  assert.doesNotMatch(coverage("--power", "0.5").stdout, /~/);
});

test("weir coverage --plot: a self-contained SVG for light and dark", () => {
  const folder = mkdtempSync(join(tmpdir(), "weir-coverage-"));
  try {
    const path = join(folder, "c.svg");
    const { status, stderr } = coverage("--plot", path);
    assert.equal(status, 0, stderr);
    const svg = readFileSync(path, "utf8");
    assert.match(svg, /^<svg xmlns="http:\/\/www\.w3\.org\/2000\/svg"/);
    for (const word of ["prefers-color-scheme: dark", "epsilon needed", "log scale", "q8_0"]) {
      assert.ok(svg.includes(word), word);
    }
    assert.doesNotMatch(svg, /NaN|Infinity|undefined|href|url\(/);
    assert.equal(coverage("--plot", join(folder, "no", "c.svg")).status, 1);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("weir coverage: wrong options -> usage errors that name them", () => {
  for (const [args, named] of [
    [["--epsilon", "0"], /--epsilon must be above 0/],
    [["--epsilon", "1.5"], /--epsilon must be a number from 0 to 1/],
    [["--beta", "x"], /--beta/],
    [["--servers", "1.5"], /--servers must be a whole number/],
    [["--servers", "5", "--cheating", "6"], /--cheating 6 exceeds --servers 5/],
    [["--within", "soon"], /--within must be a time/],
    [["--confidence", "1"], /--confidence must be below 1/],
    [["--solve", "alpha"], /--solve must be epsilon or beta/],
    [["--solve", "beta", "--beta", "0.1"], /--beta is what --solve beta works out/],
    [["--class", "q9"], /--class must be one of/],
    [["--class", "q8_0", "--power", "1"], /exclude each other/],
    [["--variance", "1"], /--variance goes with --drift/],
    [["--honest-mismatch", "0.01", "--class", "q8_0"], /--honest-mismatch 0.01/],
    [["--seed", "1"], /--seed goes with --simulate/],
    [["--simulate", "3"], /--simulate must be a number from 10/],
    [["--bogus"], /--bogus/],
    [["words"], /unexpected argument/],
  ] as const) {
    assert.throws(
      () => readRequest(args),
      (error) => error instanceof UsageError && named.test(error.message),
      args.join(" "),
    );
  }
  const { status, stderr, stdout } = coverage("--epsilon", "0");
  assert.deepEqual({ status, stdout }, { status: 2, stdout: "" });
  assert.match(stderr, /--epsilon[^]*weir coverage --help/);
  assert.match(coverage("--help").stdout, /Examples:/);
});

test("weir coverage: numbers -> as people read them", () => {
  assert.deepEqual([0, 0.0005, 0.99, 12.34, 127_872_000, 3.2e9, Infinity].map(amount), [
    "0",
    "5e-4",
    "0.99",
    "12.3",
    "127,872,000",
    "3.2e9",
    "never",
  ]);
  assert.deepEqual([1 / 86_400, 0.01, 0.5, 1, 30, 1000, Infinity].map(time), [
    "1 s",
    "14.4 min",
    "12 h",
    "1 d",
    "30 d",
    "2.74 y",
    "never",
  ]);
  assert.deepEqual([0, 1e-9, 0.5, 0.9995, 0.999_955, 1].map(chance), [
    "0%",
    "< 0.01%",
    "50%",
    "99.950%",
    "99.9955%",
    "100%",
  ]);
});
