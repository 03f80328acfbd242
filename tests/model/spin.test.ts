/** Spin as a second opinion: the same models, written again by hand in Promela, and another checker. */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { explore } from "./explore.ts";
import { bugs } from "./gateway-bugs.ts";
import { gatewayModel } from "./gateway-world.ts";

/** Whether programs that the tests may do without are here. */
function missing(...programs: readonly string[]): string | null {
  const absent = programs.filter((name) => spawnSync(name, ["--version"]).error !== undefined);
  return absent.length === 0 ? null : `SKIPPED: ${absent.join(", ")} not installed`;
}

/** Builds and runs the Promela model; what Spin's verifier says. */
function spin(dir: string, bug: number): string {
  copyFileSync(join(import.meta.dirname, "gateway.pml"), join(dir, "gateway.pml"));
  const options = { cwd: dir, encoding: "utf8" } as const;
  execFileSync("spin", ["-a", `-DBUG=${bug}`, "gateway.pml"], options);
  execFileSync("cc", ["-w", "-DNOREDUCE", "-DSAFETY", "-o", "pan", "pan.c"], options);
  return execFileSync(join(dir, "pan"), ["-m100000", "-w16"], options);
}

function temporary(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), "weir-spin-"));
  t.after(() => {
    rmSync(dir, { recursive: true, force: true });
  });
  return dir;
}

const without = missing("spin", "cc");

test(
  "model: a gateway, written again for Spin -> the same states and transitions",
  { skip: without ?? false },
  (t) => {
    const said = spin(temporary(t), 0);
    assert.match(said, /errors: 0/);
    const ours = explore(gatewayModel());
    assert.match(said, new RegExp(`\\b${ours.states} states, stored`));
    // Spin counts the way into the first state too.
    assert.match(said, new RegExp(`\\b${ours.transitions + 1} transitions`));
    t.diagnostic(`Spin: ${ours.states} states, ${ours.transitions + 1} transitions`);
  },
);

test(
  "model: the seeded bugs, written again for Spin -> found by Spin as well",
  { skip: without ?? false },
  (t) => {
    const dir = temporary(t);
    for (const [what, { spin: number }] of Object.entries(bugs)) {
      if (number === undefined) continue;
      assert.match(spin(dir, number), /errors: 1/, what);
    }
  },
);
