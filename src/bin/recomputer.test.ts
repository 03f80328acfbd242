import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test, type TestContext } from "node:test";
import { describeModel } from "../adapter/llama/describe.ts";
import { openServingEngine } from "../adapter/llama/engine.ts";
import { createAuthority, issue, type PemPair } from "../adapter/pki.ts";
import { dialTls, type TlsIdentity } from "../adapter/tls.ts";
import { requantise } from "../adversary/requantise.ts";
import { secretKey } from "../base/hash.ts";
import { privateKeyFromSeed, publicKeyHex } from "../base/sign.ts";
import { encodeLeaf, inputDigestOf, outputDigestOf, saltOf } from "../format/leaf.ts";
import { frameType, type Frame, type FrameType } from "../format/link.ts";
import { drawToken, noiseLaw, seedOf } from "../format/noise.ts";
import { encodeOrderResult, openOrder } from "../format/order.ts";
import { expectedOutput } from "../format/output-rules.ts";
import { encodeInput, encodeOutput, type Input } from "../format/pair.ts";
import { encodeEpoch, encodeProofRequest } from "../format/proof-request.ts";
import type { RecomputerStatus, VerdictInfo } from "../format/status.ts";
import { formatTag, makeTag, type Tag } from "../format/tag.ts";
import type { WhitelistEntry } from "../format/whitelist.ts";
import type { PeerRole, Wire } from "../format/wire.ts";
import { quiet } from "../../tests/fake-recomputer.ts";
import { testProfile } from "../../tests/support.ts";
import { checkedEngines, startRecomputer, type RunningRecomputer } from "./recomputer.ts";

const model = new URL("../../models/weir-tiny.gguf", import.meta.url).pathname;
const missing = existsSync(model)
  ? false
  : "models/weir-tiny.gguf IS MISSING: the real engine is not tested";
const epochKey = Buffer.alloc(32, 9);
const orderSeed = Buffer.alloc(32, 5);
const gateway = "g1";

let dir = "";
let authority: PemPair;
before(async () => {
  dir = mkdtempSync(join(tmpdir(), "weir-recomputer-"));
  authority = await createAuthority("test", Date.now());
});
after(() => {
  rmSync(dir, { recursive: true });
});

async function identity(role: PeerRole, name: string): Promise<TlsIdentity> {
  const { cert, key } = await issue(authority, role, name, Date.now());
  return { cert: Buffer.from(cert), key: Buffer.from(key), ca: Buffer.from(authority.cert) };
}

async function entryOf(file: string): Promise<WhitelistEntry> {
  const { sizeBytes, chunkBytes, root, tokenizerDigest, templateDigest, engine, engineBuild } =
    await describeModel(file);
  return {
    modelId: "weir-tiny",
    weights: { sizeBytes, chunkBytes, root },
    ...{ tokenizerDigest, templateDigest, engine, engineBuild, noiseLaw },
    generation: {
      temperatureMax: 2,
      topPMin: 0.1,
      topKMax: 64,
      maxTokens: 128,
      contextTokens: 256,
    },
    profile: testProfile.digest,
    digest: Buffer.alloc(32, 4),
  };
}

