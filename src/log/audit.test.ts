import assert from "node:assert/strict";
import { test } from "node:test";
import { bundleOf, honestScene, inspector, keys, resealed } from "../../tests/evidence-scene.ts";
import { tamperings } from "../../tests/evidence-tampering.ts";
import { publicKeyHex } from "../base/sign.ts";
import { evidencePaths } from "../format/evidence.ts";
import { noteKey, parseVkey } from "../format/note.ts";
import { auditBundle } from "./audit.ts";

test("audit: an honest bundle -> sound, and only what is not over yet is not checked", () => {
  const report = auditBundle(bundleOf(honestScene()), inspector, { epsilonMin: 0.25 });
  assert.equal(report.failure, null);
  assert.deepEqual(report.unchecked, ["the coins of 3 pairs: their round is not revealed yet"]);
  const figures = {
    gateway: "g1",
    entries: 30,
    pairs: 23,
    rounds: 2,
    kept: 11,
    verdicts: 11,
    fails: 1,
  };
  assert.deepEqual(report.figures, figures);
  assert.equal(report.held.length, 12);
});

for (const { name, code, files, epsilonMin = 0 } of tamperings) {
  test(`audit: ${name} -> ${code}`, () => {
    const { failure } = auditBundle(files(), inspector, { epsilonMin });
    assert.equal(failure?.code, code, failure?.why);
    assert.ok(failure.where !== "" && failure.why !== "");
  });
}

test("audit: the inspector has the log's key from elsewhere -> it must be the bundle's", () => {
  const files = bundleOf(honestScene());
  const own = parseVkey((files.get(evidencePaths.logKey) ?? "").toString().trim());
  assert.equal(auditBundle(files, inspector, { log: own }).failure, null);
  const other = noteKey(own.name, own.type, publicKeyHex(keys.stranger));
  assert.equal(auditBundle(files, inspector, { log: other }).failure?.code, "log.key");
});

test("audit: parts that a bundle may lack are left out -> sound, and each is named as not checked", () => {
  const parts = {
    ceremony: /ceremony/,
    chain: /boot chain/,
    commits: /signatures on the commitments/,
    record: /verdicts/,
  };
  for (const [part, words] of Object.entries(parts)) {
    const files = bundleOf(honestScene());
    files.delete(evidencePaths[part as keyof typeof parts]);
    const { failure, unchecked } = auditBundle(resealed(files), inspector);
    assert.equal(failure, null, part);
    assert.ok(
      unchecked.some((line) => words.test(line)),
      part,
    );
  }
});

test("audit: entries behind the checkpoint -> sound, and the tail is named as not checked", () => {
  const files = bundleOf(honestScene());
  const entries = files.get(evidencePaths.entries) ?? Buffer.alloc(0);
  files.set(evidencePaths.entries, Buffer.concat([entries, entries.subarray(0, 256)]));
  const { failure, unchecked } = auditBundle(resealed(files), inspector);
  assert.equal(failure, null);
  assert.ok(unchecked.includes("2 entries behind the checkpoint: not cosigned"));
});

test("audit: kept pairs lost just before a start -> excused, told, and no more than the budget", () => {
  const lose = (count: number): ReturnType<typeof auditBundle> => {
    const scene = honestScene();
    scene.record = { ...scene.record, verdicts: scene.record.verdicts.slice(0, -count) };
    return auditBundle(bundleOf(scene), inspector);
  };
  assert.equal(lose(4).failure, null);
  assert.ok(lose(4).unchecked.includes("4 kept pairs lost in crashes: nobody recomputed them"));
  assert.equal(lose(5).failure?.code, "verdict.missing");
});

test("audit: pairs whose round was revealed just before the record -> too new to have verdicts", () => {
  const scene = honestScene();
  scene.record = { ...scene.record, atMs: 1_800_000_000_000 - 4_000_000 + 1000, verdicts: [] };
  const { failure, unchecked } = auditBundle(bundleOf(scene), inspector);
  assert.equal(failure, null);
  assert.ok(unchecked.includes("verdicts of 11 kept pairs: too new to have one"));
});
