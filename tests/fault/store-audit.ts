/** What a process under fault reported about a store, held against what a fresh start finds. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { OpenGatewayStore } from "../../src/adapter/disk/store.ts";
import { sha256Hex } from "../../src/base/hash.ts";
import { leafHash, MerkleFrontier } from "../../src/base/merkle.ts";
import { asTag, type Tag } from "../../src/format/tag.ts";
import { recoverPairs } from "../../src/gateway/recover.ts";

/** Everything that any killed process reported, over all rounds. */
export class Reported {
  epoch = 0;
  readonly begun = new Set<Tag>();
  /** By tag: "kind sha" of each record, in order. */
  readonly records = new Map<Tag, string[]>();
  readonly leaves = new Map<Tag, bigint>();
  readonly roots = new Map<number, string>();
  readonly kept = new Map<Tag, string>();
  readonly settled = new Set<Tag>();
  /** Halts that were laid on; those of them that were lifted. */
  readonly halts = new Set<string>();
  readonly lifted = new Set<string>();
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
    if (what === "halt" || what === "lifted") {
      (what === "halt" ? this.halts : this.lifted).add(first);
      return;
    }
    if (what === "closed") return;
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

function checkOrders(opened: OpenGatewayStore, reported: Reported): void {
  const { halts, released } = opened.store.state;
  for (const digest of reported.halts) {
    assert.ok(
      halts.some((halt) => halt.digest === digest) || released.has(digest),
      `halt ${digest} stands or was lifted`,
    );
  }
  for (const digest of reported.lifted) assert.ok(released.has(digest), `${digest} was lifted`);
}

/** Checks all that was reported against what a fresh start finds. Returns records compared. */
export async function check(
  opened: OpenGatewayStore,
  dir: string,
  reported: Reported,
): Promise<number> {
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
  checkOrders(opened, reported);
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
