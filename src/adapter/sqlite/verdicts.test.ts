import assert from "node:assert/strict";
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test, type TestContext } from "node:test";
import fc from "fast-check";
import { makeTag } from "../../format/tag.ts";
import type { JudgedPair } from "../../recomputer/store.port.ts";
import { openRecomputerDb, packMargins, unpackMargins } from "./verdicts.ts";

function folder(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), "weir-verdicts-"));
  t.after(() => rmSync(dir, { recursive: true }));
  return dir;
}

const pass: JudgedPair = {
  ...{ gateway: "g1", tag: makeTag(2 ** 24 - 1, 3), requestDigest: Buffer.alloc(32, 1) },
  ...{
    modelId: "m",
    entry: "04".repeat(32),
    leafIndex: 2n ** 63n,
    completedMs: 5,
    judgedMs: 6,
    msPerToken: 0.5,
  },
  verdict: {
    ...{ kind: "pass", findings: [], reason: "" },
    scores: { tokens: 4, mismatches: 1, meanMargin: 0.001, maxMargin: 0.004 },
  },
  margins: Float64Array.of(0, 0.004, 0, 0),
  request: null,
};
const fail: JudgedPair = {
  ...pass,
  tag: makeTag(2, 1),
  verdict: {
    ...{ kind: "fail", reason: "", scores: null },
    findings: [{ id: "seed.law", evidence: "not the seed" }],
  },
  margins: new Float64Array(0),
  request: Buffer.from("the request"),
};

test("verdicts: what was put -> is found after reopening, counts and evidence too", (t) => {
  const file = join(folder(t), "v.sqlite");
  const first = openRecomputerDb(file);
  first.verdicts.put(pass, null);
  first.verdicts.put(fail, null);
  const before = first.verdicts.counts();
  first.close();
  const { verdicts, close } = openRecomputerDb(file);
  assert.deepEqual(verdicts.counts(), before);
  assert.deepEqual(before, { pass: 1, fail: 1, tokens: 4 });
  assert.deepEqual(verdicts.find("g1", fail.tag), {
    kind: "fail",
    requestDigest: fail.requestDigest,
  });
  assert.equal(verdicts.find("g2", fail.tag), null);
  const info = verdicts.info("g1", pass.tag);
  assert.equal(info.tag, "g1.ffffff0000000003");
  assert.deepEqual(info.verdict?.scores, pass.verdict.scores);
  assert.ok(info.evidence.some((line) => line.includes("position 1: margin 0.00400")));
  assert.ok(verdicts.info("g1", fail.tag).evidence.includes("seed.law: not the seed"));
  assert.equal(verdicts.info("g1", makeTag(1, 1)).verdict, null);
  assert.deepEqual(
    verdicts.recent(1).map(({ kind }) => kind),
    ["fail"],
  );
  assert.deepEqual(
    verdicts.recent(9).map(({ kind }) => kind),
    ["pass", "fail"],
  );
  close();
});

test("verdicts: a FAIL -> unacted until it is acted on; a tag twice -> refused", () => {
  const { verdicts, close } = openRecomputerDb(":memory:");
  verdicts.put(pass, null);
  verdicts.put(fail, null);
  assert.deepEqual(verdicts.unacted(), [
    { gateway: "g1", tag: fail.tag, completedMs: 5, findings: fail.verdict.findings },
  ]);
  verdicts.acted("g1", fail.tag);
  assert.deepEqual(verdicts.unacted(), []);
  assert.throws(() => verdicts.put(pass, null), /UNIQUE/);
  close();
});

test("verdicts: an epoch's first key stays", () => {
  const { verdicts, close } = openRecomputerDb(":memory:");
  const notice = { gateway: "g1", epoch: 3, epochKey: Buffer.alloc(32, 1) };
  assert.equal(verdicts.epochKey("g1", 3), null);
  assert.equal(verdicts.putEpoch(notice), "new");
  assert.equal(verdicts.putEpoch(notice), "known");
  assert.equal(verdicts.putEpoch({ ...notice, epochKey: Buffer.alloc(32, 2) }), "conflict");
  assert.deepEqual(verdicts.epochKey("g1", 3), notice.epochKey);
  assert.deepEqual(verdicts.gateways(), ["g1"]);
  close();
});

test("verdicts: the file -> readable by its owner only, and by one process at a time", (t) => {
  const file = join(folder(t), "v.sqlite");
  const first = openRecomputerDb(file);
  first.verdicts.put(pass, null);
  assert.equal(statSync(file).mode & 0o777, 0o600);
  assert.throws(() => openRecomputerDb(file), { code: "sqlite.open" });
  first.close();
  openRecomputerDb(file).close();
});

test("verdicts: a file that is no database, or of another version -> a clear error", (t) => {
  const dir = folder(t);
  writeFileSync(join(dir, "junk"), "this is not a database at all ".repeat(100));
  assert.throws(() => openRecomputerDb(join(dir, "junk")), { code: "sqlite.open" });
  assert.throws(() => openRecomputerDb(join(dir, "no", "folder")), { code: "sqlite.open" });
  const other = new DatabaseSync(join(dir, "other"));
  other.exec("PRAGMA user_version = 99");
  other.close();
  assert.throws(() => openRecomputerDb(join(dir, "other")), { code: "sqlite.version" });
});

test("margins: packing -> keeps position and value of every one that is not 0", () => {
  const margin = fc.oneof(
    fc.constant(0),
    fc.constant(Infinity),
    fc.float({ min: 0, max: 99, noNaN: true }),
  );
  fc.assert(
    fc.property(fc.array(margin, { maxLength: 200 }), (margins) => {
      const expected = margins.map((value, position) => ({ position, margin: value }));
      const packed = packMargins(Float64Array.from(margins));
      assert.deepEqual(
        unpackMargins(packed),
        expected.filter((entry) => entry.margin !== 0),
      );
    }),
  );
  assert.throws(() => unpackMargins(Buffer.alloc(7)), { code: "margins.length" });
});
