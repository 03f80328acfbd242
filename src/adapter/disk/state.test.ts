import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { UnavailableError } from "../../base/assert.ts";
import { hmacSha256, secretKey } from "../../base/hash.ts";
import { systemDisk } from "./file.ts";
import { makeTag } from "../../format/tag.ts";
import { FaultyDisk } from "./faulty-disk.ts";
import { openState } from "./state.ts";

const key = secretKey(Buffer.alloc(32, 5));
const halt = { digest: "ab".repeat(32), reason: "a verdict of FAIL", sinceMs: 1_700_000_000_000 };

const standing = { ...halt, signer: "ef".repeat(32) };
const another = { ...standing, digest: "12".repeat(32), signer: "34".repeat(32) };
const sample = { ...halt, digest: "cd".repeat(32), epsilon: 0.5 };
const recheck = { ...halt, through: makeTag(7, 9), sent: 3, lost: 1, of: 9, done: false };

function freshPath(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), "weir-state-"));
  t.after(() => {
    rmSync(dir, { recursive: true, force: true });
  });
  return join(dir, "state");
}

test("state: epochs, halts and releases -> kept across restarts, epochs rise strictly", async (t) => {
  const path = freshPath(t);
  let state = await openState({ path, key });
  assert.deepEqual(await Promise.all([state.nextEpoch(), state.nextEpoch()]), [1, 2]);
  assert.deepEqual(state.halts, []);
  await state.change({ halts: [standing, another] });
  await state.change({ released: ["one"] });
  await state.change({ released: ["one"] });
  state = await openState({ path, key });
  assert.deepEqual(state.halts, [standing, another]);
  assert.deepEqual([...state.released], ["one"]);
  assert.equal(await state.nextEpoch(), 3);
  await state.change({ halts: [another] });
  state = await openState({ path, key });
  assert.deepEqual(state.halts, [another]);
  assert.equal(await state.nextEpoch(), 4);
});

test("state: orders that stand, releases to be told -> kept across restarts, each by itself", async (t) => {
  const path = freshPath(t);
  let state = await openState({ path, key });
  const untold = { digest: "ee".repeat(32), sealed: Buffer.from("signed") };
  const second = { digest: "ff".repeat(32), sealed: Buffer.from("too") };
  await state.change({ sample, quarantine: halt, recheck });
  await state.change({ quarantine: null, released: ["one"], untold });
  await state.change({ untold: second });
  state = await openState({ path, key });
  assert.deepEqual(state.sample, sample);
  assert.equal(state.quarantine, null);
  assert.deepEqual(state.recheck, recheck);
  assert.deepEqual(state.untold, [untold, second]);
  await state.change({ told: untold.digest, recheck: { ...recheck, done: true } });
  state = await openState({ path, key });
  assert.deepEqual(state.untold, [second]);
  assert.equal(state.recheck?.done, true);
  assert.deepEqual([...state.released], ["one"]);
});

function writeState(path: string, content: unknown): void {
  const json = Buffer.from(`${JSON.stringify(content)}\n`);
  const mac = hmacSha256(key, json).toString("hex");
  writeFileSync(path, Buffer.concat([Buffer.from(`${mac}\n`), json]));
}

test("state: a file of version 1 -> read, its halt and releases kept", async (t) => {
  const path = freshPath(t);
  writeState(path, { version: 1, epoch: 5, halt, released: ["one"] });
  const state = await openState({ path, key });
  assert.deepEqual(state.halts, [{ ...halt, signer: "" }]);
  assert.equal(state.sample, null);
  assert.deepEqual(state.untold, []);
  assert.equal(await state.nextEpoch(), 6);
  assert.match(readFileSync(path, "utf8"), /"version":4/);
  assert.deepEqual((await openState({ path, key })).halts, [{ ...halt, signer: "" }]);
});

test("state: a file of version 3, with and without its one halt -> read; none of version 5", async (t) => {
  const path = freshPath(t);
  const rest = { epoch: 5, trust: null, quarantine: null, sample: null, recheck: null };
  const older = { ...rest, released: [], untold: [] };
  for (const [stored, halts] of [
    [halt, [{ ...halt, signer: "" }]],
    [null, []],
  ] as const) {
    writeState(path, { version: 3, ...older, halt: stored });
    assert.deepEqual((await openState({ path, key })).halts, halts);
  }
  for (const damaged of [
    { version: 5, ...older, halts: [] },
    { version: 3, ...older },
    { version: 4, ...older },
    { version: 4, ...older, halt },
    { version: 4, ...older, halts: [halt] },
    { version: 4, ...older, halts: [null] },
  ]) {
    writeState(path, damaged);
    await assert.rejects(openState({ path, key }), { code: "state.damaged" });
  }
});

test("state: cut anywhere, any byte changed, another key -> refused, and the file is left alone", async (t) => {
  const path = freshPath(t);
  const state = await openState({ path, key });
  await state.nextEpoch();
  await state.change({ halts: [standing], sample, recheck });
  const whole = readFileSync(path);
  for (let at = 0; at < whole.length; at++) {
    const changed = Buffer.from(whole);
    changed[at] = (changed[at] ?? 0) ^ 0x02;
    for (const bytes of [whole.subarray(0, at), changed]) {
      writeFileSync(path, bytes);
      await assert.rejects(openState({ path, key }), { code: "state.damaged" });
      assert.deepEqual(readFileSync(path), bytes);
    }
  }
  writeFileSync(path, whole);
  const other = secretKey(Buffer.alloc(32, 6));
  await assert.rejects(openState({ path, key: other }), { code: "state.damaged" });
});

test("state: a crash that left a half-written new file -> the old state stands", async (t) => {
  const path = freshPath(t);
  await (await openState({ path, key })).nextEpoch();
  writeFileSync(`${path}.new`, "half of somethi");
  assert.equal(await (await openState({ path, key })).nextEpoch(), 2);
  assert.equal(existsSync(`${path}.new`), false);
});

test("state: a failing disk -> UnavailableError, and nothing is believed that is not durable", async (t) => {
  const path = freshPath(t);
  const disk = new FaultyDisk(systemDisk);
  const state = await openState({ path, key, disk });
  await state.nextEpoch();
  for (const operation of ["write", "datasync"] as const) {
    disk.arm({ operation, nth: 1, forever: false, code: "ENOSPC", partial: 10 });
    const other = await openState({ path, key, disk });
    await assert.rejects(other.change({ halts: [standing] }), UnavailableError);
    assert.deepEqual(other.halts, []);
    await assert.rejects(other.nextEpoch(), UnavailableError);
  }
  assert.equal(await (await openState({ path, key })).nextEpoch(), 2);
});
