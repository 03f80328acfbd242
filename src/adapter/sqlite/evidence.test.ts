import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test, type TestContext } from "node:test";
import { makeTag } from "../../format/tag.ts";
import type {
  EvidenceChange,
  JudgedPair,
  NotedRelease,
  StoredEvidence,
} from "../../recomputer/store.port.ts";
import { openRecomputerDb } from "./verdicts.ts";

function fileIn(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), "weir-evidence-"));
  t.after(() => {
    rmSync(dir, { recursive: true });
  });
  return join(dir, "v.sqlite");
}

const pair = (counter: number): JudgedPair => ({
  ...{ gateway: "g1", tag: makeTag(1, counter), requestDigest: Buffer.alloc(32, 1) },
  ...{ modelId: "m", entry: "04".repeat(32), leafIndex: BigInt(counter) },
  ...{ completedMs: 5, judgedMs: 6, msPerToken: 0.5 },
  verdict: {
    ...{ kind: "pass", findings: [], reason: "" },
    scores: { tokens: 4, mismatches: 1, meanMargin: 0.001, maxMargin: 0.004 },
  },
  margins: new Float64Array(4),
  request: null,
});

const evidence: StoredEvidence = {
  ...{ gateway: "g1", entry: "04".repeat(32), modelId: "m", life: 1, sinceMs: 0 },
  ...{ pairs: 1, tokens: 4, taken: ["raise-epsilon"], undone: [], state: '{"any":1}' },
};
const step = {
  ...{ cause: "step:g1:1:raise-epsilon", gateway: "g1", step: "raise-epsilon" as const },
  ...{ epsilon: 0.5, reason: "why" },
};
const change: EvidenceChange = { evidence, counts: true, steps: [step] };

test("evidence: put with its pair -> there after reopening, with the step that is due", (t) => {
  const file = fileIn(t);
  const first = openRecomputerDb(file);
  first.verdicts.put(pair(1), change);
  first.close();
  const { verdicts, close } = openRecomputerDb(file);
  assert.deepEqual(verdicts.evidence(), [evidence]);
  assert.deepEqual(verdicts.unactedSteps(), [step]);
  verdicts.stepActed(step.cause);
  assert.deepEqual(verdicts.unactedSteps(), []);
  close();
});

test("evidence: one of the writes of a pair fails -> none is kept", () => {
  const { verdicts, close } = openRecomputerDb(":memory:");
  verdicts.put(pair(1), change);
  const again = { ...evidence, pairs: 2 };
  // The step has been noted before: its cause is unique.
  assert.throws(() => verdicts.put(pair(2), { ...change, evidence: again }), /UNIQUE/);
  assert.equal(verdicts.find("g1", makeTag(1, 2)), null);
  assert.deepEqual(verdicts.evidence(), [evidence]);
  assert.deepEqual(verdicts.counts(), { pass: 1, fail: 0, tokens: 4 });
  // A pair that was judged counts for nothing again.
  assert.throws(
    () => verdicts.put(pair(1), { evidence: again, counts: true, steps: [] }),
    /UNIQUE/,
  );
  assert.deepEqual(verdicts.evidence(), [evidence]);
  close();
});

test("evidence: a release -> noted as signed, the ended life kept beside the new one", (t) => {
  const file = fileIn(t);
  const { verdicts, alarms, close } = openRecomputerDb(file);
  verdicts.put(pair(1), change);
  const release: NotedRelease = {
    ...{ digest: "aa".repeat(32), gateway: "g1", ended: "bb".repeat(32), signer: "cc".repeat(32) },
    ...{ reason: "new board", atMs: 9, sealed: Buffer.from("signed") },
  };
  assert.equal(alarms.knowsRelease(release.digest), false);
  const fresh = { ...evidence, life: 2, sinceMs: 8, pairs: 0, tokens: 0, taken: [], state: "" };
  verdicts.putRelease(release, [fresh]);
  assert.equal(alarms.knowsRelease(release.digest), true);
  assert.deepEqual(verdicts.evidence(), [fresh]);
  assert.throws(() => {
    verdicts.putRelease(release, []);
  }, /UNIQUE/);
  close();
  const db = new DatabaseSync(file);
  const ended = db.prepare("SELECT release, life, pairs, state FROM ended_evidence").all();
  assert.deepEqual(
    ended.map((row) => ({ ...row })),
    [{ release: release.digest, life: 1, pairs: 1, state: evidence.state }],
  );
  db.close();
});

/** The tables of schema 1, with a verdict, an alarm and an order in them. */
const schema1 = `
  CREATE TABLE epoch (gateway TEXT NOT NULL, epoch INTEGER NOT NULL, key BLOB NOT NULL,
    PRIMARY KEY (gateway, epoch)) STRICT;
  CREATE TABLE verdict (seq INTEGER PRIMARY KEY,
    gateway TEXT NOT NULL, tag TEXT NOT NULL, kind TEXT NOT NULL,
    model TEXT NOT NULL, leaf_index TEXT NOT NULL, request_digest BLOB NOT NULL,
    completed_ms INTEGER NOT NULL, judged_ms INTEGER NOT NULL, findings TEXT NOT NULL,
    tokens INTEGER, mismatches INTEGER, mean_margin REAL, max_margin REAL,
    margins BLOB NOT NULL, ms_per_token REAL NOT NULL,
    request BLOB, acted INTEGER NOT NULL, UNIQUE (gateway, tag)) STRICT;
  CREATE INDEX verdict_unacted ON verdict (seq) WHERE acted = 0;
  CREATE TABLE alarm (seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, at_ms INTEGER NOT NULL,
    severity TEXT NOT NULL, kind TEXT NOT NULL, subject TEXT NOT NULL, text TEXT NOT NULL,
    repeats INTEGER NOT NULL DEFAULT 0, open INTEGER NOT NULL DEFAULT 1) STRICT;
  CREATE INDEX alarm_open ON alarm (kind, subject) WHERE open = 1;
  CREATE TABLE shutdown_order (seq INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE,
    gateway TEXT NOT NULL, issued_ms INTEGER NOT NULL, sealed BLOB NOT NULL,
    settled_ms INTEGER) STRICT;
  CREATE INDEX order_gateway ON shutdown_order (gateway, seq);
  INSERT INTO verdict VALUES (1, 'g1', '0000010000000007', 'pass', 'm', '3', x'01', 1, 2, '[]',
    4, 0, 0.0, 0.0, x'', 0.5, NULL, 1);
  INSERT INTO alarm (id, at_ms, severity, kind, subject, text)
    VALUES ('a', 1, 'critical', 'verdict.fail', 'g1', 'words');
  INSERT INTO shutdown_order VALUES (1, '${"dd".repeat(32)}', 'g1', 5, x'02', 6);
  PRAGMA user_version = 1;
`;

test("evidence: a file of schema 1 -> brought to schema 2 with all that it held", (t) => {
  const file = fileIn(t);
  const old = new DatabaseSync(file);
  old.exec(schema1);
  old.close();
  for (let opening = 1; opening <= 2; opening++) {
    const { verdicts, alarms, close } = openRecomputerDb(file);
    assert.equal(verdicts.counts().pass, opening);
    assert.equal(alarms.alarms(9).length, 1);
    const order = alarms.lastShutdown("g1");
    assert.equal(order?.digest, "dd".repeat(32));
    assert.equal(order.action, "shutdown");
    assert.equal(order.settledMs, 6);
    if (opening === 1) verdicts.put(pair(8), change);
    assert.deepEqual(verdicts.evidence(), [evidence]);
    close();
  }
});
