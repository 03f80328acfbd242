/**
 * kill -9 at random moments, many times, on the same directory. What the killed process had reported
 * as durable must be there; what it had not may be there or not; nothing may be half there unnoticed.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { systemClock } from "../../src/adapter/clock.ts";
import { openGatewayStore, type OpenGatewayStore } from "../../src/adapter/disk/store.ts";
import { sha256Hex } from "../../src/base/hash.ts";
import { leafHash, MerkleFrontier } from "../../src/base/merkle.ts";
import { asTag, type Tag } from "../../src/format/tag.ts";
import { recoverPairs, recoverStore } from "../../src/gateway/recover.ts";
import { entryDigest, randomOf, storeOptions } from "./store-crash-setup.ts";

const rounds = 30;
const worker = join(import.meta.dirname, "store-crash-worker.ts");

/** Everything that any killed process reported, over all rounds. */
class Reported {
  epoch = 0;
  readonly begun = new Set<Tag>();
  /** By tag: "kind sha" of each record, in order. */
  readonly records = new Map<Tag, string[]>();
  readonly leaves = new Map<Tag, bigint>();
  readonly roots = new Map<number, string>();
  readonly kept = new Map<Tag, string>();
  readonly settled = new Set<Tag>();
  highest = 0n;

  line(text: string): void {
    const [what, first = "", second = "", third = ""] = text.split(" ");
    if (what === "epoch") {
      this.boot(Number(first));
      return;
    }
    if (what === "root") {
      const before = this.roots.get(Number(first));
      assert.ok(before === undefined || before === second, "one size has one root");
      this.roots.set(Number(first), second);
      return;
    }
    const tag = asTag(BigInt(`0x${first}`));
    if (what === "begin") {
      assert.ok(tag > this.highest, "a tag rises above every tag ever used");
      this.highest = tag;
      this.begun.add(tag);
    } else if (what === "record") {
      const records = this.records.get(tag) ?? [];
      records.push(`${second} ${third}`);
      this.records.set(tag, records);
    } else if (what === "leaf") this.leaves.set(tag, BigInt(second));
    else if (what === "kept") this.kept.set(tag, second);
    else if (what === "settled") this.settled.add(tag);
    else assert.fail(`the worker said ${text}`);
  }

  boot(epoch: number): void {
    assert.ok(epoch > this.epoch, "epochs rise");
    this.epoch = epoch;
  }
}

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

/** Checks all that was reported against what a fresh start finds. Returns records compared. */
async function check(opened: OpenGatewayStore, dir: string, reported: Reported): Promise<number> {
  const { ring, log, outbox } = opened.store;
  assert.equal(ring.recovered.damaged, 0);
  const found = new Map<Tag, string[]>();
  for await (const { kind, tag, payload } of ring.read()) {
    const records = found.get(tag) ?? [];
    records.push(`${kind} ${sha256Hex(payload)}`);
    found.set(tag, records);
  }
  const through = ring.status().forgottenThrough ?? 0n;
  let compared = 0;
  for (const [tag, records] of reported.records) {
    if (tag <= through) continue;
    const present = found.get(tag) ?? [];
    assert.deepEqual(present.slice(0, records.length), records, `records of ${tag.toString(16)}`);
    compared += records.length;
  }
  for (const [tag, index] of reported.leaves) assert.equal(log.find(tag), index);
  const frontier = new MerkleFrontier();
  const bytes = readFileSync(join(dir, "log", "leaves.log"));
  for (let size = 0; ; size++) {
    const root = reported.roots.get(size);
    if (root !== undefined) assert.equal(frontier.root().toString("hex"), root, `root of ${size}`);
    if (size * 128 >= bytes.length) break;
    frontier.append(leafHash(bytes.subarray(size * 128, size * 128 + 128)));
  }
  assert.ok(Math.max(0, ...reported.roots.keys()) <= Number(log.size));
  const waiting = new Map(outbox.list(null, 1000).map(({ tag, request }) => [tag, request]));
  for (const [tag, digest] of reported.kept) {
    assert.ok(outbox.knows(tag), "a kept pair is never lost");
    const request = waiting.get(tag);
    if (reported.settled.has(tag)) assert.equal(outbox.verdictOf(tag), "pass");
    else if (request !== undefined) assert.equal(sha256Hex(request), digest);
    else assert.equal(outbox.verdictOf(tag), "pass");
  }
  await checkUnfinished(opened, found);
  return compared;
}

/** What had no END comes out as cut off, what had one as ended, and neither is missed. */
async function checkUnfinished(
  { store: { ring, log, outbox } }: OpenGatewayStore,
  found: ReadonlyMap<Tag, readonly string[]>,
): Promise<void> {
  const recovery = await recoverPairs(
    ring.read(),
    (tag) => log.find(tag) !== null,
    (tag) => outbox.knows(tag),
  );
  const unlogged = new Map(recovery.unlogged.map((pair) => [pair.tag, pair.output.finish]));
  for (const [tag, records] of found) {
    if (log.find(tag) !== null || !records.some((record) => record.startsWith("input "))) continue;
    const ended = records.some((record) => record.startsWith("end "));
    assert.equal(unlogged.get(tag), ended ? "stop" : "cut-off");
  }
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
    const options = { store, entryDigest, clock: systemClock, keep: () => true };
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
