import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { InvalidError, UnavailableError } from "../../base/assert.ts";
import { secretKey } from "../../base/hash.ts";
import { emptyRoot, leafHash, merkleRoot, MerkleTree, verifyInclusion } from "../../base/merkle.ts";
import { encodeLeaf } from "../../format/leaf.ts";
import { makeTag } from "../../format/tag.ts";
import { systemDisk } from "./file.ts";
import { FaultyDisk } from "./faulty-disk.ts";
import { openLeafLog } from "./leaf-log.ts";

const key = secretKey(Buffer.alloc(32, 3));

function freshDir(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), "weir-log-"));
  t.after(() => {
    rmSync(dir, { recursive: true, force: true });
  });
  return dir;
}

function leaf(counter: number, epoch = 1): Buffer {
  return encodeLeaf({
    tag: makeTag(epoch, counter),
    completedMs: 1_000_000 + counter,
    seed: BigInt(counter) * 77n,
    entryDigest: Buffer.alloc(32, 1),
    inputDigest: Buffer.alloc(32, counter % 251),
    outputDigest: Buffer.alloc(32, counter % 241),
    finish: "stop",
    tokens: counter,
  });
}

test("leaf log: empty -> size 0 and the empty root, also after a restart", async (t) => {
  const dir = freshDir(t);
  for (let i = 0; i < 2; i++) {
    const log = await openLeafLog({ dir, key });
    assert.equal(log.size, 0n);
    assert.deepEqual(log.root(), emptyRoot);
    assert.equal(log.find(makeTag(1, 1)), null);
    await log.commit();
    await log.close();
  }
});

test("leaf log: appended out of tag order -> root, find and read agree, and so after a restart", async (t) => {
  const dir = freshDir(t);
  const counters = [3, 1, 2, 900, 5, 4, 257, 256, 255];
  const log = await openLeafLog({ dir, key });
  counters.forEach((counter, i) => {
    assert.equal(log.append(leaf(counter)), BigInt(i));
  });
  assert.equal((await log.read(3n)).tokens, 900);
  await log.commit();
  const root = log.root();
  assert.deepEqual(root, merkleRoot(counters.map((counter) => leafHash(leaf(counter)))));
  await log.close();
  const again = await openLeafLog({ dir, key });
  assert.deepEqual(again.root(), root);
  assert.deepEqual(again.recovered, { size: 9n, dropped: 0 });
  assert.equal(again.highest, makeTag(1, 900));
  for (const [i, counter] of counters.entries()) {
    assert.equal(again.find(makeTag(1, counter)), BigInt(i));
    assert.equal((await again.read(BigInt(i))).tag, makeTag(1, counter));
  }
  assert.equal(again.find(makeTag(1, 6)), null);
  assert.equal(again.find(makeTag(2, 3)), null);
  await again.close();
});

test("leaf log: 1,300 leaves, some not durable yet -> every proof is RFC 9162's and verifies", async (t) => {
  const dir = freshDir(t);
  const log = await openLeafLog({ dir, key });
  const hashes: Buffer[] = [];
  const sizes = new Set([1, 2, 3, 255, 256, 257, 511, 512, 600, 768, 1024, 1025, 1300]);
  for (let i = 1; i <= 1300; i++) {
    log.append(leaf(i));
    hashes.push(leafHash(leaf(i)));
    if (i % 350 === 0) await log.commit();
    if (!sizes.has(i)) continue;
    const tree = new MerkleTree(hashes);
    assert.deepEqual(log.root(), tree.root, `root of ${i}`);
    for (const at of [0, 1, Math.floor(i / 3), Math.floor(i / 2), i - 2, i - 1]) {
      if (at < 0 || at >= i) continue;
      const proof = await log.prove(BigInt(at));
      assert.deepEqual(proof, tree.proof(at), `proof of ${at} in ${i}`);
      verifyInclusion(hashes[at] ?? emptyRoot, at, i, proof, tree.root);
    }
  }
  await log.commit();
  await log.close();
  const again = await openLeafLog({ dir, key });
  const tree = new MerkleTree(hashes);
  for (const at of [0, 300, 1023, 1024, 1299]) {
    assert.deepEqual(await again.prove(BigInt(at)), tree.proof(at));
  }
  await again.close();
});

test("leaf log: leaves appended during a commit -> committed by the next one", async (t) => {
  const dir = freshDir(t);
  const log = await openLeafLog({ dir, key });
  log.append(leaf(1));
  const first = log.commit();
  log.append(leaf(2));
  await first;
  const afterFirst = readFileSync(join(dir, "leaves.log")).length;
  await log.commit();
  await log.close();
  assert.equal(afterFirst, 128);
  assert.equal(readFileSync(join(dir, "leaves.log")).length, 256);
});

