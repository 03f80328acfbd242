import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { checkEngineBuild, engineBuild } from "./engine-build.ts";

test("engine build: a byte, a name or a file more or less -> another digest; a folder in it -> refused", async (t) => {
  const dir = mkdtempSync(join(tmpdir(), "weir-build-"));
  t.after(() => {
    rmSync(dir, { recursive: true });
  });
  const file = (name: string): string => join(dir, name);
  writeFileSync(file("a.so"), "one");
  writeFileSync(file("b.so"), "two");
  const digests = [await engineBuild(dir)];
  assert.deepEqual(await engineBuild(dir), digests[0]);
  const note = async (): Promise<void> => {
    digests.push(await engineBuild(dir));
  };
  writeFileSync(file("b.so"), "twO");
  await note();
  renameSync(file("b.so"), file("c.so"));
  await note();
  writeFileSync(file("d.so"), "");
  await note();
  rmSync(file("a.so"));
  await note();
  assert.equal(new Set(digests.map((digest) => digest.toString("hex"))).size, 5);
  mkdirSync(file("e"));
  await assert.rejects(engineBuild(dir), { code: "engine.build" });
});

test("engine build: what is installed here -> checked, and any other refused by name", async () => {
  const mine = await engineBuild();
  await checkEngineBuild(mine);
  await assert.rejects(checkEngineBuild(Buffer.alloc(32)), {
    code: "engine.build",
    message: new RegExp(mine.toString("hex")),
  });
});
