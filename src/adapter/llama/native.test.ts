/** llama.cpp's C interface against node-llama-cpp, on the models of this repository and on fixtures. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import type { LogFields } from "../../base/report.ts";
import { drawToken, philox4x32, type Candidates } from "../../format/noise.ts";
import type { WhitelistEntry } from "../../format/whitelist.ts";
import type { Engine } from "../../server/engine.port.ts";
import { openServingEngine } from "./engine.ts";
import { fixtureModel, smallShape } from "./fixture.ts";
import { checkAbi, type Api } from "./native-abi.ts";
import { openNativeEngine } from "./native-engine.ts";
import { nativeApi } from "./native-library.ts";
import { openNativeModel, type NativeContext, type NativeTokens } from "./native.ts";
import { nativeLoader, openReplayEngine } from "./replay.ts";

const models = fileURLToPath(new URL("../../../models/", import.meta.url));
const demo = join(models, "weir-demo.gguf");
const tiny = join(models, "weir-tiny.gguf");
const lora = join(models, "weir-demo-finetune.lora.gguf");

const directory = mkdtempSync(join(tmpdir(), "weir-native-"));
after(() => {
  rmSync(directory, { recursive: true });
});
const spm = join(directory, "spm.gguf");
writeFileSync(spm, fixtureModel({ ...smallShape, kind: "llama", template: null }));

function entry(contextTokens: number): WhitelistEntry {
  const generation = { temperatureMax: 2, topPMin: 0, topKMax: 64, maxTokens: 512, contextTokens };
  // An engine reads nothing else of an entry.
  return { generation } as WhitelistEntry;
}

const words = new Uint32Array(4);
/** A pseudorandom number below `bound`; the same for the same arguments. */
function pick(bound: number, ...at: [number, number]): number {
  philox4x32(words, at[0], at[1], 0, 0, 1, 2);
  return (words[0] ?? 0) % bound;
}

test("replay: both bindings, one thread and two -> the same candidates, bit by bit", async (t) => {
  for (const [path, cases] of [
    [demo, 3],
    [tiny, 8],
  ] as const) {
    const open = (binding: "native" | "library", threads: number) =>
      openReplayEngine(entry(1024), path, { threads, binding });
    const library = await open("library", 1);
    const natives = [await open("native", 1)];
    // Threads of llama.cpp wait for one another in loops: slow where others use the cores too.
    if (path === tiny) natives.push(await open("native", 2));
    let positions = 0;
    for (let i = 0; i < cases; i++) {
      const all = 1 + pick(i % 3 === 0 ? 300 : 40, i, 0) + pick(200, i, 1) + 1;
      const ids = Array.from({ length: all }, (_, at) => pick(4096, i, at + 2));
      const cut = 1 + pick(all - 1, i, 9999);
      const asked = i === 1 ? 4096 : 80;
      const expected = await library.replay(ids.slice(0, cut), ids.slice(cut), asked);
      for (const native of natives) {
        assert.deepEqual(await native.replay(ids.slice(0, cut), ids.slice(cut), asked), expected);
      }
      positions += expected.length;
    }
    t.diagnostic(`${path.slice(models.length)}: ${positions} positions`);
    assert.ok(positions > 0);
    for (const engine of [library, ...natives]) await engine.close();
  }
});

test("text: both bindings -> the same ids and ends, for BPE and SentencePiece", async () => {
  const texts = [
    "",
    " ",
    "The weir holds 3 €, naïve 🙂 boats\n\n\tand tabs",
    "<|im_end|> x\u0000y",
    "\ud800",
  ];
  for (const path of [tiny, spm]) {
    const [one, two] = [
      await openReplayEngine(entry(64), path, { threads: 1, binding: "library" }),
      await openReplayEngine(entry(64), path, { threads: 1, binding: "native" }),
    ];
    for (const text of texts.filter((each) => each !== "" || path === spm)) {
      const prompt = { kind: "text", text } as const;
      assert.deepEqual(two.promptIds(prompt), one.promptIds(prompt), JSON.stringify(text));
      if (path === spm) continue;
      const chat = { kind: "chat", messages: [{ role: "user", content: text }] } as const;
      assert.deepEqual(two.promptIds(chat), one.promptIds(chat), JSON.stringify(text));
    }
    for (let id = -1; id < 300; id++) {
      assert.equal(two.isEndOfGeneration(id), one.isEndOfGeneration(id), `id ${id}`);
    }
    await one.close();
    await two.close();
  }
});