async function tenLeaves(dir: string): Promise<Buffer> {
  const log = await openLeafLog({ dir, key });
  for (let i = 1; i <= 10; i++) {
    log.append(leaf(i));
    await log.commit();
  }
  const root = log.root();
  await log.close();
  return root;
}

test("leaf log: a batch torn at any byte after the last commit -> dropped and reported", async (t) => {
  const dir = freshDir(t);
  const root = await tenLeaves(dir);
  const path = join(dir, "leaves.log");
  const whole = readFileSync(path);
  const extra = Buffer.concat([leaf(11), leaf(12)]);
  for (let bytes = 1; bytes <= extra.length; bytes += bytes % 127 < 3 ? 1 : 9) {
    writeFileSync(path, Buffer.concat([whole, extra.subarray(0, bytes)]));
    const log = await openLeafLog({ dir, key });
    assert.deepEqual(log.recovered, { size: 10n, dropped: bytes });
    assert.deepEqual(log.root(), root);
    await log.close();
    assert.deepEqual(readFileSync(path), whole);
  }
});

test("leaf log: cut anywhere below its head -> refused, not repaired", async (t) => {
  const dir = freshDir(t);
  await tenLeaves(dir);
  const path = join(dir, "leaves.log");
  const whole = readFileSync(path);
  for (let bytes = 0; bytes < whole.length; bytes += 31) {
    writeFileSync(path, whole.subarray(0, bytes));
    await assert.rejects(openLeafLog({ dir, key }), { code: "log.truncated" });
    assert.equal(readFileSync(path).length, bytes);
  }
});

test("leaf log: any byte of it changed -> refused", async (t) => {
  const dir = freshDir(t);
  await tenLeaves(dir);
  const path = join(dir, "leaves.log");
  const whole = readFileSync(path);
  for (let at = 0; at < whole.length; at += 23) {
    const changed = Buffer.from(whole);
    changed[at] = (changed[at] ?? 0) ^ 0x80;
    writeFileSync(path, changed);
    await assert.rejects(openLeafLog({ dir, key }), InvalidError);
  }
});

test("leaf log: head damaged, lost, or of another key -> refused", async (t) => {
  const dir = freshDir(t);
  await tenLeaves(dir);
  const path = join(dir, "leaves.head");
  const whole = readFileSync(path);
  const other = secretKey(Buffer.alloc(32, 4));
  await assert.rejects(openLeafLog({ dir, key: other }), { code: "log.head" });
  for (let at = 0; at < whole.length; at += 29) {
    const changed = Buffer.from(whole);
    changed[at] = (changed[at] ?? 0) ^ 0x01;
    writeFileSync(path, changed);
    await assert.rejects(openLeafLog({ dir, key }), { code: "log.head" });
  }
  truncateSync(path, 600);
  await assert.rejects(openLeafLog({ dir, key }), { code: "log.head" });
  rmSync(path);
  await assert.rejects(openLeafLog({ dir, key }), { code: "log.head" });
});

test("leaf log: leaves rewritten while it is open -> the proof is refused, not wrong", async (t) => {
  const dir = freshDir(t);
  const log = await openLeafLog({ dir, key });
  for (let i = 1; i <= 300; i++) log.append(leaf(i));
  await log.commit();
  const path = join(dir, "leaves.log");
  const bytes = readFileSync(path);
  bytes[40] = (bytes[40] ?? 0) ^ 1;
  writeFileSync(path, bytes);
  await assert.rejects(log.prove(5n), { code: "log.altered" });
  await log.close();
});

test("leaf log: a write or sync that fails -> UnavailableError; committed leaves survive, the rest is dropped", async (t) => {
  for (const operation of ["write", "datasync"] as const) {
    for (let nth = 1; nth <= 8; nth++) {
      const dir = freshDir(t);
      const disk = new FaultyDisk(systemDisk);
      const log = await openLeafLog({ dir, key, disk });
      disk.arm({
        operation,
        nth,
        forever: nth % 2 === 0,
        code: "EIO",
        partial: operation === "write" && nth % 2 === 1 ? 200 : 0,
      });
      let committed = 0;
      const run = async (): Promise<void> => {
        for (let i = 1; i <= 20; i++) {
          log.append(leaf(2 * i));
          log.append(leaf(2 * i + 1));
          await log.commit();
          committed = 2 * i;
        }
      };
      await assert.rejects(
        run(),
        (error) => error instanceof UnavailableError && error.effect === "unknown",
      );
      await assert.rejects(log.commit(), UnavailableError);
      await log.close();
      const again = await openLeafLog({ dir, key });
      assert.ok(again.size >= BigInt(committed), `${operation} ${nth}`);
      assert.ok(again.size <= BigInt(committed + 2));
      await again.close();
    }
  }
});
