import assert from "node:assert/strict";
import { test } from "node:test";
import { openRecomputerDb } from "../adapter/sqlite/verdicts.ts";
import { UnavailableError } from "../base/assert.ts";
import { privateKeyFromSeed, publicKeyHex } from "../base/sign.ts";
import { frameType } from "../format/link.ts";
import { encodeOrderResult, openOrder, type OrderResult } from "../format/order.ts";
import type { Alarm } from "../format/status.ts";
import { FakeClock, FakeWire, quiet, settled } from "../../tests/fake-recomputer.ts";
import type { AlarmSink, AlarmStore } from "./alarm.port.ts";
import { Alarms } from "./raise.ts";
import { Shutdowns, type Fail } from "./shutdown.ts";

const key = privateKeyFromSeed(Buffer.alloc(32, 5));
let drawn = 0;
const random = { fill: (target: Uint8Array): unknown => target.fill(++drawn) };

interface Setup {
  readonly store: AlarmStore;
  readonly clock: FakeClock;
  readonly alarms: Alarms;
  readonly shutdowns: Shutdowns;
}

function setUp(sinks: readonly AlarmSink[] = [], kept?: AlarmStore): Setup {
  const store = kept ?? openRecomputerDb(":memory:").alarms;
  const clock = new FakeClock();
  const common = { store, clock, random, log: quiet };
  const alarms = new Alarms({ ...common, sinks });
  return { store, clock, alarms, shutdowns: new Shutdowns({ ...common, alarms, key }) };
}

const failAt = (completedMs: number): Fail => ({
  gateway: "g1",
  completedMs,
  reason: "it cheated",
});

function answer(shutdowns: Shutdowns, wire: FakeWire, result: OrderResult): void {
  const order = wire.sent.findLast((frame) => frame.type === frameType.order);
  const payload = encodeOrderResult(result);
  shutdowns.answered("g1", { type: frameType.orderResult, id: order?.id ?? 0n, payload });
}

const obeyed: OrderResult = { kind: "obeyed", detail: "" };

test("alarm: raised -> stored, sent to every sink once; repeats are counted, not sent", async () => {
  const sent: Alarm[] = [];
  const sink = { name: "s", send: (alarm: Alarm) => Promise.resolve(void sent.push(alarm)) };
  const { alarms } = setUp([sink]);
  alarms.raise("critical", "verdict.fail", "g1", "first");
  alarms.raise("critical", "verdict.fail", "g1", "second");
  alarms.raise("warning", "gateway.away", "g2", "gone");
  await settled();
  assert.deepEqual(
    sent.map(({ subject, text }) => `${subject} ${text}`),
    ["g1 first", "g2 gone"],
  );
  assert.deepEqual(
    alarms.shown(10).map(({ text }) => text),
    ["first (and 1 more like it)", "gone"],
  );
  alarms.clear("verdict.fail", "g1");
  alarms.raise("critical", "verdict.fail", "g1", "third");
  await settled();
  assert.equal(sent.length, 3);
});

test("alarm: a sink that is down -> tried a bounded number of times; the alarm is kept", async () => {
  let attempts = 0;
  const send = (): Promise<void> => {
    attempts++;
    return Promise.reject(new UnavailableError("webhook.down", "down", "unknown"));
  };
  const { alarms, clock } = setUp([{ name: "s", send }]);
  alarms.raise("critical", "verdict.fail", "g1", "first");
  await settled();
  await clock.advance(1_000_000);
  assert.equal(attempts, 5);
  assert.equal(alarms.shown(10).length, 1);
});

