import assert from "node:assert/strict";
import { test } from "node:test";
import { systemRandom } from "../adapter/random.ts";
import { openRecomputerDb, type RecomputerDb } from "../adapter/sqlite/verdicts.ts";
import { Alarms } from "../alarm/raise.ts";
import { Shutdowns } from "../alarm/shutdown.ts";
import { privateKeyFromSeed, publicKeyHex } from "../base/sign.ts";
import { frameType } from "../format/link.ts";
import { openOrder, sealOrder, type Order, type ReleaseOrder } from "../format/order.ts";
import type { LadderStep, Policy } from "../format/policy.ts";
import { encodeEpoch } from "../format/proof-request.ts";
import type { GatewayEvidence } from "../format/status.ts";
import { makeTag } from "../format/tag.ts";
import {
  bettingProfile,
  entry,
  epochKey,
  FakeClock,
  FakeEngine,
  FakeWire,
  ladderOf,
  proofRequest,
  quiet,
  settled,
  type Cheat,
} from "../../tests/fake-recomputer.ts";
import { Recomputer } from "./serve.ts";

const orderKey = privateKeyFromSeed(Buffer.alloc(32, 5));
const operator = privateKeyFromSeed(Buffer.alloc(32, 6));
const allowed = { shutdown: [publicKeyHex(orderKey)], release: [publicKeyHex(operator)] };

/** A fleet of one server: shutdown at ln(2 / 0.01) = 5.3 nats. */
const policy: Policy = {
  schema: 1,
  fleet: { servers: 1, alpha: 0.01, years: 1, pairsPerYear: 1000 },
  ladder: [
    { step: "raise-epsilon", logE: 1, epsilon: 0.5 },
    { step: "recheck-ring", logE: 2 },
    { step: "quarantine", logE: 3.5 },
    { step: "shutdown", logE: "fleet" },
  ],
  capacity: { bitsPerToken: 64, bitsPerSecond: 1e15, minTokens: 1, step: "quarantine" },
};

/** Rough enough to show over a few pairs, and never in a single one. */
const mild: Cheat = { noise: 0.05, params: { maxTokens: 30, topP: 1 } };
const honest: Cheat = { params: { maxTokens: 30 } };

class Bench {
  readonly db: RecomputerDb;
  readonly clock = new FakeClock();
  readonly wire = new FakeWire("g1");
  readonly recomputer: Recomputer;
  readonly alarms: Alarms;
  #counter: number;

  constructor(db = openRecomputerDb(":memory:"), firstPair = 1, parallel = 1) {
    this.db = db;
    this.#counter = firstPair;
    const { clock } = this;
    const common = { store: db.alarms, clock, random: systemRandom, log: quiet };
    this.alarms = new Alarms({ ...common, sinks: [] });
    const releaseKeys = allowed.release;
    const shutdown = new Shutdowns({ ...common, alarms: this.alarms, key: orderKey, releaseKeys });
    this.recomputer = new Recomputer({
      ...{ name: "r1", clock, log: quiet, store: db.verdicts, entries: [entry], parallel },
      ...{ profiles: [bettingProfile], openEngine: () => Promise.resolve(new FakeEngine()) },
      ...{ ladder: ladderOf(policy), alarms: this.alarms, shutdown },
      ...{ shownAlarms: () => this.alarms.shown(50), simulated: [] },
    });
    this.recomputer.serveGateway(this.wire);
    const notice = { gateway: "g1", epoch: 1, epochKey };
    this.wire.receive(frameType.epoch, 0n, encodeEpoch(notice));
  }