/** What a gateway would ask to be proved after a real engine served `file`. */
async function serve(
  tag: Tag,
  file: string,
  entry: WhitelistEntry,
  drawSeed?: bigint,
): Promise<Buffer> {
  const seed = seedOf(secretKey(epochKey), tag);
  const params = { maxTokens: 100, temperature: 1, topK: 64, topP: 0.95, stops: [] };
  const input: Input = {
    ...{ modelId: "weir-tiny", params },
    prompt: { kind: "text", text: "Once upon a time" },
  };
  const contextTokens = entry.generation.contextTokens;
  const engine = await openServingEngine(file, {
    contextTokens,
    parallel: 1,
    topK: 64,
    threads: 1,
  });
  const promptIds = engine.promptIds(input.prompt);
  const ids: number[] = [];
  const sequence = await engine.open();
  for (
    let next: readonly number[] = promptIds;
    ids.length < params.maxTokens;
    next = ids.slice(-1)
  ) {
    ids.push(drawToken(await sequence.next(next), params, drawSeed ?? seed, ids.length));
    if (engine.isEndOfGeneration(ids.at(-1) ?? 0)) break;
  }
  const { text, finish } = expectedOutput({
    ...{ ids, speller: engine.speller(), isEnd: (id) => engine.isEndOfGeneration(id) },
    ...{ stops: [], maxTokens: params.maxTokens, promptTokens: promptIds.length, contextTokens },
  });
  sequence.dispose();
  await engine.close();
  const tokenIds = Uint32Array.from(ids);
  const output = encodeOutput({ promptIds: Uint32Array.from(promptIds), tokenIds, text, finish });
  const encoded = encodeInput(input);
  const salt = saltOf(secretKey(epochKey), tag);
  const leaf = encodeLeaf({
    ...{
      tag,
      completedMs: Date.now(),
      seed,
      entryDigest: entry.digest,
      finish,
      tokens: ids.length,
    },
    inputDigest: inputDigestOf(salt, encoded),
    outputDigest: outputDigestOf(salt, output),
  });
  return encodeProofRequest({ leafIndex: 0n, leaf, input: encoded, output });
}

/** Frames of a wire, by type, as they come. */
class Inbox {
  readonly #frames: Frame[] = [];
  readonly #waiting: { type: FrameType; resolve: (frame: Frame) => void }[] = [];

  constructor(wire: Wire) {
    wire.onFrame((frame) => {
      const copy = { ...frame, payload: Buffer.from(frame.payload) };
      const at = this.#waiting.findIndex(({ type }) => type === frame.type);
      if (at < 0) this.#frames.push(copy);
      else this.#waiting.splice(at, 1)[0]?.resolve(copy);
    });
  }

