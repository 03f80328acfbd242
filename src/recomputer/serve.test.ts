import assert from "node:assert/strict";
import { test } from "node:test";
import { openRecomputerDb } from "../adapter/sqlite/verdicts.ts";
import { UnavailableError } from "../base/assert.ts";
import { encodeCarriers, noCarriers } from "../format/carriers.ts";
import { frameType } from "../format/link.ts";
import { decodeHeartbeat, encodeEpoch } from "../format/proof-request.ts";
import { makeTag } from "../format/tag.ts";
import {
  defaultLadder,
  entry,
  epochKey,
  FakeClock,
  FakeEngine,
  FakeWire,
  proofRequest,
  quiet,
  settled,
} from "../../tests/fake-recomputer.ts";
import { testProfile } from "../../tests/support.ts";
import { Recomputer, type RecomputerParts } from "./serve.ts";
import type { FailedPair, ShutdownPort } from "./shutdown.port.ts";
import type { JudgedPair, VerdictStore } from "./store.port.ts";

const tag = makeTag(1, 1);
const wrongSeed = { drawSeed: 77n };

const noShutdown: ShutdownPort = {
  failed: () => undefined,
  climb: () => undefined,
  connected: () => undefined,
  disconnected: () => undefined,
  answered: () => undefined,
  released: () => ({ kind: "known" }),
  noteRelease: () => undefined,
};

interface Setup {
  readonly recomputer: Recomputer;
  readonly clock: FakeClock;
  readonly engine: FakeEngine;
  readonly store: VerdictStore;
  readonly raised: string[];
  readonly cleared: string[];
  readonly failed: FailedPair[];
  /** A gateway that connects and announces epoch 1. */
  readonly connect: (gateway?: string) => FakeWire;
}

function setUp(change: Partial<RecomputerParts> = {}): Setup {
  const clock = new FakeClock();
  const engine = new FakeEngine();
  const { verdicts: store } = openRecomputerDb(":memory:");
  const raised: string[] = [];
  const cleared: string[] = [];
  const failed: FailedPair[] = [];
  const recomputer = new Recomputer({
    ...{ name: "r1", clock, log: quiet, store, entries: [entry] },
    profiles: [testProfile],
    openEngine: () => Promise.resolve(engine),
    alarms: {
      raise: (severity, kind, subject) => raised.push(`${severity} ${kind} ${subject}`),
      clear: (kind, subject) => cleared.push(`${kind} ${subject}`),
    },
    ladder: defaultLadder,
    shutdown: { ...noShutdown, failed: (fail) => failed.push(fail) },
    shownAlarms: () => [],
    simulated: [],
    ...change,
  });
  const connect = (gateway = "g1"): FakeWire => {
    const wire = new FakeWire(gateway);
    recomputer.serveGateway(wire);
    wire.receive(frameType.epoch, 0n, encodeEpoch({ gateway, epoch: 1, epochKey }));
    return wire;
  };
  return { recomputer, clock, engine, store, raised, cleared, failed, connect };
}

test("recomputer: an honest pair -> pass, stored with its scores, answered", async () => {
  const { recomputer, store, failed, connect } = setUp();
  const wire = connect();
  wire.receive(frameType.proofRequest, tag, proofRequest(tag));
  await settled();
  assert.deepEqual(wire.texts(frameType.verdict), ["pass"]);
  const { verdict } = store.info("g1", tag);
  assert.equal(verdict?.kind, "pass");
  assert.ok((verdict.scores?.tokens ?? 0) > 0);
  assert.deepEqual(
    { ...verdict.scores, tokens: 0 },
    { tokens: 0, mismatches: 0, meanMargin: 0, maxMargin: 0 },
  );
  assert.deepEqual(failed, []);
  assert.deepEqual(recomputer.status().judged, { pass: 1, fail: 0, unable: 0 });
  await recomputer.stop();
});

