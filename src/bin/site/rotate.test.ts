import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { rotatingLog } from "./rotate.ts";

test("rotate: many lines -> files of bounded size, the newest lines kept, the oldest gone", () => {
  const folder = mkdtempSync(join(tmpdir(), "weir-rotate-"));
  try {
    const path = join(folder, "a.log");
    const log = rotatingLog(path, 100, 2);
    for (let i = 0; i < 100; i++) log.write(`line ${i}`);
    log.close();
    assert.deepEqual(readdirSync(folder).sort(), ["a.log", "a.log.1", "a.log.2"]);
    const text = ["a.log.2", "a.log.1", "a.log"]
      .map((name) => readFileSync(join(folder, name), "utf8"))
      .map((part) => {
        assert.ok(part.length <= 100);
        return part;
      })
      .join("");
    const lines = text.trimEnd().split("\n");
    assert.equal(lines.at(-1), "line 99");
    assert.deepEqual(
      lines,
      Array.from({ length: lines.length }, (_, i) => `line ${100 - lines.length + i}`),
    );
    // Opened again it goes on in the same file.
    const again = rotatingLog(path, 100, 2);
    again.write("more");
    again.close();
    assert.match(readFileSync(path, "utf8"), /line 99\nmore\n$/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