  next(type: FrameType): Promise<Frame> {
    const at = this.#frames.findIndex((frame) => frame.type === type);
    const [frame] = at < 0 ? [] : this.#frames.splice(at, 1);
    if (frame !== undefined) return Promise.resolve(frame);
    return new Promise((resolve) => this.#waiting.push({ type, resolve }));
  }
}

async function start(
  t: TestContext,
  entry: WhitelistEntry,
  file: string,
): Promise<RunningRecomputer> {
  const running = await startRecomputer({
    ...{
      name: "r1",
      host: "127.0.0.1",
      port: 0,
      orderSeed,
      releaseKeys: [],
      entries: [entry],
      webhook: null,
    },
    profiles: [testProfile],
    identity: await identity("recomputer", "r1"),
    openEngine: checkedEngines(new Map([["weir-tiny", file]]), { threads: 1 }),
    db: join(dir, `${t.name.replaceAll(/\W+/g, "-")}.sqlite`),
    logger: quiet,
  });
  t.after(() => running.stop());
  return running;
}

async function dial(t: TestContext, port: number, role: PeerRole, name: string): Promise<Wire> {
  const own = await identity(role, name);
  const wire = await dialTls({ host: "127.0.0.1", port, identity: own, expect: "recomputer" });
  t.after(() => wire.close("the test is over"));
  return wire;
}

test(
  "recomputer on the real engine: honest -> pass; wrong seed -> fail, order, verdict for the operator",
  { skip: missing },
  async (t) => {
    const entry = await entryOf(model);
    const { port } = await start(t, entry, model);
    const wire = await dial(t, port, "gateway", gateway);
    const inbox = new Inbox(wire);
    wire.send(frameType.epoch, 0n, encodeEpoch({ gateway, epoch: 1, epochKey }));
    const [honest, cheat] = [makeTag(1, 1), makeTag(1, 2)];
    wire.send(frameType.proofRequest, honest, await serve(honest, model, entry));
    const passed = await inbox.next(frameType.verdict);
    assert.deepEqual([passed.id, passed.payload.toString()], [honest, "pass"]);

    wire.send(frameType.proofRequest, cheat, await serve(cheat, model, entry, 12345n));
    const order = await inbox.next(frameType.order);
    const allowed = { shutdown: [publicKeyHex(privateKeyFromSeed(orderSeed))], release: [] };
    assert.equal(openOrder(order.payload, allowed).order.gateway, gateway);
    wire.send(frameType.orderResult, order.id, encodeOrderResult({ kind: "obeyed", detail: "" }));
    const failed = await inbox.next(frameType.verdict);
    assert.deepEqual([failed.id, failed.payload.toString()], [cheat, "fail"]);

    const operator = await dial(t, port, "operator", "alice");
    const answers = new Inbox(operator);
    operator.send(frameType.verdictAsk, 3n, Buffer.from(`chatcmpl-${formatTag(gateway, cheat)}`));
    const answer = await answers.next(frameType.verdictInfo);
    const info = JSON.parse(answer.payload.toString()) as VerdictInfo;
    assert.equal(info.verdict?.kind, "fail");
    const scores = info.verdict.scores;
    assert.ok(scores !== null && scores.mismatches > scores.tokens / 4, JSON.stringify(scores));

    const observer = await dial(t, port, "observer", "page");
    const statuses = new Inbox(observer);
    observer.send(frameType.watch, 0n);
    const status = JSON.parse(
      (await statuses.next(frameType.status)).payload.toString(),
    ) as RecomputerStatus;
    assert.deepEqual(status.judged, { pass: 1, fail: 1, unable: 0 });
    assert.equal(status.engine, "ready");
    assert.equal(status.alarms[0]?.kind, "verdict.fail");
  },
);

test(
  "recomputer on the real engine: a server with Q4_0 weights -> fail within a few pairs",
  { skip: missing },
  async (t) => {
    const entry = await entryOf(model);
    const swapped = join(dir, "q4.gguf");
    writeFileSync(swapped, requantise(readFileSync(model), "Q4_0"));
    const { port } = await start(t, entry, model);
    const wire = await dial(t, port, "gateway", gateway);
    const inbox = new Inbox(wire);
    wire.send(frameType.epoch, 0n, encodeEpoch({ gateway, epoch: 1, epochKey }));
    const verdicts: string[] = [];
    for (let i = 1; i <= 6 && !verdicts.includes("fail"); i++) {
      const tag = makeTag(1, i);
      wire.send(frameType.proofRequest, tag, await serve(tag, swapped, entry));
      verdicts.push((await inbox.next(frameType.verdict)).payload.toString());
    }
    assert.ok(verdicts.includes("fail"), verdicts.join());
  },
);

test(
  "recomputer on the real engine: its own file is not the whitelisted one -> unable, never a verdict",
  { skip: missing },
  async (t) => {
    const entry = await entryOf(model);
    const other = join(dir, "other.gguf");
    writeFileSync(other, requantise(readFileSync(model), "Q8_0"));
    const { port, recomputer } = await start(t, entry, other);
    const wire = await dial(t, port, "gateway", gateway);
    const inbox = new Inbox(wire);
    const tag = makeTag(1, 1);
    wire.send(frameType.epoch, 0n, encodeEpoch({ gateway, epoch: 1, epochKey }));
    wire.send(frameType.proofRequest, tag, await serve(tag, model, entry));
    for (let beats = 0; recomputer.status().judged.unable === 0 && beats < 30; beats++) {
      await inbox.next(frameType.heartbeat);
    }
    assert.deepEqual(recomputer.status().judged, { pass: 0, fail: 0, unable: 1 });
    assert.equal(recomputer.status().engine, "down");
  },
);

test(
  "recomputer: a router or an observer that asks for verdicts -> turned away",
  { skip: missing },
  async (t) => {
    const { port } = await start(t, await entryOf(model), model);
    const observer = await dial(t, port, "observer", "page");
    const closed = new Promise((resolve) => observer.onClose(resolve));
    observer.onFrame(() => undefined);
    observer.send(frameType.verdictAsk, 1n, Buffer.from("g1.0000010000000001"));
    await closed;
    const router = await dial(t, port, "router", "router");
    const refused = new Promise((resolve) => router.onClose(resolve));
    router.onFrame(() => undefined);
    await refused;
  },
);
