/** The executor as a process: the same answers as in this one, and what becomes of a bad one. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import {
  copyFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test, type TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import { openReplayEngine } from "../adapter/llama/replay.ts";
import { openSlots } from "../adapter/llama/slots.ts";
import { systemClock } from "../adapter/clock.ts";
import { chooseSandbox, type Detected } from "../adapter/sandbox/detect.ts";
import { untilEnded } from "../adapter/sandbox/process.ts";
import type { Logger } from "../base/report.ts";
import { encodeFrame, frameType } from "../format/link.ts";
import { encodeReady } from "../format/executor-link.ts";
import { drawToken, type Candidates } from "../format/noise.ts";
import type { WhitelistEntry } from "../format/whitelist.ts";
import type { ReplayEngine } from "../recomputer/engine.port.ts";
import { Engines } from "../recomputer/engines.ts";
import { Lockstep } from "../recomputer/lockstep.ts";
import { openBlindEngine, type BlindOptions } from "./blind.ts";

const tiny = fileURLToPath(new URL("../../models/weir-tiny.gguf", import.meta.url));
const missing = existsSync(tiny)
  ? false
  : "models/weir-tiny.gguf IS MISSING: the executor is not tested";
const contextTokens = 128;
const generation = { temperatureMax: 2, topPMin: 0, topKMax: 64, maxTokens: 100, contextTokens };
// An engine reads nothing else of an entry.
const entry = { modelId: "tiny", generation, digest: Buffer.alloc(32) } as WhitelistEntry;
const params = { temperature: 1, topK: 64, topP: 1 };

let directory = "";
/** A file of our own: whatever still names it in its command line is left over. */
let model = "";
let isolation: Detected;
before(async () => {
  directory = mkdtempSync(join(tmpdir(), "weir-blind-"));
  model = join(directory, "model.gguf");
  if (missing === false) copyFileSync(tiny, model);
  isolation = await chooseSandbox("auto");
});
after(() => {
  rmSync(directory, { recursive: true });
});

interface Said {
  readonly level: string;
  readonly event: string;
  readonly text: string;
}

function listen(): { logger: Logger; said: Said[] } {
  const said: Said[] = [];
  const log: Logger["log"] = (level, event, fields) => {
    said.push({ level, event, text: JSON.stringify(fields) });
  };
  return { logger: { log }, said };
}

function options(change: Partial<BlindOptions> = {}): BlindOptions {
  return { threads: 1, slots: 4, isolation, logger: listen().logger, ...change };
}

/** Processes that name our model, by number. */
function left(): string[] {
  return readdirSync("/proc").filter((pid) => {
    if (!/^\d+$/.test(pid)) return false;
    try {
      return readFileSync(`/proc/${pid}/cmdline`, "latin1").includes(model);
    } catch {
      return false;
    }
  });
}

interface Claim {
  readonly prompt: number[];
  readonly output: number[];
}

/** Pairs as an honest server would make them, one token at a time. */
async function honest(texts: readonly string[], length: number): Promise<Claim[]> {
  const engine = await openReplayEngine(entry, model, { threads: 1 });
  const prompts = texts.map((text) => engine.promptIds({ kind: "text", text }));
  await engine.close();
  const slots = await openSlots(model, { slots: prompts.length, contextTokens, threads: 1 });
  const outputs: number[][] = prompts.map(() => []);
  for (const [slot, prompt] of prompts.entries()) slots.open(slot, prompt, 64);
  for (let at = 0; at < length; at++) {
    const moves = outputs.map((output, slot) => ({ slot, token: output.at(-1) ?? null }));
    for (const [slot, candidates] of (await slots.step(moves)).entries()) {
      outputs[slot]?.push(drawToken(candidates, params, BigInt(slot), at));
    }
  }
  await slots.end();
  return prompts.map((prompt, slot) => ({ prompt, output: outputs[slot] ?? [] }));
}

