import assert from "node:assert/strict";
import { test } from "node:test";
import { UnavailableError } from "../base/assert.ts";
import { secretKey } from "../base/hash.ts";
import { frameType } from "../format/link.ts";
import { encodeHeartbeat } from "../format/proof-request.ts";
import { makeTag, type Tag } from "../format/tag.ts";
import { FakeClock, FakeWire, quiet } from "../../tests/fake-recomputer.ts";
import { Prover } from "./prove.ts";
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
    settle: () => undefined,
    verdictOf: () => null,
    close: () => undefined,
    ...change,
  };
}

function setUp(store: Outbox): {
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