test("abi: other defaults, names or version -> engine.abi, and nothing is called", () => {
  const api = nativeApi();
  checkAbi(api, process.arch);
  const wrong: Partial<Api>[] = [
    { version: () => "0.6.0" },
    { contextDefaults: () => ({ ...api.contextDefaults(), n_ctx: 2048 }) },
    { contextDefaults: () => ({ ...api.contextDefaults(), kv_unified: true }) },
    { modelDefaults: () => ({ ...api.modelDefaults(), split_mode: 0 }) },
    { loadModeName: () => "mmap" },
    { typeName: () => "q5_0" },
  ];
  if (process.arch === "x64") {
    wrong.push({ probes: [(out) => out.fill(1, 0, 78), (out) => out.fill(1, 0, 168)] });
  }
  for (const change of wrong) {
    assert.throws(
      () => {
        checkAbi({ ...api, ...change }, process.arch);
      },
      { code: "engine.abi", effect: "none" },
    );
  }
});

/** A decode of `ids` at `start` of sequence 0, logits wanted at the last. */
function tokens(ids: readonly number[], start = 0, sequence = 0): NativeTokens {
  return {
    ids: Int32Array.from(ids),
    positions: Int32Array.from(ids, (_, i) => start + i),
    sequences: new Int32Array(ids.length).fill(sequence),
    wanted: Uint8Array.from(ids, (_, i) => (i === ids.length - 1 ? 1 : 0)),
  };
}

async function lastLogits(context: NativeContext, ids: readonly number[]): Promise<Float32Array> {
  context.forget(0);
  await context.decode(tokens(ids));
  return context.logits(ids.length - 1);
}

test("native: quantised cache, adapter, flash attention -> other logits, near the plain ones", async () => {
  const model = await openNativeModel(demo);
  assert.deepEqual([model.vocabSize, model.layers], [4096, 6]);
  const base = { contextTokens: 64, sequences: 1, threads: 1, batch: 64 };
  const ids = model.tokenize("Once upon a time there was a river that", false);
  const plainContext = model.context(base);
  const plain = await lastLogits(plainContext, ids);
  await plainContext.close();
  for (const change of [
    { kvType: "q8_0" },
    { kvType: "q4_0" },
    { kvType: "q4_0", flashAttention: true },
    { flashAttention: true },
    { lora },
  ] as const) {
    const context = model.context({ ...base, ...change });
    const other = await lastLogits(context, ids);
    const differences = plain.map((logit, id) => Math.abs(logit - (other[id] ?? 0)));
    const largest = Math.max(...differences);
    assert.ok(largest > 0 && largest < 10, `${JSON.stringify(change)}: ${largest}`);
    await context.close();
  }
  assert.throws(() => model.context({ ...base, lora: tiny }), { code: "engine.lora" });
  const again = model.context(base);
  assert.deepEqual(await lastLogits(again, ids), plain);
  await again.close();
  model.close();
  model.close();
});

test("native: what llama.cpp would not survive -> BugError before it is called", async () => {
  const model = await openNativeModel(tiny);
  const context = model.context({ contextTokens: 32, sequences: 2, threads: 1, batch: 8 });
  const refused: NativeTokens[] = [
    tokens([]),
    tokens(new Array<number>(9).fill(5)),
    tokens([4096]),
    tokens([-1]),
    tokens([5], 100_000),
    tokens([5], 0, 2),
    { ...tokens([5, 6]), wanted: Uint8Array.of(1) },
  ];
  for (const each of refused) await assert.rejects(context.decode(each), { name: "BugError" });
  const running = context.decode(tokens([5, 6]));
  await assert.rejects(context.decode(tokens([7], 2)), { name: "BugError" });
  assert.throws(() => context.logits(1), { name: "BugError" });
  assert.throws(
    () => {
      context.forget(0);
    },
    { name: "BugError" },
  );
  await running;
  assert.throws(() => context.logits(0), { name: "BugError" });
  assert.equal(context.logits(1).length, 4096);
  // A gap in the positions: llama.cpp itself says no.
  await assert.rejects(context.decode(tokens([7], 9)), { code: "engine.down" });
  assert.throws(
    () => {
      model.close();
    },
    { name: "BugError" },
  );
  await context.close();
  await context.close();
  await assert.rejects(context.decode(tokens([7])), { name: "BugError" });
  model.close();
  await assert.rejects(openNativeModel(spm, { cpuBuild: "none" }), { code: "engine.cpu-build" });
  await assert.rejects(openNativeModel(join(directory, "absent")), { code: "engine.load" });
});

