/** The adapter on small models with random weights (fixture.ts): real llama.cpp, no model file. */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import fc from "fast-check";
import { limits } from "../../base/limits.ts";
import { leafHash, merkleRoot } from "../../base/merkle.ts";
import { drawToken } from "../../format/noise.ts";
import type { WhitelistEntry } from "../../format/whitelist.ts";
import type { Engine } from "../../server/engine.port.ts";
import { describeModel } from "./describe.ts";
import { openServingEngine } from "./engine.ts";
import { fixtureModel, smallShape } from "./fixture.ts";
import { readModelMetadata } from "./metadata.ts";
import { openReplayEngine, replayEngines } from "./replay.ts";
import { loadModel } from "./runtime.ts";
import { Vocabulary } from "./vocabulary.ts";

const directory = mkdtempSync(join(tmpdir(), "weir-llama-"));
after(() => {
  rmSync(directory, { recursive: true });
});

function file(name: string, shape: Partial<typeof smallShape> = {}): string {
  const path = join(directory, name);
  writeFileSync(path, fixtureModel({ ...smallShape, ...shape }));
  return path;
}

const gpt2 = file("gpt2.gguf");
const spm = file("spm.gguf", { kind: "llama", template: null });

function entry(contextTokens: number, topKMax: number): WhitelistEntry {
  return {
    modelId: "fixture",
    weights: { sizeBytes: 1, chunkBytes: 4096, root: Buffer.alloc(32) },
    tokenizerDigest: Buffer.alloc(32),
    templateDigest: Buffer.alloc(32),
    engine: "",
    engineBuild: Buffer.alloc(32),
    noiseLaw: "",
    generation: { temperatureMax: 2, topPMin: 0, topKMax, maxTokens: 100, contextTokens },
    profile: Buffer.alloc(32),
    digest: Buffer.alloc(32),
  };
}

const text = "The weir holds 3 €, naïve 🙂 boats\n  and   tabs\t!";

test("vocabulary: text tokenised by llama.cpp -> spelled back exactly, both tokenizers", async () => {
  const model = await loadModel(gpt2);
  const ids = model.promptIds({ kind: "text", text });
  assert.equal(model.vocabulary.spell(ids), text);
  await model.close();

  const other = await loadModel(spm);
  const spmIds = other.promptIds({ kind: "text", text });
  assert.equal(spmIds[0], 1, "the model asks for a beginning-of-sequence token");
  // SentencePiece puts a space before a text; spelled tokens keep it.
  assert.equal(other.vocabulary.spell(spmIds), ` ${text}`);
  await other.close();
});

test("vocabulary: arbitrary ids -> streamed text equals spell", async () => {
  for (const path of [gpt2, spm]) {
    const { tokenizer } = await readModelMetadata(path);
    const words = new Vocabulary(tokenizer, (id) => id === 2);
    const id = fc.nat(words.size - 1);
    fc.assert(
      fc.property(fc.array(id, { maxLength: 40 }), (ids) => {
        const speller = words.speller();
        const streamed = ids.map((each) => speller.push(each)).join("") + speller.end();
        assert.equal(streamed, words.spell(ids));
        assert.ok(streamed.isWellFormed());
      }),
      { numRuns: 500, seed: 7 },
    );
  }
});

test("vocabulary: control tokens and ends -> spell nothing; an unknown id -> token.unknown", async () => {
  const { tokenizer } = await readModelMetadata(gpt2);
  const words = new Vocabulary(tokenizer, (id) => id === 10);
  assert.equal(words.spell([0, 1, 2, 10]), "");
  assert.throws(() => words.spell([words.size]), { code: "token.unknown" });
});

test("vocabulary: a character over three tokens -> nothing, then the whole character", async () => {
  const { tokenizer } = await readModelMetadata(gpt2);
  const words = new Vocabulary(tokenizer, () => false);
  const speller = words.speller();
  const byte = (value: number): number => 3 + value;
  assert.deepEqual(
    [0xe2, 0x82, 0xac].map((value) => speller.push(byte(value))),
    ["", "", "€"],
  );
  assert.equal(speller.push(byte(0xe2)), "");
  assert.equal(speller.push(byte(0x41)), "\ufffdA");
  assert.equal(speller.push(byte(0xf0)), "");
  assert.equal(speller.end(), "\ufffd");
});

test("vocabulary: another kind of tokenizer -> model.tokenizer names it", async () => {
  const { tokenizer } = await readModelMetadata(gpt2);
  assert.throws(() => new Vocabulary({ ...tokenizer, kind: "t5" }, () => false), {
    code: "model.tokenizer",
    message: /"t5"/,
  });
});

