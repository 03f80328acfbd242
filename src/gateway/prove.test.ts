import assert from "node:assert/strict";
import { test } from "node:test";
import { UnavailableError } from "../base/assert.ts";
import { secretKey } from "../base/hash.ts";
import { decodeCarriers, noCarriers } from "../format/carriers.ts";
import { frameType } from "../format/link.ts";
import { encodeHeartbeat } from "../format/proof-request.ts";
import { makeTag, type Tag } from "../format/tag.ts";
import { FakeClock, FakeWire, quiet } from "../../tests/fake-recomputer.ts";
import { Prover, type ProverOptions } from "./prove.ts";
import type { Outbox, OutboxItem } from "./store.port.ts";

const tag = makeTag(1, 1);

/** An outbox with one pair in it. */
function outbox(change: Partial<Outbox> = {}): Outbox {
  const items: OutboxItem[] = [{ tag, request: Buffer.from("request") }];
  return {
    capacity: 10,
    waiting: 1,
    roomFor: () => true,
    put: () => undefined,
    knows: (one: Tag) => one === tag,
    list: () => items,
    find: (one: Tag) => items.find((item) => item.tag === one) ?? null,
    settle: () => undefined,
    verdictOf: () => null,
    close: () => undefined,
    ...change,
  };
}

function setUp(
  store: Outbox,
  change: Partial<ProverOptions> = {},
): {
  prover: Prover;
  clock: FakeClock;
  fatal: string[];
  silent: number[];
} {
  const clock = new FakeClock();
  const fatal: string[] = [];
  const silent: number[] = [];
  const prover = new Prover({
    ...{ gateway: "g1", outbox: store, clock, logger: quiet, silentMs: 15_000 },
    rootKey: secretKey(Buffer.alloc(32, 1)),
    onSilent: (ms) => silent.push(ms),
    onHeardAgain: () => silent.push(0),
    onOrder: () => undefined,
    urgent: () => [],
    untold: () => [],
    onTold: () => undefined,
    onVerdict: () => undefined,
    ...change,
    onSettled: () => undefined,
    onFatal: (error) => fatal.push(error.message),
  });
  return { prover, clock, fatal, silent };
}

const beat = encodeHeartbeat({ queued: 0, judged: 0n });

test("prover: a link that stays open but says nothing -> alarmed on and dropped, so that it is dialled anew", async () => {
  const { prover, clock, silent } = setUp(outbox());
  const wire = new FakeWire("g1");
  prover.attach(wire);
  for (let second = 0; second < 20; second++) {
    wire.receive(frameType.heartbeat, 0n, beat);
    await clock.advance(1000);
    prover.watch();
  }
  assert.equal(wire.closed, false);
  await clock.advance(16_000);
  prover.watch();
  assert.ok(wire.closed);
  assert.equal(silent.length, 1);
  // The next link gets as long as the first, and what was unanswered is sent again.
  const next = new FakeWire("g1");
  prover.attach(next);
  await clock.advance(10_000);
  prover.watch();
  assert.equal(next.closed, false);
  assert.equal(next.texts(frameType.proofRequest).length, 1);
  next.receive(frameType.heartbeat, 0n, beat);
  assert.deepEqual(silent.slice(1), [0]);
});

test("prover: verdicts that the disk does not take -> told as fatal, not thrown into a timer", async () => {
  const settle = (): never => {
    throw new UnavailableError("outbox.settle", "the disk is full", "unknown");
  };
  const { prover, clock, fatal } = setUp(outbox({ settle }));
  const wire = new FakeWire("g1");
  prover.attach(wire);
  wire.receive(frameType.verdict, tag, Buffer.from("pass"));
  await clock.advance(1000);
  assert.deepEqual(fatal, ["the disk is full"]);
});

test("prover: a release that was obeyed -> told before any pair, again on each link, until it is answered", () => {
  const digest = "ab".repeat(32);
  let untold = [{ digest, sealed: Buffer.from("signed") }];
  const told: (string | null)[] = [];
  const { prover } = setUp(outbox(), {
    untold: () => untold,
    onTold: (which, refused) => {
      told.push(which, refused);
      untold = [];
    },
  });
  for (let link = 0; link < 2; link++) {
    const wire = new FakeWire("g1");
    prover.attach(wire);
    assert.deepEqual(
      wire.sent.map(({ type }) => type),
      [frameType.order, frameType.epoch, frameType.proofRequest],
    );
    assert.equal(wire.sent[0]?.id, 0xababababababababn);
    if (link === 0) continue;
    wire.receive(frameType.orderResult, 7n, Buffer.from("obeyed"));
    assert.deepEqual(told, []);
    wire.receive(frameType.orderResult, 0xababababababababn, Buffer.from("refused: no"));
    assert.deepEqual(told, [digest, "no"]);
  }
});

test("prover: pairs that a reply waits for -> sent first, and the others leave them room", () => {
  const items = Array.from({ length: 64 }, (_, i): OutboxItem => {
    return { tag: makeTag(1, i + 1), request: Buffer.from("request") };
  });
  const late = makeTag(1, 64);
  const find = (one: Tag): OutboxItem | null => items.find(({ tag }) => tag === one) ?? null;
  const { prover } = setUp(outbox({ list: (_, max) => items.slice(0, max), find }), {
    urgent: () => [late],
  });
  const wire = new FakeWire("g1");
  prover.attach(wire);
  const sent = wire.sent.filter(({ type }) => type === frameType.proofRequest);
  assert.equal(sent[0]?.id, late);
  assert.equal(sent.length, 16);
});

test("prover: counts -> told over the link, and not to a recomputer that does not read", () => {
  const counts = { ...noCarriers, ms: 5000, ticks: 12 };
  const { prover } = setUp(outbox(), { carriers: () => counts });
  prover.tellCarriers();
  const wire = new FakeWire("g1");
  prover.attach(wire);
  prover.tellCarriers();
  wire.backlog = 1_000_000;
  prover.tellCarriers();
  const told = wire.sent.filter(({ type }) => type === frameType.carriers);
  assert.deepEqual(
    told.map(({ payload }) => decodeCarriers(payload)),
    [counts],
  );
});