test("recomputer: a server that draws with another seed -> fail, act, then answer", async () => {
  const order: string[] = [];
  const { recomputer, store, failed, connect } = setUp({
    shutdown: {
      ...noShutdown,
      failed: (fail) => order.push(`stop ${fail.gateway}: ${fail.reason}`),
    },
  });
  const wire = connect();
  wire.receive(frameType.proofRequest, tag, proofRequest(tag, wrongSeed));
  await settled();
  assert.equal(order.length, 1);
  assert.match(order[0] ?? "", /^stop g1: pair g1\.0000010000000001 failed: /);
  assert.deepEqual(wire.texts(frameType.verdict), ["fail"]);
  const info = store.info("g1", tag);
  assert.equal(info.verdict?.kind, "fail");
  assert.ok((info.verdict.scores?.mismatches ?? 0) > 10);
  assert.deepEqual(store.unacted(), []);
  assert.deepEqual(failed, []);
  await recomputer.stop();
});

test("recomputer: a server whose logits are rough -> its mean margin is beyond the threshold", async () => {
  const { recomputer, store, connect } = setUp();
  const wire = connect();
  const rough = proofRequest(tag, { noise: 2, params: { maxTokens: 150 } });
  wire.receive(frameType.proofRequest, tag, rough);
  await settled();
  const findings = store.info("g1", tag).verdict?.findings ?? [];
  assert.ok(findings.includes("margin.mean"), findings.join());
  await recomputer.stop();
});

test("recomputer: the same proof request again -> the verdict again, no second replay", async () => {
  const { recomputer, engine, raised, connect } = setUp();
  const wire = connect();
  const request = proofRequest(tag);
  wire.receive(frameType.proofRequest, tag, request);
  wire.receive(frameType.proofRequest, tag, request);
  await settled();
  wire.receive(frameType.proofRequest, tag, request);
  assert.deepEqual(wire.texts(frameType.verdict), ["pass", "pass"]);
  assert.equal(engine.replays, 1);
  assert.deepEqual(raised, []);
  wire.receive(frameType.proofRequest, tag, proofRequest(tag, wrongSeed));
  assert.deepEqual(wire.texts(frameType.verdict), ["pass", "pass", "pass"]);
  assert.deepEqual(raised, ["critical proof-request.changed g1"]);
  await recomputer.stop();
});

test("recomputer: bytes that are no proof request -> fail without a replay", async () => {
  const { recomputer, engine, store, connect } = setUp();
  const wire = connect();
  wire.receive(frameType.proofRequest, tag, Buffer.from("nonsense"));
  await settled();
  assert.deepEqual(wire.texts(frameType.verdict), ["fail"]);
  assert.deepEqual(store.info("g1", tag).verdict?.findings, ["request.invalid"]);
  assert.equal(engine.replays, 0);
  await recomputer.stop();
});

test("recomputer: engine down -> no verdict, tried again, alarmed past the deadline, then judged", async () => {
  const { recomputer, clock, engine, raised, cleared, connect } = setUp();
  engine.failure = new UnavailableError("engine.down", "broken", "none");
  const wire = connect();
  wire.receive(frameType.proofRequest, tag, proofRequest(tag));
  await settled();
  assert.deepEqual(recomputer.status().judged, { pass: 0, fail: 0, unable: 1 });
  assert.equal(recomputer.status().engine, "down");
  await clock.advance(50_000);
  assert.equal(raised.length, 0);
  await clock.advance(60_000);
  assert.ok(raised.includes("critical recomputer.unable made-up"), raised.join());
  assert.deepEqual(wire.texts(frameType.verdict), []);
  engine.failure = null;
  await clock.advance(31_000);
  assert.deepEqual(wire.texts(frameType.verdict), ["pass"]);
  assert.ok(cleared.includes("recomputer.unable made-up"));
  assert.deepEqual(recomputer.status().judged, { pass: 1, fail: 0, unable: 0 });
  await recomputer.stop();
});

