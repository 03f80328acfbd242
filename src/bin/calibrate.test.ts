import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { openProfile, type Profile, type ProfileRun } from "../format/profile.ts";
import type { EdgeBound } from "../verification/edge.ts";
import { floors } from "../verification/calibration.ts";

const model = new URL("../../models/weir-tiny.gguf", import.meta.url).pathname;
const weir = new URL("./weir.ts", import.meta.url).pathname;
const missing = existsSync(model)
  ? false
  : "models/weir-tiny.gguf IS MISSING: calibration is not tested";
const folder = mkdtempSync(join(tmpdir(), "weir-calibrate-"));
after(() => {
  rmSync(folder, { recursive: true });
});

function calibrate(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(process.execPath, [weir, "calibrate", ...args], { encoding: "utf8" });
}

interface Report {
  readonly runs: ProfileRun[];
  readonly edge: EdgeBound;
  readonly evidence: { id: string; mean: number }[];
  readonly profile: Profile | null;
}

test("calibrate: honest servers -> a profile of this model, in a file", { skip: missing }, () => {
  const out = join(folder, "tiny.profile.json");
  const few = ["--quick", "--tokens", "300", "--redraws", "3"];
  const { status, stdout, stderr } = calibrate(model, ...few, "--json", "--out", out);
  assert.equal(status, 0, stderr);
  assert.match(stderr, /%.*: /, "it says how far it is");
  const { runs, edge, profile } = JSON.parse(stdout) as Report;
  assert.deepEqual(openProfile(readFileSync(out)).profile, profile);
  assert.equal(profile?.basis, "measured");
  assert.equal(profile.model.name, "weir-tiny.gguf");
  assert.deepEqual(profile.runs, runs);
  assert.ok(runs.reduce((sum, { tokens }) => sum + tokens, 0) >= 300);
  for (const way of ["replay prefill;", "replay blind, 32 side by side;"]) {
    assert.ok(
      runs.some(({ condition }) => condition.includes(way)),
      way,
    );
  }
  assert.equal(profile.edge, Math.ceil(1e6 * Math.max(floors.edge, edge.edge)) / 1e6);
  assert.ok(edge.edge >= edge.largest && profile.tokenMax >= profile.edge);
  for (const { outside, mismatches, tokens, condition } of runs) {
    assert.equal(outside, 0, condition);
    assert.ok(mismatches < 0.01 * tokens, condition);
  }
  assert.ok(profile.sigma >= floors.sigma && profile.sigma < 0.02);
  for (const { id, observed, upper, nullMean } of profile.detectors) {
    assert.ok(observed <= upper && upper < nullMean && nullMean < 0.5, id);
  }
});

test("calibrate: a server that draws hotter -> evidence, and no profile", { skip: missing }, () => {
  const hot = ["--serve-temperature", "1.5"];
  const { status, stdout } = calibrate(model, "--quick", "--tokens", "400", "--json", ...hot);
  assert.equal(status, 0);
  const { runs, evidence, profile } = JSON.parse(stdout) as Report;
  assert.equal(profile, null);
  assert.ok(runs.some(({ mismatches }) => mismatches > 0));
  const mismatch = evidence.find(({ id }) => id === "mismatch");
  assert.ok((mismatch?.mean ?? 0) > 0.05, "the share of differing tokens stands out");
});

test(
  "calibrate: SIGINT in the middle -> exit 130, no file, no process left",
  { skip: missing },
  async () => {
    const out = join(folder, "stopped.json");
    const args = [weir, "calibrate", model, "--quick", "--tokens", "1000000", "--out", out];
    const child = spawn(process.execPath, args, {
      stdio: ["ignore", "ignore", "pipe"],
      detached: true,
    });
    await once(child.stderr, "data");
    child.kill("SIGINT");
    const [code] = (await once(child, "close")) as [number];
    assert.equal(code, 130);
    assert.equal(existsSync(out), false);
    // Its workers were in its process group: nothing of that is left.
    assert.throws(() => process.kill(-(child.pid ?? 0), 0), { code: "ESRCH" });
  },
);

test("calibrate: no model, two models, bad numbers -> usage errors that name them", () => {
  assert.match(calibrate().stderr, /MODEL\.gguf/);
  assert.equal(calibrate("a.gguf", "b.gguf").status, 2);
  assert.match(calibrate("a.gguf", "--tokens", "many").stderr, /--tokens/);
  assert.match(calibrate("a.gguf", "--builds", "a/b").stderr, /--builds/);
  assert.match(calibrate("a.gguf", "--serve-temperature", "0").stderr, /--serve-temperature/);
  assert.match(calibrate("a.gguf", "--replay", "b", "--out", "c").stderr, /--out/);
  assert.match(calibrate("--help").stdout, /--replay FILE/);
});
