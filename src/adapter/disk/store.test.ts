import assert from "node:assert/strict";
import { copyFileSync, cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { secretKey } from "../../base/hash.ts";
import { encodeLeaf } from "../../format/leaf.ts";
import { makeTag } from "../../format/tag.ts";
import { systemRandom } from "../random.ts";
import { openGatewayStore, type GatewayStoreOptions } from "./store.ts";

function freshOptions(t: TestContext): GatewayStoreOptions {
  const dir = mkdtempSync(join(tmpdir(), "weir-store-"));
  t.after(() => {
    rmSync(dir, { recursive: true, force: true });
  });
  return {
    dir: join(dir, "store"),
    rootKey: secretKey(Buffer.alloc(32, 9)),
    entry: { generation: { contextTokens: 100 } },
    random: systemRandom,
    ringBytes: 4 * 8192,
    segments: 4,
    recordBytes: 1000,
    pairBytes: 4000,
    outboxPairs: 10,
  };
}

function leaf(epoch: number): Buffer {
  const digest = Buffer.alloc(32, 1);
  return encodeLeaf({
    tag: makeTag(epoch, 1),
    completedMs: 1,
    seed: 1n,
    entryDigest: digest,
    inputDigest: digest,
    outputDigest: digest,
    finish: "stop",
    tokens: 1,
  });
}

test("store: started again and again -> epochs rise, what was written stays, no notes", async (t) => {
  const options = freshOptions(t);
  for (let epoch = 1; epoch <= 3; epoch++) {
    const opened = await openGatewayStore(options);
    assert.equal(opened.epoch, epoch);
    assert.deepEqual(opened.notes, []);
    assert.equal(opened.store.log.size, BigInt(epoch - 1));
    opened.store.ring.add("input", makeTag(epoch, 1), Buffer.of(epoch));
    opened.store.log.append(leaf(epoch));
    await opened.store.ring.commit();
    await opened.store.log.commit();
    await opened.close();
  }
});

test("store: opened twice at once -> the second is refused before it takes an epoch", async (t) => {
  const options = freshOptions(t);
  const opened = await openGatewayStore(options);
  await assert.rejects(openGatewayStore(options), { code: "outbox.locked" });
  await opened.close();
  const again = await openGatewayStore(options);
  assert.equal(again.epoch, 2);
  await again.close();
});

test("store: another root key -> refused", async (t) => {
  const options = freshOptions(t);
  await (await openGatewayStore(options)).close();
  const rootKey = secretKey(Buffer.alloc(32, 8));
  await assert.rejects(openGatewayStore({ ...options, rootKey }), { code: "state.damaged" });
});

test("store: the state file lost or put back -> refused, because tags would repeat", async (t) => {
  const options = freshOptions(t);
  const state = join(options.dir, "state");
  await (await openGatewayStore(options)).close();
  copyFileSync(state, `${options.dir}.old`);
  const opened = await openGatewayStore(options);
  opened.store.ring.add("input", makeTag(opened.epoch, 1), Buffer.of(1));
  await opened.store.ring.commit();
  await opened.close();
  rmSync(state);
  await assert.rejects(openGatewayStore(options), { code: "ring.epoch" });
  copyFileSync(`${options.dir}.old`, state);
  await assert.rejects(openGatewayStore(options), { code: "ring.epoch" });
});

test("store: state and ring put back, but not the log -> refused", async (t) => {
  const options = freshOptions(t);
  await (await openGatewayStore(options)).close();
  const old = `${options.dir}.old`;
  cpSync(options.dir, old, { recursive: true });
  const opened = await openGatewayStore(options);
  opened.store.log.append(leaf(opened.epoch));
  await opened.store.log.commit();
  await opened.close();
  for (const part of ["state", "ring"]) {
    rmSync(join(options.dir, part), { recursive: true });
    cpSync(join(old, part), join(options.dir, part), { recursive: true });
  }
  await assert.rejects(openGatewayStore(options), { code: "store.epoch" });
});

test("store: a ring too small for the longest pair -> refused", async (t) => {
  const { pairBytes, ...options } = freshOptions(t);
  assert.equal(pairBytes, 4000);
  await assert.rejects(openGatewayStore(options), { code: "ring.config" });
});
