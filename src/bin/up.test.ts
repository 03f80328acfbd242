import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

const model = new URL("../../models/weir-tiny.gguf", import.meta.url).pathname;
const weir = new URL("./weir.ts", import.meta.url).pathname;
const missing = existsSync(model) ? false : "models/weir-tiny.gguf IS MISSING";

test(
  "weir up: SIGINT while it measures a model without profile -> said, exit 130, nothing half-written",
  { skip: missing },
  async () => {
    const folder = mkdtempSync(join(tmpdir(), "weir-up-"));
    try {
      const bare = join(folder, "bare.gguf");
      symlinkSync(model, bare);
      const data = join(folder, "data");
      const args = [weir, "up", "--model", bare, "--data", data, "--sandbox", "off"];
      const child = spawn(process.execPath, args, {
        stdio: ["ignore", "pipe", "pipe"],
        detached: true,
      });
      let said = "";
      let asked = false;
      for (const stream of [child.stdout, child.stderr]) {
        stream.setEncoding("utf8").on("data", (text: string) => {
          said += text;
          // A line of progress: the measurement's own processes run.
          if (asked || !/\d%/.test(said)) return;
          asked = true;
          // As a terminal does: to the whole group.
          process.kill(-(child.pid ?? 0), "SIGINT");
        });
      }
      const [code] = (await once(child, "close")) as [number | null];
      assert.equal(code, 130, said);
      assert.match(said, /stopped while it measured; nothing runs/);
      assert.throws(() => process.kill(-(child.pid ?? 0), 0), { code: "ESRCH" });
      const left = readdirSync(data, { recursive: true, encoding: "utf8" });
      assert.deepEqual(
        left.filter((name) => /profile|whitelist|lock|\.tmp$|\.new$/.test(name)),
        [],
      );
      assert.deepEqual(readdirSync(folder).sort(), ["bare.gguf", "data"]);
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
);