const texts = ["Once upon a time", "The river", "A small weir holds back the water and", "I", "We"];

function gapOf(a: Candidates, b: Candidates): number {
  const other = new Map(Array.from(b.ids, (id, at) => [id, b.logProbs[at] ?? NaN]));
  const gaps = Array.from(a.ids, (id, at) =>
    Math.abs((other.get(id) ?? NaN) - (a.logProbs[at] ?? 0)),
  );
  return Math.max(...gaps.filter((gap) => !Number.isNaN(gap)));
}

test(
  "executor: its process -> bit by bit what the same steps give in this one; prefill is near",
  { skip: missing },
  async () => {
    const claims = await honest(texts, 40);
    const engine = await openBlindEngine(entry, model, options());
    const slots = await openSlots(model, { slots: 4, contextTokens, threads: 1 });
    const here = new Lockstep(slots, systemClock, { baseMs: 60_000, perTokenMs: 1000 });
    const prefill = await openReplayEngine(entry, model, { threads: 1 });
    const replayed = await Promise.all(
      claims.map(({ prompt, output }) => engine.replay(prompt, output, 80)),
    );
    const inside = await Promise.all(
      claims.map(({ prompt, output }) => here.replay(prompt, output, 80)),
    );
    assert.deepEqual(replayed, inside);
    for (const [seed, { prompt, output }] of claims.entries()) {
      const whole = await prefill.replay(prompt, output, 80);
      for (const [at, candidates] of (replayed[seed] ?? []).entries()) {
        assert.ok(gapOf(candidates, whole[at] ?? candidates) < 0.02);
        assert.equal(drawToken(candidates, params, BigInt(seed), at), output[at]);
      }
    }
    assert.equal(engine.spell(engine.promptIds({ kind: "text", text: "The river" })), "The river");
    assert.ok(left().length > 0);
    await Promise.all([engine.close(), here.close(), prefill.close()]);
    assert.deepEqual(left(), []);
  },
);

/** A program that says it is ready, then does as `on` says at its `nth` step. */
function rogue(t: TestContext, on: string): NonNullable<BlindOptions["program"]> {
  const ready = encodeFrame(
    frameType.slotReady,
    0n,
    encodeReady({ slots: 4, vocabularySize: 4096, contextTokens }),
  );
  const file = join(directory, `${t.name.replaceAll(/\W+/g, "-").slice(0, 60)}.mjs`);
  const source = `
import { Socket } from "node:net";
const link = new Socket({ fd: 3, readable: true, writable: true });
const answer = (hex) => link.write(Buffer.from(hex, "hex"));
process.stdout.write("ready to misbehave\\n");
answer("${ready.toString("hex")}");
link.on("data", () => { ${on} });
link.on("close", () => process.exit(0));
`;
  writeFileSync(file, source);
  if (isolation.kind === "off") return { path: file };
  return { path: "/rogue.mjs", show: [{ from: file, to: "/rogue.mjs" }] };
}

/** Candidates that name a token twice. */
const nonsense = encodeFrame(
  frameType.slotCandidates,
  0n,
  Buffer.from("00000002" + "0000000500000005" + "00000002" + "3f80000000000000", "hex"),
).toString("hex");

async function failsWith(engine: ReplayEngine, code: string): Promise<void> {
  await assert.rejects(engine.replay([1, 2], [3, 4], 2), { code });
  await engine.close();
  assert.deepEqual(left(), []);
}

test("executor: it crashes -> unable, nothing is left", { skip: missing }, async (t) => {
  const { logger, said } = listen();
  const program = rogue(t, "process.exit(7)");
  await failsWith(await openBlindEngine(entry, model, options({ program, logger })), "engine.down");
  // What it prints is logged as its own words.
  assert.ok(
    said.some(({ event, text }) => event === "executor.says" && text.includes("misbehave")),
  );
});

test("executor: it answers nonsense -> unable, nothing is left", { skip: missing }, async (t) => {
  const program = rogue(t, `answer("${nonsense}")`);
  await failsWith(await openBlindEngine(entry, model, options({ program })), "engine.down");
});

