import assert from "node:assert/strict";
import {
  copyFileSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { systemRandom } from "../random.ts";
import { growCells } from "./cells.ts";
import { enrolPuf, pufUid, type PufFiles } from "./uid.ts";

function device(t: TestContext, name = "g1"): PufFiles {
  const dir = mkdtempSync(join(tmpdir(), "weir-puf-"));
  t.after(() => {
    rmSync(dir, { recursive: true });
  });
  const files = {
    device: name,
    cells: join(dir, "cells"),
    helper: join(dir, "h"),
    random: systemRandom,
  };
  growCells(files.cells, systemRandom);
  writeFileSync(files.helper, enrolPuf(files));
  return files;
}

const bricked = { code: "uid.bricked" };

test("puf uid: unlocked twice -> the same secret; another device -> another", async (t) => {
  const files = device(t);
  const { secret, counter } = await pufUid(files).unlock();
  assert.deepEqual((await pufUid(files).unlock()).secret, secret);
  assert.equal(counter, null);
  assert.notDeepEqual((await pufUid(device(t)).unlock()).secret, secret);
  assert.match(pufUid(files).simulated, /simulated PUF/);
});

test("puf uid: bricked -> never unlocked again, also with its helper data put back", async (t) => {
  const files = device(t);
  const kept = `${files.helper}.kept`;
  copyFileSync(files.helper, kept);
  await pufUid(files).unlock();
  await pufUid(files).brick("lid");
  await assert.rejects(pufUid(files).unlock(), bricked);
  copyFileSync(kept, files.helper);
  await assert.rejects(pufUid(files).unlock(), bricked);
  await pufUid(files).brick("again");
});

test("puf uid: HONEST NEGATIVE a copy of the simulated cells put back undoes the brick", async (t) => {
  const files = device(t);
  const { secret } = await pufUid(files).unlock();
  copyFileSync(files.cells, `${files.cells}.kept`);
  copyFileSync(files.helper, `${files.helper}.kept`);
  await pufUid(files).brick("lid");
  copyFileSync(`${files.cells}.kept`, files.cells);
  copyFileSync(`${files.helper}.kept`, files.helper);
  assert.deepEqual((await pufUid(files).unlock()).secret, secret);
});

test("puf uid: each file cut, corrupted, lost or another device's -> refused", async (t) => {
  for (const which of ["cells", "helper"] as const) {
    const cut = device(t);
    truncateSync(cut[which], 40);
    await assert.rejects(pufUid(cut).unlock(), bricked, `${which} cut`);
    const corrupt = device(t);
    const bytes = readFileSync(corrupt[which]);
    bytes[bytes.length - 20] = (bytes[bytes.length - 20] ?? 0) ^ 1;
    writeFileSync(corrupt[which], bytes);
    await assert.rejects(pufUid(corrupt).unlock(), bricked, `${which} corrupted`);
    const lost = device(t);
    rmSync(lost[which]);
    await assert.rejects(pufUid(lost).unlock(), bricked, `${which} lost`);
    const swapped = device(t);
    copyFileSync(device(t)[which], swapped[which]);
    await assert.rejects(pufUid(swapped).unlock(), bricked, `${which} swapped`);
  }
});
