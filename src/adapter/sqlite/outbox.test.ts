import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test, type TestContext } from "node:test";
import { secretKey } from "../../base/hash.ts";
import { epochMax, makeTag } from "../../format/tag.ts";
import { systemRandom } from "../random.ts";
import { openOutbox, type OutboxOptions } from "./outbox.ts";

const key = secretKey(Buffer.alloc(32, 7));

function freshOptions(t: TestContext): OutboxOptions {
  const dir = mkdtempSync(join(tmpdir(), "weir-outbox-"));
  t.after(() => {
    rmSync(dir, { recursive: true, force: true });
  });
  const path = join(dir, "outbox.db");
  return { path, key, random: systemRandom, capacity: 4, capacityBytes: 1000 };
}

const item = (counter: number, text = `request ${counter}`, epoch = 1) => ({
  tag: makeTag(epoch, counter),
  request: Buffer.from(text),
});

test("outbox: items put -> listed by rising tag from any point, also after a restart", (t) => {
  const options = freshOptions(t);
  let outbox = openOutbox(options);
  outbox.put([item(3), item(1)]);
  outbox.put([item(7, "late", epochMax), item(2)]);
  outbox.close();
  outbox = openOutbox(options);
  assert.equal(outbox.waiting, 4);
  assert.deepEqual(outbox.list(null, 10), [item(1), item(2), item(3), item(7, "late", epochMax)]);
  assert.deepEqual(outbox.list(makeTag(1, 2), 1), [item(3)]);
  assert.equal(outbox.knows(makeTag(1, 2)), true);
  assert.deepEqual(outbox.find(makeTag(1, 1)), item(1));
  assert.equal(outbox.find(makeTag(1, 4)), null);
  assert.equal(outbox.knows(makeTag(1, 4)), false);
  outbox.close();
});

test("outbox: a tag put again, settled or not -> ignored; its verdict stands", (t) => {
  const outbox = openOutbox(freshOptions(t));
  outbox.put([item(1, "first"), item(1, "second")]);
  outbox.put([item(1, "third")]);
  assert.deepEqual(outbox.list(null, 10), [item(1, "first")]);
  assert.equal(outbox.verdictOf(makeTag(1, 1)), null);
  outbox.settle([{ tag: makeTag(1, 1), verdict: "pass" }]);
  outbox.settle([{ tag: makeTag(1, 1), verdict: "pass" }]);
  outbox.put([item(1, "fourth")]);
  assert.equal(outbox.waiting, 0);
  assert.equal(outbox.find(makeTag(1, 1)), null);
  assert.deepEqual(outbox.list(null, 10), []);
  assert.equal(outbox.knows(makeTag(1, 1)), true);
  assert.equal(outbox.verdictOf(makeTag(1, 1)), "pass");
  assert.throws(
    () => {
      outbox.settle([{ tag: makeTag(1, 1), verdict: "fail" }]);
    },
    { code: "outbox.settled" },
  );
  assert.throws(
    () => {
      outbox.settle([{ tag: makeTag(1, 9), verdict: "pass" }]);
    },
    { code: "outbox.unknown" },
  );
  outbox.close();
});

test("outbox: too many items or bytes -> refused whole; settling makes room", (t) => {
  const options = freshOptions(t);
  let outbox = openOutbox(options);
  outbox.put([item(1), item(2), item(3)]);
  const full = { code: "outbox.full", effect: "none" };
  assert.equal(outbox.roomFor(1, 100), true);
  assert.equal(outbox.roomFor(2, 100), false);
  assert.throws(() => {
    outbox.put([item(4), item(5)]);
  }, full);
  assert.equal(outbox.knows(makeTag(1, 4)), false);
  assert.throws(() => {
    outbox.put([item(4, "x".repeat(980))]);
  }, full);
  outbox.settle([{ tag: makeTag(1, 1), verdict: "pass" }]);
  outbox.close();
  outbox = openOutbox(options);
  outbox.put([item(4), item(5)]);
  assert.equal(outbox.waiting, 4);
  outbox.close();
});

test("outbox: the files -> no payload readable, waiting or settled", (t) => {
  const options = freshOptions(t);
  const outbox = openOutbox(options);
  const secret = "a very recognisable request of a user";
  outbox.put([item(1, secret), item(2, secret)]);
  outbox.settle([{ tag: makeTag(1, 1), verdict: "pass" }]);
  const files = (): string =>
    readFileSync(options.path, "latin1") + readFileSync(`${options.path}-wal`, "latin1");
  assert.equal(files().includes("recognisable"), false);
  outbox.close();
  assert.equal(readFileSync(options.path, "latin1").includes("recognisable"), false);
});

test("outbox: a row changed, cut, or moved to another tag -> InvalidError that names the tag", (t) => {
  const options = freshOptions(t);
  const damage = [
    "UPDATE items SET sealed = substr(sealed, 1, length(sealed) - 1)",
    "UPDATE items SET sealed = x'00'",
    "UPDATE items SET sealed = CAST(substr(sealed, 1, 14) || x'01ff' || substr(sealed, 17) AS BLOB)",
    "UPDATE items SET tag = tag + 1",
  ];
  for (const sql of damage) {
    rmSync(options.path, { force: true });
    const outbox = openOutbox(options);
    outbox.put([item(1, "some request of more than a few bytes")]);
    outbox.close();
    const db = new DatabaseSync(options.path);
    db.exec(sql);
    db.close();
    const again = openOutbox(options);
    assert.throws(() => again.list(null, 1), { code: "outbox.sealed" }, sql);
    again.close();
  }
});

test("outbox: opened twice -> the second is told that it is locked", (t) => {
  const options = freshOptions(t);
  const outbox = openOutbox(options);
  assert.throws(() => openOutbox(options), { code: "outbox.locked", effect: "none" });
  outbox.close();
  openOutbox(options).close();
});

test("outbox: a file that is no database -> UnavailableError, left alone", (t) => {
  const options = freshOptions(t);
  writeFileSync(options.path, "not a database at all, but long enough to look at".repeat(20));
  assert.throws(() => openOutbox(options), { code: "outbox.open" });
});