test("executor: it speaks unasked -> unable, nothing is left", { skip: missing }, async (t) => {
  const twice = encodeFrame(frameType.slotCandidates, 3n, Buffer.alloc(0)).toString("hex");
  const program = rogue(t, `answer("${twice}")`);
  await failsWith(await openBlindEngine(entry, model, options({ program })), "engine.down");
});

test(
  "executor: it hangs -> unable past the step's deadline, nothing is left",
  { skip: missing },
  async (t) => {
    const deadline = { baseMs: 100, perTokenMs: 1 };
    const program = rogue(t, "for (;;);");
    const engine = await openBlindEngine(entry, model, options({ program, deadline }));
    await failsWith(engine, "engine.timeout");
  },
);

test(
  "executor: it does not start -> UnavailableError, nothing is left",
  { skip: missing },
  async (t) => {
    const program = rogue(t, "");
    writeFileSync(program.show?.[0]?.from ?? program.path, "process.exit(3)");
    await assert.rejects(openBlindEngine(entry, model, options({ program })), {
      code: "engine.executor",
    });
    assert.deepEqual(left(), []);
  },
);

test(
  "engines: an executor that was killed -> the next pair gets a new one",
  { skip: missing },
  async () => {
    const engines = new Engines((wanted) => openBlindEngine(wanted, model, options()));
    const [claim] = await honest(texts.slice(0, 1), 30);
    assert.ok(claim !== undefined);
    const engine = await engines.get(entry);
    const running = engine.replay(claim.prompt, claim.output, 80);
    const failed = assert.rejects(running, { code: "engine.down" });
    for (const pid of left()) process.kill(Number(pid), "SIGKILL");
    await failed;
    engines.drop(entry, engine);
    // A pair that heard of it late does no harm to the new one.
    const next = await engines.get(entry);
    engines.drop(entry, engine);
    assert.equal(await engines.get(entry), next);
    assert.equal((await next.replay(claim.prompt, claim.output, 80)).length, 30);
    await engines.close();
    assert.deepEqual(left(), []);
  },
);

test(
  "executor: caches beyond the memory allowed -> fewer slots, said",
  { skip: missing },
  async () => {
    const { logger, said } = listen();
    // 2 layers, 64 wide, 4 bytes: 512 a token.
    const engine = await openBlindEngine(
      entry,
      model,
      options({ logger, cacheBytes: 2 * 512 * 128 }),
    );
    assert.ok(
      said.some(
        ({ event, text }) => event === "recomputer.fewer-slots" && text.includes('"slots":2'),
      ),
    );
    const claims = await honest(texts, 10);
    const all = claims.map(({ prompt, output }) => engine.replay(prompt, output, 80));
    assert.ok((await Promise.all(all)).every((positions) => positions.length === 10));
    await engine.close();
  },
);

test(
  "executor: its recomputer is killed outright -> it goes as well",
  { skip: missing },
  async () => {
    const program = `
    import { chooseSandbox } from ${JSON.stringify(new URL("../adapter/sandbox/detect.ts", import.meta.url).href)};
    import { openBlindEngine } from ${JSON.stringify(new URL("./blind.ts", import.meta.url).href)};
    const entry = { generation: { contextTokens: 64 } };
    const logger = { log() {} };
    const isolation = await chooseSandbox("auto");
    await openBlindEngine(entry, ${JSON.stringify(model)}, { threads: 1, slots: 1, isolation, logger });
    console.log("open");
    setInterval(() => {}, 1000);`;
    const parent = spawn(process.execPath, ["--input-type=module", "-e", program], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const ended = once(parent, "exit");
    await once(parent.stdout, "data");
    assert.ok(left().length > 1);
    parent.kill("SIGKILL");
    await ended;
    await untilEnded(() => left().length === 0, "the executor", 10_000);
  },
);