test("native: while it computes -> the event loop goes on", async () => {
  const model = await openNativeModel(demo);
  const context = model.context({ contextTokens: 300, sequences: 1, threads: 1, batch: 300 });
  let turns = 0;
  let done = false;
  const turn = (): void => {
    turns++;
    if (!done) setImmediate(turn);
  };
  turn();
  await context.decode(tokens(Array.from({ length: 300 }, (_, i) => i)));
  done = true;
  assert.ok(turns > 10, `${turns} turns`);
  await context.close();
  model.close();
});

test("replay: a library that does not fit -> node-llama-cpp, and a log line says so", async (t) => {
  const lines: [string, LogFields | undefined][] = [];
  const logger = {
    log: (_level: string, event: string, fields?: LogFields) => lines.push([event, fields]),
  };
  const whole = await openReplayEngine(entry(64), tiny, { threads: 1, logger });
  assert.deepEqual(lines, []);
  const expected = await whole.replay([5, 6], [7, 8], 20);
  await whole.close();
  t.mock.method(nativeLoader, "load", () => Promise.reject(new Error("no koffi here")));
  const fallen = await openReplayEngine(entry(64), tiny, { threads: 1, logger });
  assert.equal(lines[0]?.[0], "engine.binding");
  assert.match(JSON.stringify(lines[0][1]), /no koffi here/);
  assert.deepEqual(await fallen.replay([5, 6], [7, 8], 20), expected);
  await fallen.close();
  await assert.rejects(openReplayEngine(entry(64), tiny, { threads: 1, binding: "native" }));
});

const params = { temperature: 1, topK: 64, topP: 1 };
const serving = { contextTokens: 256, parallel: 3, topK: 64, threads: 1 };

/** Prompt, then `count` draws under `seed`; every distribution on the way. */
async function generate(engine: Engine, text: string, seed: bigint, count: number) {
  const sequence = await engine.open();
  let next = engine.promptIds({ kind: "chat", messages: [{ role: "user", content: text }] });
  const ids: number[] = [];
  const seen: Candidates[] = [];
  while (ids.length < count) {
    const candidates = await sequence.next(next);
    seen.push(candidates);
    ids.push(drawToken(candidates, params, seed, ids.length));
    next = ids.slice(-1);
  }
  sequence.dispose();
  return { ids, seen };
}

test("engine: the same seeds on both bindings -> the same distributions and tokens", async (t) => {
  const library = await openServingEngine(demo, serving);
  const native = await openNativeEngine(demo, serving);
  const prompts = ["Tell me a story.", "What is a weir?", "x ".repeat(90)];
  const alone: number[][] = [];
  for (const [i, text] of prompts.entries()) {
    const expected = await generate(library, text, BigInt(i) << 40n, 24);
    assert.deepEqual(await generate(native, text, BigInt(i) << 40n, 24), expected);
    alone.push(expected.ids);
  }
  // Together they are batched, which may round otherwise: a draw may differ, and then its sequel.
  const together = await Promise.all(
    prompts.map((text, i) => generate(native, text, BigInt(i) << 40n, 24)),
  );
  const same = together.filter(({ ids }, i) => ids.join() === alone[i]?.join()).length;
  t.diagnostic(`${same} of ${prompts.length} sequences are the same when batched`);
  assert.ok(same >= 2);
  await library.close();
  await native.close();
});

test("native engine: more sequences than parallel, dispose in a step, close -> as the other engine", async () => {
  const engine = await openNativeEngine(tiny, { ...serving, parallel: 2 });
  const first = await engine.open();
  const second = await engine.open();
  await assert.rejects(engine.open(), { code: "engine.full", effect: "none" });
  const step = second.next(Array.from({ length: 200 }, (_, i) => i + 9));
  second.dispose();
  second.dispose();
  const opening = engine.open();
  const quick = await first.next([20]);
  const third = await opening;
  await step;
  assert.deepEqual((await third.next([20])).ids, quick.ids);
  await assert.rejects(second.next([1]), { name: "BugError" });
  await assert.rejects(first.next(new Array<number>(256).fill(9)), { name: "BugError" });
  third.dispose();
  const running = first.next([21]);
  const fourth = engine.open();
  const closing = engine.close();
  await Promise.allSettled([running, fourth]);
  await closing;
  await engine.close();
  await assert.rejects(engine.open(), { code: "engine.down" });
  await assert.rejects(first.next([22]), { code: "engine.down" });
});
