import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { test } from "node:test";
import type { Calibration } from "../format/whitelist.ts";
import { floors, type RunSummary } from "../verification/calibration.ts";

const model = new URL("../../models/weir-tiny.gguf", import.meta.url).pathname;
const weir = new URL("./weir.ts", import.meta.url).pathname;
const missing = existsSync(model)
  ? false
  : "models/weir-tiny.gguf IS MISSING: calibration is not tested";

function calibrate(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(process.execPath, [weir, "calibrate", ...args], { encoding: "utf8" });
}

interface Report {
  readonly conditions: RunSummary[];
  readonly calibration: Calibration | null;
}

test(
  "calibrate: a server that is still -> every token agrees, the floors hold",
  { skip: missing },
  () => {
    const { status, stdout, stderr } = calibrate(model, "--quick", "--tokens", "24", "--json");
    assert.equal(status, 0, stderr);
    const { conditions, calibration } = JSON.parse(stdout) as Report;
    assert.equal(conditions.length, 4);
    for (const { condition, tokens, outside, mismatches } of conditions) {
      assert.ok(tokens >= 24, condition);
      assert.deepEqual({ outside, mismatches }, { outside: 0, mismatches: 0 }, condition);
    }
    assert.equal(calibration?.meanMax, floors.meanMax);
  },
);

test(
  "calibrate: a server that draws hotter -> tokens differ, and no calibration is given",
  { skip: missing },
  () => {
    const hot = ["--serve-temperature", "1.5"];
    const { status, stdout } = calibrate(model, "--quick", "--tokens", "48", "--json", ...hot);
    assert.equal(status, 0);
    const { conditions, calibration } = JSON.parse(stdout) as Report;
    assert.equal(calibration, null);
    assert.ok(conditions.some(({ mismatches }) => mismatches > 0));
  },
);

test("calibrate: no model, two models, bad numbers -> usage errors that name them", () => {
  assert.match(calibrate().stderr, /MODEL\.gguf/);
  assert.equal(calibrate("a.gguf", "b.gguf").status, 2);
  assert.match(calibrate("a.gguf", "--tokens", "many").stderr, /--tokens/);
  assert.match(calibrate("a.gguf", "--serve-temperature", "0").stderr, /--serve-temperature/);
  assert.match(calibrate("--help").stdout, /--replay FILE/);
});