test("prompt: a chat -> the template's text with its special tokens; a text -> none", async () => {
  const model = await loadModel(gpt2);
  const messages = [{ role: "user", content: "he" }] as const;
  const ids = model.promptIds({ kind: "chat", messages });
  assert.deepEqual(
    ids.filter((id) => id < 3),
    [1, 2, 1],
  );
  const plain = model.promptIds({ kind: "text", text: "<|im_start|>" });
  assert.ok(plain.every((id) => id >= 3));
  assert.throws(() => model.promptIds({ kind: "text", text: "" }), { code: "prompt.empty" });
  await model.close();

  const bare = await loadModel(spm);
  assert.throws(() => bare.promptIds({ kind: "chat", messages }), { code: "template.none" });
  await bare.close();
});

test("load: broken, cut or absent files -> a clear error, without a hang", async () => {
  const path = join(directory, "broken.gguf");
  const whole = fixtureModel(smallShape);
  const cases: [Uint8Array, string][] = [
    [Buffer.from("GGUF, it says"), "gguf.version"],
    [Buffer.from("no model at all"), "gguf.magic"],
    [whole.subarray(0, 3000), "gguf.truncated"],
    [whole.subarray(0, whole.length - 64), "gguf.data"],
  ];
  for (const [bytes, code] of cases) {
    writeFileSync(path, bytes);
    await assert.rejects(loadModel(path), { code });
    await assert.rejects(describeModel(path), { code });
  }
  await assert.rejects(loadModel(join(directory, "absent.gguf")), { code: "engine.load" });
});

test("metadata: a head longer than the first read -> read further", async () => {
  const path = file("long.gguf", { template: `{# ${"x".repeat(1_500_000)} #}` });
  assert.equal((await readModelMetadata(path)).template?.length, 1_500_006);
});

test("describe: size, chunk tree, digests -> of this file", async () => {
  const progress: number[] = [];
  const one = await describeModel(gpt2, (done) => progress.push(done));
  const bytes = readFileSync(gpt2);
  assert.equal(one.sizeBytes, bytes.length);
  assert.equal(progress.at(-1), bytes.length);
  const leaves: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += limits.weightsChunk) {
    leaves.push(leafHash(bytes.subarray(at, at + limits.weightsChunk)));
  }
  assert.deepEqual(one.root, merkleRoot(leaves));
  assert.equal(one.contextTokens, smallShape.contextTokens);
  const manifest = new URL("../../../package.json", import.meta.url);
  const { dependencies } = JSON.parse(readFileSync(manifest, "utf8")) as {
    dependencies: Record<string, string>;
  };
  const installed = `llama.cpp/node-llama-cpp ${dependencies["node-llama-cpp"] ?? ""} `;
  assert.ok(one.engine.startsWith(installed) && one.engine.length > installed.length, one.engine);

  const weights = await describeModel(file("weights.gguf", { seed: 2 }));
  assert.notDeepEqual(weights.root, one.root);
  assert.deepEqual(weights.tokenizerDigest, one.tokenizerDigest);
  const template = await describeModel(file("template.gguf", { template: "{{ 'x' }}" }));
  assert.notDeepEqual(template.templateDigest, one.templateDigest);
  assert.deepEqual(template.tokenizerDigest, one.tokenizerDigest);
  const words = await describeModel(file("words.gguf", { extraTokens: 5 }));
  assert.notDeepEqual(words.tokenizerDigest, one.tokenizerDigest);
});

const params = { temperature: 1, topK: 20, topP: 1 };

/** Generates `count` ids under `seed` and returns prompt and output. */
async function generated(engine: Engine, words: string, seed: bigint, count: number) {
  const sequence = await engine.open();
  const prompt = engine.promptIds({ kind: "text", text: words });
  const output: number[] = [];
  let ids: readonly number[] = prompt;
  for (let position = 0; position < count; position++) {
    const candidates = await sequence.next(ids);
    const logProbs = Array.from(candidates.logProbs);
    assert.equal(candidates.ids.length, 20);
    assert.ok(logProbs.every((value, i) => i === 0 || value <= (logProbs[i - 1] ?? 0)));
    const id = drawToken(candidates, params, seed, position);
    output.push(id);
    ids = [id];
  }
  sequence.dispose();
  return { prompt, output, seed };
}

