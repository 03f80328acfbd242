import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { openReplayEngine } from "../../adapter/llama/replay.ts";
import { sha256 } from "../../base/hash.ts";
import type { RecordedVerdict } from "../../format/evidence.ts";
import { decodeLeaf, encodeLeaf, inputDigestOf, outputDigestOf } from "../../format/leaf.ts";
import { expectedOutput } from "../../format/output-rules.ts";
import { encodeInput, encodeOutput, type Input, type Output } from "../../format/pair.ts";
import { makeTag } from "../../format/tag.ts";
import type { Verdict } from "../../format/verdict.ts";
import type { WhitelistEntry } from "../../format/whitelist.ts";
import type { AuditedPair } from "../../log/audit-claims.ts";
import { readModel } from "../redteam/model.ts";
import { disagreement, recompute, type RecomputeOptions } from "./recompute.ts";

const file = (name: string): string =>
  fileURLToPath(new URL(`../../../models/${name}`, import.meta.url));
const model = file("weir-tiny.gguf");
const options: RecomputeOptions = {
  ...{ model, profile: file("weir-tiny.profile.json"), threads: 1 },
  progress: () => undefined,
};

const params = { maxTokens: 6, temperature: 0, topK: 8, topP: 1, stops: [] };

/** Six greedy tokens of the model; `spoil` changes them before they are spelled. */
async function greedyPair(
  entry: WhitelistEntry,
  spoil: (ids: number[]) => number[],
): Promise<AuditedPair> {
  const input: Input = {
    modelId: entry.modelId,
    params,
    prompt: { kind: "text", text: "Once upon a time" },
  };
  const engine = await openReplayEngine(entry, model, { threads: 1 });
  try {
    const promptIds = engine.promptIds(input.prompt);
    let tokenIds: number[] = [];
    while (tokenIds.length < params.maxTokens) {
      const best = (await engine.replay(promptIds, [...tokenIds, 0], 4)).at(-1)?.ids[0];
      tokenIds.push(best ?? 0);
      if (engine.isEndOfGeneration(best ?? 0)) break;
    }
    tokenIds = spoil(tokenIds);
    const { text, finish } = expectedOutput({
      ...{
        ids: tokenIds,
        speller: engine.speller(),
        isEnd: (id: number) => engine.isEndOfGeneration(id),
      },
      ...{ stops: [], maxTokens: params.maxTokens, promptTokens: promptIds.length },
      contextTokens: entry.generation.contextTokens,
    });
    return pairOf(entry, input, {
      ...{ promptIds: Uint32Array.from(promptIds), tokenIds: Uint32Array.from(tokenIds), text },
      finish: finish ?? "length",
    });
  } finally {
    await engine.close();
  }
}

function pairOf(entry: WhitelistEntry, input: Input, output: Output): AuditedPair {
  const bytes = {
    input: encodeInput(input),
    output: encodeOutput(output),
    salt: sha256(Buffer.from("salt")),
  };
  const leaf = encodeLeaf({
    ...{
      tag: makeTag(1, 1),
      completedMs: 0,
      seed: 1n,
      entryDigest: entry.digest,
      finish: output.finish,
    },
    tokens: output.tokenIds.length,
    inputDigest: inputDigestOf(bytes.salt, bytes.input),
    outputDigest: outputDigestOf(bytes.salt, bytes.output),
  });
  return {
    index: 3,
    where: "pairs.jsonl, line 1",
    leaf: decodeLeaf(leaf),
    decoded: { input, output },
    entry,
    ...bytes,
  };
}

async function entryOf(): Promise<WhitelistEntry> {
  return (await readModel({ model, profile: options.profile, policy: undefined })).entry;
}

const verdict = (kind: "pass" | "fail", findings: readonly string[]): RecordedVerdict => {
  return { tag: "0000010000000001", index: 3, kind, atMs: 0, request: "", findings };
};

test("recompute: a pair that the model gave -> it holds; one that it would not give -> replay.fail", async () => {
  const entry = await entryOf();
  const honest = await greedyPair(entry, (ids) => ids);
  const sound = await recompute(
    { pairs: [honest], verdicts: new Map([[3, verdict("pass", [])]]) },
    options,
  );
  assert.equal(sound.failure, null, sound.failure?.why);
  assert.match(sound.held.join(), /1 of 1 disclosed pairs/);
  const cheat = await greedyPair(entry, (ids) => ids.map((id, i) => (i === 3 ? id + 1 : id)));
  const passed = await recompute(
    { pairs: [cheat], verdicts: new Map([[3, verdict("pass", [])]]) },
    options,
  );
  assert.equal(passed.failure?.code, "replay.fail");
  assert.match(passed.failure.why, /token\./);
  const failed = new Map([[3, verdict("fail", ["token.margin"])]]);
  assert.equal((await recompute({ pairs: [cheat], verdicts: failed }, options)).failure, null);
  assert.equal(
    (await recompute({ pairs: [honest], verdicts: failed }, options)).failure?.code,
    "replay.pass",
  );
});

test("recompute: pairs of other weights than the given model's -> not checked, and it is said", async () => {
  const entry = await entryOf();
  const other = { ...entry, weights: { ...entry.weights, root: Buffer.alloc(32) } };
  const pair = pairOf(
    other,
    { modelId: "x", params, prompt: { kind: "text", text: "x" } },
    {
      ...{ promptIds: Uint32Array.of(1), tokenIds: Uint32Array.of(1), text: "x", finish: "length" },
    },
  );
  const { failure, unchecked } = await recompute({ pairs: [pair], verdicts: new Map() }, options);
  assert.equal(failure, null);
  assert.match(unchecked.join(), /1 disclosed pairs: of another model/);
});

test("recompute: verdicts beside what is found here -> only those that one pair decides are held against it", () => {
  const found = (kind: "pass" | "fail"): Verdict => ({
    kind,
    findings: [],
    scores: null,
    reason: "",
  });
  const at = { where: "pairs.jsonl, line 1" };
  assert.equal(disagreement(at, found("fail"), undefined)?.code, "replay.fail");
  assert.equal(disagreement(at, found("pass"), undefined), null);
  assert.equal(disagreement(at, found("pass"), verdict("fail", ["evidence.threshold"])), null);
  assert.equal(
    disagreement(at, found("pass"), verdict("fail", ["token.margin"]))?.code,
    "replay.pass",
  );
});
