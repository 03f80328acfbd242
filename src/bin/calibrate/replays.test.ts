import assert from "node:assert/strict";
import { test } from "node:test";
import { replays } from "./plan.ts";
import { replayName, type MadePair } from "./protocol.ts";
import { fitting, replaysOf, type ServedGroup } from "./replays.ts";

const made = (index: number): MadePair => ({
  ...{ index, width: 0, params: { temperature: 1, topP: 1, topK: 1 } },
  ...{ promptIds: new Uint32Array(1), ids: new Uint32Array(1) },
  ...{ serverIds: new Uint32Array(), serverLogits: new Float32Array() },
});
const group = (server: string, from: number, count: number): ServedGroup => ({
  ...{ server, shape: { parallel: 1, threads: 1 } },
  pairs: Array.from({ length: count }, (_, i) => made(from + i)),
});
const groups = [group("a", 0, 24), group("b", 100, 8)];

test("replays: one reference -> prefill for every pair, each blind once, servers mixed", () => {
  const [prefill, ...blind] = replaysOf(replays, groups, 0);
  assert.equal(new Set(prefill?.pairs.map(({ index }) => index)).size, 32);
  const blindly = blind.flatMap(({ pairs }) => pairs.map(({ index }) => index));
  assert.deepEqual([blindly.length, new Set(blindly).size], [32, 32]);
  for (const { pairs, replay } of blind) {
    assert.ok(
      pairs.some(({ index }) => index >= 100),
      replayName(replay),
    );
    assert.ok(
      pairs.some(({ index }) => index < 100),
      replayName(replay),
    );
  }
});

test("replays: eight references -> each pair alone on some of them", () => {
  const alone = new Set<number>();
  for (let reference = 0; reference < 8; reference++) {
    const task = replaysOf(replays, groups, reference)[1];
    assert.deepEqual(task?.replay, { mode: "blind", slots: 1 });
    for (const { index } of task.pairs) alone.add(index);
  }
  assert.equal(alone.size, 32);
});

test("replays: caches for fewer slots -> fewer side by side, and no way twice", () => {
  const names = (slots: number): string[] =>
    fitting(replays, slots).map(({ replay }) => replayName(replay));
  assert.deepEqual(names(32), [
    ...["prefill", "blind, alone", "blind, 8 side by side", "blind, 32 side by side"],
  ]);
  assert.deepEqual(names(8), ["prefill", "blind, alone", "blind, 8 side by side"]);
  assert.deepEqual(names(1), ["prefill", "blind, alone"]);
  assert.equal(fitting(replays, 1)[1]?.pairs, 1);
});