test("engine: three at once, then replay -> the same draws up to rounding", async (t) => {
  const options = { contextTokens: 128, parallel: 3, topK: 20, threads: 1 };
  const engine = await openServingEngine(gpt2, options);
  const pairs = await Promise.all(
    ["one", "another prompt", "a third"].map((words, i) =>
      generated(engine, words, BigInt(i + 1) << 33n, 30 + 10 * i),
    ),
  );
  // Every sequence was used: a fourth and fifth reuse them, with nothing left of what was there.
  pairs.push(await generated(engine, "one", 1n << 33n, 30));
  assert.deepEqual(pairs[3]?.output.slice(0, 3), pairs[0]?.output.slice(0, 3));
  await engine.close();

  const replay = await openReplayEngine(entry(128, 20), gpt2, { threads: 1 });
  let differ = 0;
  let total = 0;
  for (const { prompt, output, seed } of pairs) {
    const candidates = await replay.replay(prompt, output, 20);
    assert.equal(candidates.length, output.length);
    candidates.forEach((at, position) => {
      total++;
      if (drawToken(at, params, seed, position) !== output[position]) differ++;
    });
  }
  await replay.close();
  t.diagnostic(`${differ} of ${total} draws differ`);
  assert.ok(differ <= 0.03 * total, `${differ} of ${total}`);
});

test("engine: a prompt with more bytes than the context can ever hold -> refused before it is tokenised", async () => {
  const options = { contextTokens: 64, parallel: 1, topK: 5, threads: 1 };
  const engine = await openServingEngine(gpt2, options);
  // Special tokens by the thousand: seconds of work for llama.cpp, on the thread that serves everybody.
  const content = "<|im_start|>".repeat(40_000);
  for (const prompt of [
    { kind: "text", text: content } as const,
    { kind: "chat", messages: [{ role: "user", content }] } as const,
  ]) {
    assert.throws(() => engine.promptIds(prompt), { code: "prompt.too-long" });
  }
  assert.ok(engine.promptIds({ kind: "text", text: "short" }).length > 0);
  await engine.close();
});

test("engine: more sequences than parallel -> engine.full, and free again after dispose", async () => {
  const options = { contextTokens: 64, parallel: 2, topK: 5, threads: 1 };
  const engine = await openServingEngine(gpt2, options);
  const first = await engine.open();
  const second = await engine.open();
  await assert.rejects(engine.open(), { code: "engine.full", effect: "none" });
  // Disposed in the middle of a step, while the other goes on.
  const step = second.next([10, 11, 12]);
  second.dispose();
  second.dispose();
  const third = await engine.open();
  await step;
  const [a, b] = await Promise.all([first.next([20]), third.next([20])]);
  assert.deepEqual(a.ids, b.ids);
  await assert.rejects(second.next([1]), { name: "BugError" });
  await assert.rejects(first.next(new Array<number>(64).fill(9)), { name: "BugError" });
  first.dispose();
  third.dispose();
  await engine.close();
  await assert.rejects(engine.open(), { code: "engine.down" });
});

test("replay: candidates do not depend on what was replayed before, nor on later ids", async () => {
  const replay = await openReplayEngine(entry(128, 20), gpt2, { threads: 1 });
  const prompt = replay.promptIds({ kind: "text", text: "the inner ring" });
  const alone = await replay.replay(prompt, [40, 41, 42], 20);
  await replay.replay([9, 9, 9], [50, 60], 30);
  const [again, longer] = await Promise.all([
    replay.replay(prompt, [40, 41, 42], 20),
    replay.replay(prompt, [40, 41, 42, 43, 44], 20),
  ]);
  assert.deepEqual(again, alone);
  assert.deepEqual(longer.slice(0, 3), alone);
  const [more] = await replay.replay(prompt, [40], 30);
  assert.equal(more?.ids.length, 30);
  assert.deepEqual(Array.from(more.ids).slice(0, 20), Array.from(alone[0]?.ids ?? []));
  const [all] = await replay.replay(prompt, [40], 100_000);
  assert.deepEqual(
    Array.from(all?.ids ?? []).sort((a, b) => a - b),
    Array.from({ length: 276 }, (_, id) => id),
  );
  assert.deepEqual(await replay.replay(prompt, [], 20), []);
  await replay.close();
  await assert.rejects(replay.replay(prompt, [40], 20), { code: "engine.down" });
});

test("replay: what no honest server sends -> InvalidError, and the engine goes on", async () => {
  const replay = await openReplayEngine(entry(32, 20), gpt2, { threads: 1 });
  const ids = (count: number): number[] => new Array<number>(count).fill(7);
  await assert.rejects(replay.replay([], ids(1), 20), { code: "replay.no-prompt" });
  await assert.rejects(replay.replay(ids(30), ids(3), 20), { code: "replay.too-long" });
  await assert.rejects(replay.replay(ids(3), [99_999], 20), { code: "token.unknown" });
  assert.equal((await replay.replay(ids(29), ids(3), 20)).length, 3);
  await replay.close();
});

test("replayEngines: no weights for an entry -> engine.no-model", async () => {
  const open = replayEngines(() => null, { threads: 1 });
  await assert.rejects(open(entry(32, 20)), { code: "engine.no-model", effect: "none" });
});
