/** The recomputer is killed with SIGKILL again and again: no pair counts twice, and none is lost. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";

const pairs = 60;

/** Runs the worker until it has said `stopAfter` verdicts, then kills it; to its end when null. */
async function run(file: string, stopAfter: number | null): Promise<void> {
  const worker = new URL("evidence-crash-worker.ts", import.meta.url).pathname;
  const stdio: ["ignore", "pipe", "inherit"] = ["ignore", "pipe", "inherit"];
  const child = spawn(process.execPath, [worker, file, String(pairs)], { stdio });
  const exited = once(child, "exit");
  let said = 0;
  for await (const line of createInterface({ input: child.stdout })) {
    assert.match(line, /^\d+$/);
    if (++said === stopAfter) child.kill("SIGKILL");
  }
  const [code] = (await exited) as [number | null];
  assert.equal(code, stopAfter === null ? 0 : null);
}

interface Stored {
  readonly verdicts: number;
  readonly pairs: number;
  readonly state: string;
}

function stored(file: string): Stored {
  const db = new DatabaseSync(file);
  const verdicts = db.prepare("SELECT count(*) AS n FROM verdict WHERE life = 1").get();
  const evidence = db.prepare("SELECT pairs, state FROM evidence").get();
  db.close();
  return {
    verdicts: Number(verdicts?.["n"]),
    pairs: Number(evidence?.["pairs"] ?? 0),
    state: String(evidence?.["state"] ?? ""),
  };
}

test("recomputer: killed with SIGKILL among its verdicts -> the evidence is that of an undisturbed run", async () => {
  const dir = mkdtempSync(join(tmpdir(), "weir-evidence-crash-"));
  try {
    const [calm, stormy] = [join(dir, "calm"), join(dir, "stormy")];
    await run(calm, null);
    for (const after of [1, 9, 20, 33, 47]) {
      await run(stormy, after);
      const found = stored(stormy);
      assert.equal(found.verdicts, found.pairs);
      assert.ok(found.pairs >= after);
    }
    await run(stormy, null);
    assert.equal(stored(calm).pairs, pairs);
    assert.deepEqual(stored(stormy), stored(calm));
  } finally {
    rmSync(dir, { recursive: true });
  }
});