test("shutdown: a FAIL -> one alarm and one signed order that names gateway and reason", () => {
  const { alarms, shutdowns } = setUp();
  const wire = new FakeWire("g1");
  shutdowns.connected("g1", wire);
  shutdowns.failed(failAt(10));
  const [frame, ...more] = wire.sent;
  assert.equal(more.length, 0);
  const allowed = { shutdown: [publicKeyHex(key)], release: [] };
  const { order, digest } = openOrder(frame?.payload ?? Buffer.alloc(0), allowed);
  assert.equal(order.action, "shutdown");
  assert.equal(order.gateway, "g1");
  assert.equal(order.reason, "it cheated");
  assert.equal(frame?.id, BigInt(`0x${digest.slice(0, 16)}`));
  assert.deepEqual(
    alarms.shown(10).map(({ kind, severity }) => `${severity} ${kind}`),
    ["critical verdict.fail"],
  );
});

test("shutdown: more FAILs of one spell -> counted under the first alarm, no second order", () => {
  const { store, clock, alarms, shutdowns } = setUp();
  const wire = new FakeWire("g1");
  shutdowns.connected("g1", wire);
  shutdowns.failed(failAt(10));
  shutdowns.failed(failAt(20));
  answer(shutdowns, wire, obeyed);
  assert.deepEqual(store.outstanding("g1"), []);
  shutdowns.failed(failAt(clock.wallMs()));
  assert.equal(wire.texts(frameType.order).length, 1);
  assert.deepEqual(
    alarms.shown(10).map(({ text }) => text),
    ["it cheated (and 2 more like it)"],
  );
});

test("shutdown: a FAIL of a pair completed after the gateway obeyed -> a new alarm and order", () => {
  const { clock, alarms, shutdowns } = setUp();
  const wire = new FakeWire("g1");
  shutdowns.connected("g1", wire);
  shutdowns.failed(failAt(10));
  answer(shutdowns, wire, obeyed);
  shutdowns.failed(failAt(clock.wallMs() + 1));
  const orders = wire.sent.filter((frame) => frame.type === frameType.order);
  assert.equal(orders.length, 2);
  assert.notEqual(orders[0]?.id, orders[1]?.id);
  assert.equal(alarms.shown(10).length, 2);
});

test("shutdown: a gateway that is away -> gets the order when it connects, until it answers", async () => {
  const { store, clock, shutdowns } = setUp();
  shutdowns.failed(failAt(10));
  const first = new FakeWire("g1");
  shutdowns.connected("g1", first);
  assert.equal(first.texts(frameType.order).length, 1);
  shutdowns.disconnected("g1", first);
  // A restarted recomputer reads the order from its store.
  const restarted = setUp([], store).shutdowns;
  const second = new FakeWire("g1");
  restarted.connected("g1", second);
  assert.deepEqual(second.sent[0], first.sent[0]);
  answer(restarted, second, { kind: "already-halted", detail: "" });
  assert.deepEqual(store.outstanding("g1"), []);
  await clock.advance(60_000);
  assert.equal(second.texts(frameType.order).length, 1);
});

test("shutdown: an order that is refused -> its own alarm, and it is sent again", async () => {
  const { clock, alarms, shutdowns } = setUp();
  const wire = new FakeWire("g1");
  shutdowns.connected("g1", wire);
  shutdowns.failed(failAt(10));
  answer(shutdowns, wire, { kind: "refused", detail: "unknown key" });
  assert.ok(alarms.shown(10).some(({ kind }) => kind === "order.refused"));
  await clock.advance(31_000);
  assert.equal(wire.texts(frameType.order).length, 2);
  answer(shutdowns, wire, obeyed);
  await clock.advance(31_000);
  assert.equal(wire.texts(frameType.order).length, 2);
});

test("shutdown: an answer to no open order -> nothing changes; nonsense -> InvalidError", () => {
  const { store, shutdowns } = setUp();
  shutdowns.failed(failAt(10));
  const frame = { type: frameType.orderResult, id: 1n, payload: encodeOrderResult(obeyed) };
  shutdowns.answered("g1", frame);
  assert.equal(store.outstanding("g1").length, 1);
  const nonsense = { ...frame, payload: Buffer.from("perhaps") };
  assert.throws(() => shutdowns.answered("g1", nonsense), { code: "order.result" });
});
