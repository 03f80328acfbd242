/**
 * kill -9 at random moments, many times, on the same directory. What the killed process had reported
 * as durable must be there; what it had not may be there or not; nothing may be half there unnoticed.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { systemClock } from "../../src/adapter/clock.ts";
import { openGatewayStore } from "../../src/adapter/disk/store.ts";
import { recoverStore } from "../../src/gateway/recover.ts";
import { saltsOf } from "../../src/gateway/tag.ts";
import { check, Reported } from "./store-audit.ts";
import { entryDigest, randomOf, storeOptions } from "./store-crash-setup.ts";

const rounds = 30;
const worker = join(import.meta.dirname, "store-crash-worker.ts");

/** Runs the worker until it has said `lines` lines, then kills it; hears everything it said. */
async function runAndKill(
  dir: string,
  seed: number,
  lines: number,
  reported: Reported,
): Promise<void> {
  const child = spawn(process.execPath, [worker, dir, String(seed)], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  let errors = "";
  child.stderr.on("data", (data: Buffer) => (errors += data.toString()));
  const closed = once(child, "close");
  let heard = 0;
  const reader = createInterface({ input: child.stdout });
  reader.on("line", (line) => {
    // A line is shorter than PIPE_BUF, so a kill never leaves half of one.
    pending.push(line);
    if (++heard === lines) child.kill("SIGKILL");
  });
  const pending: string[] = [];
  const [code, signal] = (await closed) as [number | null, string | null];
  assert.equal(signal, "SIGKILL", `the worker ended by itself with ${code}: ${errors}`);
  for (const line of pending) reported.line(line);
}

test("store: killed at random moments -> everything reported durable is found, nothing twice", async (t) => {
  const seed = Number(process.env["WEIR_SEED"] ?? Date.now() % 2 ** 31);
  t.diagnostic(`WEIR_SEED=${seed}`);
  const random = randomOf(seed);
  const dir = mkdtempSync(join(tmpdir(), "weir-crash-"));
  t.after(() => {
    rmSync(dir, { recursive: true, force: true });
  });
  const reported = new Reported();
  let compared = 0;
  let torn = 0;
  for (let round = 0; round < rounds; round++) {
    const lines = 1 + Math.floor(random() ** 2 * 700);
    await runAndKill(dir, Math.floor(random() * 2 ** 31), lines, reported);
    const opened = await openGatewayStore(storeOptions(dir));
    try {
      reported.boot(opened.epoch);
      compared += await check(opened, dir, reported);
      if (opened.store.ring.recovered.torn) torn++;
    } finally {
      await opened.close();
    }
  }
  const opened = await openGatewayStore(storeOptions(dir));
  try {
    const { store } = opened;
    const saltOf = saltsOf(storeOptions(dir).rootKey);
    const options = { store, entryDigest, clock: systemClock, saltOf, keep: () => true };
    await recoverStore(options);
    const through = store.ring.status().forgottenThrough ?? 0n;
    for (const tag of reported.records.keys()) {
      if (tag > through)
        assert.notEqual(store.log.find(tag), null, "every recorded pair has its leaf");
    }
    const again = await recoverStore(options);
    assert.deepEqual(
      [again.completed, again.cutOff, again.kept],
      [0, 0, 0],
      "recovery is done once",
    );
    const { pairsForgotten } = store.ring.status();
    t.diagnostic(
      `${compared} records compared, ${reported.leaves.size} leaves, ${pairsForgotten} pairs forgotten, ${torn} torn`,
    );
    assert.ok(compared > 1000 && reported.leaves.size > 100, "the load was worth the name");
  } finally {
    await opened.close();
  }
});