test("recomputer: an engine that never answers -> given up, not waited for", async () => {
  const { recomputer, clock, engine, connect } = setUp({
    timing: { replay: { baseMs: 1000, perTokenMs: 0 } },
  });
  const replay = engine.replay.bind(engine);
  engine.replay = () => new Promise(() => undefined);
  const wire = connect();
  wire.receive(frameType.proofRequest, tag, proofRequest(tag));
  await settled();
  await clock.advance(1000);
  assert.equal(recomputer.status().judged.unable, 1);
  assert.ok(engine.closed);
  engine.replay = replay;
  await clock.advance(1000);
  assert.deepEqual(wire.texts(frameType.verdict), ["pass"]);
  await recomputer.stop();
});

test("recomputer: a pair whose epoch key is not known -> waits for the EPOCH", async () => {
  const { recomputer, clock, connect } = setUp();
  const wire = connect();
  const later = makeTag(2, 1);
  wire.receive(frameType.proofRequest, later, proofRequest(later));
  await clock.advance(5000);
  assert.deepEqual(wire.texts(frameType.verdict), []);
  wire.receive(frameType.epoch, 0n, encodeEpoch({ gateway: "g1", epoch: 2, epochKey }));
  await settled();
  assert.deepEqual(wire.texts(frameType.verdict), ["pass"]);
  await recomputer.stop();
});

test("recomputer: a second key for an epoch -> alarm, the first stays", async () => {
  const { recomputer, raised, connect } = setUp();
  const wire = connect();
  const other = encodeEpoch({ gateway: "g1", epoch: 1, epochKey: Buffer.alloc(32, 3) });
  wire.receive(frameType.epoch, 0n, other);
  assert.deepEqual(raised, ["critical epoch.conflict g1"]);
  wire.receive(frameType.proofRequest, tag, proofRequest(tag));
  await settled();
  assert.deepEqual(wire.texts(frameType.verdict), ["pass"]);
  await recomputer.stop();
});

test("recomputer: an epoch or a frame that a gateway may not send -> InvalidError for the link", async () => {
  const { recomputer, connect } = setUp();
  const wire = connect();
  const foreign = encodeEpoch({ gateway: "g2", epoch: 1, epochKey });
  assert.throws(() => wire.receive(frameType.epoch, 0n, foreign), { code: "epoch.gateway" });
  assert.throws(() => wire.receive(frameType.input, 0n, foreign), { code: "recomputer.frame" });
  assert.throws(() => wire.receive(frameType.proofRequest, 0n, foreign), { code: "tag.zero" });
  await recomputer.stop();
});

test("recomputer: a flood -> its wire pauses, other gateways are served, then it resumes", async () => {
  const { recomputer, clock, engine, connect } = setUp({ queue: { items: 4, bytes: 1e9 } });
  engine.failure = new UnavailableError("engine.down", "broken", "none");
  const flood = connect("g1");
  for (let i = 1; i <= 6; i++) {
    const each = makeTag(1, i);
    flood.receive(frameType.proofRequest, each, proofRequest(each));
  }
  await settled();
  assert.ok(flood.paused);
  engine.failure = null;
  const quietOne = connect("g2");
  quietOne.receive(frameType.proofRequest, tag, proofRequest(tag));
  await settled();
  assert.deepEqual(quietOne.texts(frameType.verdict), ["pass"]);
  await clock.advance(31_000);
  assert.ok(!flood.paused);
  assert.equal(flood.texts(frameType.verdict).length, 6);
  await recomputer.stop();
});

test("recomputer: a gateway that left before its verdict -> told when it asks again", async () => {
  const { recomputer, engine, connect } = setUp();
  const first = connect();
  first.receive(frameType.proofRequest, tag, proofRequest(tag));
  first.close("lost");
  await settled();
  assert.deepEqual(first.texts(frameType.verdict), []);
  const second = connect();
  second.receive(frameType.proofRequest, tag, proofRequest(tag));
  assert.deepEqual(second.texts(frameType.verdict), ["pass"]);
  assert.equal(engine.replays, 1);
  await recomputer.stop();
});

