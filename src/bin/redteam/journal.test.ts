import assert from "node:assert/strict";
import { appendFileSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { InvalidError } from "../../base/assert.ts";
import { trialOf } from "./fixture.ts";
import { Journal } from "./journal.ts";

function place(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), "weir-test-"));
  t.after(() => {
    rmSync(folder, { recursive: true });
  });
  return join(folder, "trials.jsonl");
}

test("journal: resumed -> what was written is there and is not run again", (t) => {
  const path = place(t);
  const first = Journal.create(path);
  first.add(trialOf());
  first.add({ schema: 1, kind: "skipped", attack: "lora", mode: "lab", seed: 2, why: "no" });
  const again = Journal.resume(path);
  assert.deepEqual(again.trials, [trialOf()]);
  assert.ok(again.has({ attack: "wrong-seed", mode: "lab", seed: 1 }));
  assert.ok(again.has({ attack: "lora", mode: "lab", seed: 2 }));
  assert.ok(!again.has({ attack: "wrong-seed", mode: "live", seed: 1 }));
});

test("journal: a last line that a crash cut off -> dropped, the next one stands by itself", (t) => {
  const path = place(t);
  Journal.create(path).add(trialOf());
  appendFileSync(path, '{"schema":1,"kind":"tri');
  const again = Journal.resume(path);
  assert.equal(again.trials.length, 1);
  again.add(trialOf({ seed: 2 }));
  assert.equal(Journal.resume(path).trials.length, 2);
  assert.equal(readFileSync(path, "utf8").split("\n").length, 3);
});

test("journal: a file that is there, is missing or holds something else -> a message that says so", (t) => {
  const path = place(t);
  assert.throws(() => Journal.resume(path), /there is no file/);
  Journal.create(path).add(trialOf());
  assert.throws(() => Journal.create(path), /--resume/);
  for (const line of ["nonsense", "{}", '{"schema":2,"kind":"trial"}', '{"schema":1,"kind":"x"}']) {
    const other = `${path}.${line.length}`;
    appendFileSync(other, `${line}\n`);
    assert.throws(() => Journal.resume(other), InvalidError, line);
  }
});