  send(cheat: Cheat): void {
    const tag = makeTag(1, this.#counter++);
    this.wire.receive(frameType.proofRequest, tag, proofRequest(tag, cheat));
  }

  /** The next `count` pairs, one after the other. */
  async judge(count: number, cheat: Cheat): Promise<void> {
    for (let i = 0; i < count; i++) {
      this.send(cheat);
      await settled();
    }
  }

  get step(): LadderStep | "none" {
    return this.recomputer.status().evidence?.[0]?.step ?? "none";
  }

  get evidence(): GatewayEvidence {
    const [evidence] = this.recomputer.status().evidence ?? [];
    assert.ok(evidence !== undefined);
    return evidence;
  }

  /** Orders that were sent, each once, in order. */
  get orders(): Order[] {
    const sent = this.wire.sent.filter(({ type }) => type === frameType.order);
    const once = new Map(sent.map(({ id, payload }) => [id, payload]));
    return [...once.values()].map((payload) => openOrder(payload, allowed).order);
  }

  /** The digest of the last order of an action. */
  digestOf(action: Order["action"]): string {
    const orders = this.wire.sent.filter(({ type }) => type === frameType.order);
    const opened = orders.map(({ payload }) => openOrder(payload, allowed));
    return opened.findLast(({ order }) => order.action === action)?.digest ?? "";
  }

  /** The gateway answers every order that is open. */
  obey(): void {
    for (const { id } of this.db.alarms.outstanding("g1")) {
      this.wire.receive(frameType.orderResult, id, Buffer.from("obeyed"));
    }
  }

  /** The gateway hands on a release; returns the answer. */
  release(halt: string, key = operator): string {
    const order: ReleaseOrder = {
      ...{ action: "release", gateway: "g1", halt, reason: "new board" },
      ...{ issuedMs: this.clock.wallMs(), nonce: "0f".repeat(16) },
    };
    this.wire.receive(frameType.order, 9n, sealOrder(order, key));
    return this.wire.texts(frameType.orderResult).at(-1) ?? "";
  }
}

test("evidence: an honest server -> no step, no alarm, and the odds against it fall", async () => {
  const bench = new Bench();
  await bench.judge(40, honest);
  const { pairs, step, logE, logEThreshold, capacity } = bench.evidence;
  assert.deepEqual({ pairs, step }, { pairs: 40, step: "none" });
  assert.ok(logE < 0, String(logE));
  assert.ok(Math.abs(logEThreshold - Math.log(200)) < 1e-9);
  assert.ok(capacity.upperBitsPerToken <= Math.log2(96));
  assert.deepEqual(bench.orders, []);
  assert.deepEqual(bench.alarms.shown(9), []);
  await bench.recomputer.stop();
});

test("evidence: a mild cheat -> every step once, mildest first; then a FAIL that says why", async () => {
  const bench = new Bench();
  const seen: (LadderStep | "none")[] = [];
  for (let i = 0; i < 80 && bench.step !== "shutdown"; i++) {
    await bench.judge(1, mild);
    if (seen.at(-1) !== bench.evidence.step) seen.push(bench.evidence.step);
  }
  assert.equal(seen.at(-1), "shutdown", seen.join());
  assert.deepEqual(
    bench.orders.map(({ action }) => action),
    ["sample", "recheck", "quarantine", "shutdown"],
  );
  const [sample] = bench.orders;
  assert.equal(sample?.action === "sample" && sample.epsilon, 0.5);
  assert.match(sample?.reason ?? "", /^log e-value .*: \d+\.\d nats, threshold 1\.0$/);
  const verdicts = bench.recomputer.status().recent;
  assert.ok(verdicts.slice(0, -1).every(({ kind }) => kind === "pass"));
  assert.ok(verdicts.at(-1)?.findings.includes("evidence.threshold"));
  assert.deepEqual(
    bench.alarms.shown(9).map(({ kind, severity }) => `${severity} ${kind}`),
    [
      "warning evidence.raise-epsilon",
      "warning evidence.recheck-ring",
      "critical evidence.quarantine",
      "critical verdict.fail",
    ],
  );
  // The spell goes on until the gateway obeys: more FAILs, no second order of anything.
  await bench.judge(3, mild);
  assert.equal(bench.orders.length, 4);
  assert.equal(bench.wire.texts(frameType.verdict).at(-1), "fail");
  await bench.recomputer.stop();
});

test("evidence: a restart in the middle -> the same evidence as without", async () => {
  const whole = new Bench();
  await whole.judge(12, mild);
  const first = new Bench();
  await first.judge(5, mild);
  await first.recomputer.stop();
  const second = new Bench(first.db, 6);
  assert.equal(second.evidence.pairs, 5);
  await second.judge(7, mild);
  assert.deepEqual(second.evidence, whole.evidence);
  const orders = (bench: Bench): string[] => bench.orders.map(({ action }) => action);
  assert.deepEqual([...new Set([...orders(first), ...orders(second)])], orders(whole));
  await whole.recomputer.stop();
  await second.recomputer.stop();
});

test("evidence: several pairs at once -> each counts once", async () => {
  const bench = new Bench(undefined, 1, 8);
  for (let i = 0; i < 20; i++) bench.send(honest);
  for (let i = 0; i < 10; i++) await settled();
  assert.equal(bench.evidence.pairs, 20);
  assert.equal(bench.wire.texts(frameType.verdict).length, 20);
  await bench.recomputer.stop();
});

test("evidence: a rechecked pair -> counts against the server, and is no sample for the meter", async () => {
  const bench = new Bench();
  await bench.judge(3, honest);
  const before = bench.evidence.capacity;
  await bench.judge(3, { ...honest, request: (r) => ({ ...r, rechecked: true }) });
  assert.equal(bench.evidence.pairs, 6);
  assert.deepEqual(bench.evidence.capacity, before);
  await bench.recomputer.stop();
});

test("evidence: a pair that fails on its own -> shutdown at once, and it does not count", async () => {
  const bench = new Bench();
  await bench.judge(1, { drawSeed: 77n });
  assert.equal(bench.evidence.step, "shutdown");
  assert.equal(bench.evidence.pairs, 0);
  assert.deepEqual(
    bench.orders.map(({ action }) => action),
    ["shutdown"],
  );
  await bench.recomputer.stop();
});

test("release: of a halt -> a new life at zero, told to people; pairs of the old one count for nothing", async () => {
  const bench = new Bench();
  await bench.judge(80, mild);
  assert.equal(bench.evidence.step, "shutdown");
  bench.obey();
  const halt = bench.digestOf("shutdown");
  assert.equal(bench.release(halt), "obeyed");
  const { pairs, tokens, logE, logChange, step } = bench.evidence;
  assert.deepEqual(
    { pairs, tokens, logE, logChange, step },
    { pairs: 0, tokens: 0, logE: 0, logChange: 0, step: "none" },
  );
  const alarm = bench.alarms.shown(9).find(({ kind }) => kind === "evidence.released");
  assert.match(alarm?.text ?? "", /^shutdown order .* begins again at zero: new board$/);
  assert.equal(bench.release(halt), "already-released");
  // Completed before the halt: an old pair, late.
  await bench.judge(1, mild);
  assert.equal(bench.evidence.pairs, 0);
  assert.equal(bench.wire.texts(frameType.verdict).at(-1), "pass");
  const completedMs = bench.clock.wallMs() + 1;
  await bench.judge(1, { ...honest, leaf: { completedMs } });
  assert.equal(bench.evidence.pairs, 1);
  await bench.recomputer.stop();
});

test("release: the same server goes on cheating after it -> climbs again, with orders of its own", async () => {
  const bench = new Bench();
  await bench.judge(80, mild);
  bench.obey();
  bench.release(bench.digestOf("shutdown"));
  await bench.judge(80, { ...mild, leaf: { completedMs: bench.clock.wallMs() + 1 } });
  assert.equal(bench.orders.filter(({ action }) => action === "shutdown").length, 2);
  assert.equal(bench.orders.filter(({ action }) => action === "sample").length, 2);
  await bench.recomputer.stop();
});

test("release: of a milder step -> the evidence goes on, and the step is not ordered again", async () => {
  const bench = new Bench();
  for (let i = 0; i < 80 && bench.step !== "quarantine"; i++) await bench.judge(1, mild);
  const { logE } = bench.evidence;
  bench.obey();
  assert.equal(bench.release(bench.digestOf("quarantine")), "obeyed");
  assert.equal(bench.evidence.logE, logE);
  assert.equal(bench.evidence.step, "none");
  for (let i = 0; i < 80 && bench.step !== "shutdown"; i++) await bench.judge(1, mild);
  assert.equal(bench.orders.filter(({ action }) => action === "quarantine").length, 1);
  await bench.recomputer.stop();
});

test("release: by another key, of another order, of nothing -> refused, told, and nothing restarts", async () => {
  const bench = new Bench();
  await bench.judge(80, mild);
  const before = bench.evidence;
  const halt = bench.digestOf("shutdown");
  assert.match(bench.release(halt, orderKey), /^refused: nobody entitled/);
  assert.match(bench.release("ab".repeat(32)), /^refused: this recomputer gave no such order/);
  bench.wire.receive(frameType.order, 9n, Buffer.from("nonsense"));
  assert.match(bench.wire.texts(frameType.orderResult).at(-1) ?? "", /^refused: /);
  const other = new FakeWire("g2");
  bench.recomputer.serveGateway(other);
  const order: ReleaseOrder = {
    ...{ action: "release", gateway: "g1", halt, reason: "x" },
    ...{ issuedMs: 1, nonce: "0f".repeat(16) },
  };
  other.receive(frameType.order, 1n, sealOrder(order, operator));
  assert.match(other.texts(frameType.orderResult)[0] ?? "", /^refused: it is no release of this/);
  assert.deepEqual(bench.evidence, before);
  assert.ok(bench.alarms.shown(20).some(({ kind }) => kind === "release.refused"));
  await bench.recomputer.stop();
});

test("evidence: stored by another version -> the recomputer does not start", async () => {
  const bench = new Bench();
  await bench.judge(1, honest);
  await bench.recomputer.stop();
  const [stored] = bench.db.verdicts.evidence();
  assert.ok(stored !== undefined);
  const sealed = Buffer.alloc(1);
  const release = {
    digest: "x",
    gateway: "g1",
    ended: "y",
    signer: "z",
    reason: "",
    atMs: 1,
    sealed,
  };
  bench.db.verdicts.putRelease(release, [{ ...stored, state: '{"sequential":"{}"}' }]);
  assert.throws(() => new Bench(bench.db), { code: "evidence.stored", message: /server of g1/ });
});
