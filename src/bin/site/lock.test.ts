import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { lockHolder, processIdentity, takeLock } from "./lock.ts";

function inFolder(body: (folder: string) => Promise<void> | void): () => Promise<void> {
  return async () => {
    const folder = mkdtempSync(join(tmpdir(), "weir-lock-"));
    try {
      await body(folder);
    } finally {
      rmSync(folder, { recursive: true });
    }
  };
}

test(
  "lock: taken -> a second taker is refused and told by whom; released -> free, nothing left",
  inFolder((folder) => {
    const path = join(folder, "lock");
    const release = takeLock(path, folder);
    assert.equal(lockHolder(path)?.pid, process.pid);
    assert.throws(() => takeLock(path, folder), {
      code: "site.locked",
      message: new RegExp(`process ${process.pid}`),
    });
    release();
    assert.deepEqual(readdirSync(folder), []);
    takeLock(path, folder)();
  }),
);

test(
  "lock: left by a process that is gone, or whose id another has -> stale, and taken over",
  inFolder(async (folder) => {
    const path = join(folder, "lock");
    const child = spawn(process.execPath, ["-e", "process.stdin.resume()"], {
      stdio: ["pipe", "ignore", "ignore"],
    });
    const holder = processIdentity(child.pid ?? 0);
    assert.ok(holder !== null);
    writeFileSync(path, JSON.stringify(holder));
    assert.throws(() => takeLock(path, folder), { code: "site.locked" });
    child.stdin.end();
    await once(child, "close");
    assert.equal(lockHolder(path), null);
    takeLock(path, folder)();
    // This process's id with another start time: the id was used again.
    writeFileSync(path, JSON.stringify({ pid: process.pid, started: "long ago" }));
    takeLock(path, folder)();
    writeFileSync(path, "torn");
    takeLock(path, folder)();
    assert.equal(existsSync(path), false);
  }),
);