test("recomputer: a gateway that stays away -> one warning, cleared when it is back", async () => {
  const { recomputer, clock, raised, cleared, connect } = setUp();
  const wire = connect();
  await clock.advance(100_000);
  assert.deepEqual(raised, []);
  wire.close("lost");
  await clock.advance(59_000);
  assert.deepEqual(raised, []);
  await clock.advance(10_000);
  assert.deepEqual(raised, ["warning gateway.away g1"]);
  connect();
  assert.equal(cleared.filter((alarm) => alarm === "gateway.away g1").length, 2);
  await recomputer.stop();
});

test("recomputer: each second -> a heartbeat with the queue's length", async () => {
  const { recomputer, clock, connect } = setUp();
  const wire = connect();
  wire.receive(frameType.proofRequest, tag, proofRequest(tag));
  await clock.advance(2500);
  const beats = wire.sent.filter((frame) => frame.type === frameType.heartbeat);
  assert.equal(beats.length, 2);
  assert.deepEqual(decodeHeartbeat(beats[1]?.payload ?? Buffer.alloc(0)), {
    queued: 0,
    judged: 1n,
  });
  await recomputer.stop();
});

test("recomputer: a FAIL that was stored before a crash -> acted on at the next start", async () => {
  const store = openRecomputerDb(":memory:").verdicts;
  const finding = { id: "token.margin", evidence: "token 5 at position 2" } as const;
  const unacted: JudgedPair = {
    ...{ gateway: "g1", tag, requestDigest: Buffer.alloc(32), modelId: "made-up", leafIndex: 0n },
    ...{ completedMs: 5, judgedMs: 6, margins: new Float64Array(0), msPerToken: 0, request: null },
    entry: "",
    verdict: { kind: "fail", findings: [finding], scores: null, reason: "" },
  };
  store.put(unacted, null);
  const { recomputer, failed } = setUp({ store });
  assert.deepEqual(failed, [
    {
      gateway: "g1",
      completedMs: 5,
      reason: "pair g1.0000010000000001 failed: token.margin: token 5 at position 2",
    },
  ]);
  assert.deepEqual(store.unacted(), []);
  await recomputer.stop();
});

test("recomputer: a pair of an entry that is not on our whitelist -> unable and alarmed on, no shutdown", async () => {
  const { recomputer, clock, raised, failed, connect } = setUp();
  const wire = connect();
  const foreign = { leaf: { entryDigest: Buffer.alloc(32, 8) } };
  wire.receive(frameType.proofRequest, tag, proofRequest(tag, foreign));
  await settled();
  await clock.advance(120_000);
  assert.deepEqual(wire.texts(frameType.verdict), []);
  assert.deepEqual(recomputer.status().judged, { pass: 0, fail: 0, unable: 1 });
  assert.ok(
    raised.some((text) => text.startsWith("critical recomputer.unable")),
    raised.join(),
  );
  assert.deepEqual(failed, []);
  await recomputer.stop();
});

test("recomputer: a gateway's counts above the policy's limit -> alarmed on; shown with limit and fleet", async () => {
  const ladder = { ...defaultLadder, release: { bitsPerSecond: 100 } };
  const { recomputer, raised, failed, connect } = setUp({ ladder });
  const wire = connect();
  for (let s = 0; s <= 20; s++) {
    const counts = { ...noCarriers, ms: 1000 * s, ticks: 50 * s, places: 200 * s };
    wire.receive(frameType.carriers, 0n, encodeCarriers(counts));
  }
  assert.deepEqual(raised, ["critical release.rate g1"]);
  assert.deepEqual(failed, []);
  const { carriers, policy } = recomputer.status();
  assert.equal(carriers?.[0]?.gateway, "g1");
  assert.ok((carriers[0].bitsPerSecond ?? 0) > 100);
  assert.equal(policy?.release?.bitsPerSecond, 100);
  assert.equal(policy.fleet?.yearsBetween, 1000);
  await recomputer.stop();
});
