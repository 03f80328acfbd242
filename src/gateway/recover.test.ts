import assert from "node:assert/strict";
import { test } from "node:test";
import { Writer } from "../base/bytes.ts";
import type { RingKind, RingRecord } from "../format/ring-block.ts";
import { encodeInput } from "../format/pair.ts";
import { encodeEnd, encodePrompt, encodeTokens } from "../format/server-link.ts";
import { makeTag, type Tag } from "../format/tag.ts";
import { recoverPairs, type Recovery } from "./recover.ts";

const tag = (counter: number): Tag => makeTag(1, counter);
const input = encodeInput({
  modelId: "m",
  params: { maxTokens: 10, temperature: 1, topK: 40, topP: 1, stops: [] },
  prompt: { kind: "text", text: "hello" },
});
const inputPayload = new Writer().u64(7n).raw(input).bytes();

const payloads: Record<RingKind, Buffer> = {
  input: inputPayload,
  prompt: encodePrompt([1, 2, 3]),
  tokens: encodeTokens([4, 5], "ab"),
  end: encodeEnd("stop"),
  coin: Buffer.of(1),
};

function records(...list: [number, RingKind, Buffer?][]): RingRecord[] {
  return list.map(([counter, kind, payload]) => {
    return { kind, tag: tag(counter), payload: payload ?? payloads[kind] };
  });
}

function recover(
  ring: RingRecord[],
  leaves: number[] = [],
  outbox: number[] = [],
): Promise<Recovery> {
  const leafTags = new Set(leaves.map(tag));
  const outboxTags = new Set(outbox.map(tag));
  return recoverPairs(
    ring,
    (one) => leafTags.has(one),
    (one) => outboxTags.has(one),
  );
}

const nothing: Recovery = { unlogged: [], undrawn: [], unsent: [], forgotten: [] };

test("recovery: an empty ring -> nothing to do", async () => {
  assert.deepEqual(await recover([]), nothing);
});

test("recovery: complete pairs without leaves, interleaved -> both to be logged, as the server ended them", async () => {
  const ring = records(
    [2, "input"],
    [1, "input"],
    [2, "prompt"],
    [1, "prompt"],
    [1, "tokens"],
    [2, "tokens"],
    [1, "tokens"],
    [2, "end", encodeEnd("length")],
    [1, "end"],
  );
  const { unlogged, ...rest } = await recover(ring);
  assert.deepEqual(rest, { undrawn: [], unsent: [], forgotten: [] });
  assert.deepEqual(
    unlogged.map((pair) => [pair.tag, pair.seed, pair.output.finish, pair.output.text]),
    [
      [tag(1), 7n, "stop", "abab"],
      [tag(2), 7n, "length", "ab"],
    ],
  );
  assert.deepEqual(unlogged[0]?.input, input);
  assert.deepEqual([...(unlogged[0]?.output.tokenIds ?? [])], [4, 5, 4, 5]);
});

test("recovery: pairs that had not ended -> cut off with what was recorded", async () => {
  const ring = records(
    [1, "input"],
    [2, "input"],
    [2, "prompt"],
    [3, "input"],
    [3, "prompt"],
    [3, "tokens"],
  );
  const { unlogged } = await recover(ring);
  const seen = unlogged.map(({ output }) => [output.finish, output.promptIds.length, output.text]);
  assert.deepEqual(seen, [
    ["cut-off", 0, ""],
    ["cut-off", 3, ""],
    ["cut-off", 3, "ab"],
  ]);
});

test("recovery: a frame out of order or undecodable -> the pair is cut off before it", async () => {
  const bad: [RingKind, Buffer][] = [
    ["prompt", payloads.prompt],
    ["tokens", Buffer.of(1, 2)],
  ];
  for (const [kind, payload] of bad) {
    const ring = records(
      [1, "input"],
      [1, "prompt"],
      [1, "tokens"],
      [1, kind, payload],
      [1, "end"],
    );
    const { unlogged } = await recover(ring);
    assert.equal(unlogged[0]?.output.finish, "cut-off");
    assert.equal(unlogged[0]?.output.text, "ab");
  }
});

test("recovery: a leaf without a coin -> to be drawn; with one -> done, or to be sent when it was kept", async () => {
  const whole = (counter: number): [number, RingKind][] => [
    [counter, "input"],
    [counter, "prompt"],
    [counter, "end"],
  ];
  const ring = records(
    ...whole(1),
    ...whole(2),
    ...whole(3),
    ...whole(4),
    ...whole(5),
    [2, "coin", Buffer.of(0)],
    [3, "coin"],
    [4, "coin"],
  );
  // 1 has no coin; 2 was not kept; 3 was kept and lost; 4 was kept and put; 5 was put, its coin lost.
  const found = await recover(ring, [1, 2, 3, 4, 5], [4, 5]);
  assert.deepEqual(found.unlogged, []);
  assert.deepEqual(
    found.undrawn.map((pair) => pair.tag),
    [tag(1)],
  );
  assert.deepEqual(
    found.unsent.map((pair) => pair.tag),
    [tag(3)],
  );
  assert.deepEqual(found.forgotten, []);
});

test("recovery: the beginning forgotten -> reported, unless the pair is settled", async () => {
  const ring = records(
    [1, "tokens"],
    [1, "end"],
    [2, "tokens"],
    [2, "coin", Buffer.of(0)],
    [3, "end"],
  );
  const found = await recover(ring, [2, 3], [3]);
  assert.deepEqual(found, { ...nothing, forgotten: [tag(1)] });
});

test("recovery: a coin without a leaf -> refused: the log was put back", async () => {
  const ring = records([1, "input"], [1, "prompt"], [1, "end"], [1, "coin"]);
  await assert.rejects(recover(ring), { code: "recover.log-behind" });
});

test("recovery: an input record twice, or undecodable -> refused", async () => {
  await assert.rejects(recover(records([1, "input"], [1, "input"])), { code: "recover.twice" });
  await assert.rejects(recover(records([1, "input", Buffer.of(1)])), { code: "recover.input" });
});
