import assert from "node:assert/strict";
import { test } from "node:test";
import { gatewayStatus } from "../../tests/path/page-scene.ts";
import { InvalidError, UnavailableError } from "../base/assert.ts";
import type { Clock, Timer } from "../base/clock.ts";
import { frameType, type Frame } from "../format/link.ts";
import type { RoleStatus } from "../format/status.ts";
import type { Wire } from "../format/wire.ts";
import { backoffFirstMs, backoffLastMs, silenceMs, watchRole, type Watch } from "./watch.ts";

/** A wire whose far end is the test; like adapter/link.ts it closes on an InvalidError. */
class FakeWire implements Wire {
  readonly peer = { role: "gateway", name: "g1" } as const;
  readonly backlog = 0;
  readonly sent: number[] = [];
  closed = false;
  #onFrame: (frame: Frame) => void = () => undefined;
  #onClose: (reason: string) => void = () => undefined;

  send(type: number): boolean {
    this.sent.push(type);
    return true;
  }
  sendRaw(): boolean {
    return true;
  }
  drained(): Promise<void> {
    return Promise.resolve();
  }
  onFrame(handler: (frame: Frame) => void): void {
    this.#onFrame = handler;
  }
  onClose(handler: (reason: string) => void): void {
    this.#onClose = handler;
  }
  pause(): void {
    assert.fail("never paused");
  }
  resume(): void {
    assert.fail("never paused");
  }
  close(reason: string): void {
    if (this.closed) return;
    this.closed = true;
    this.#onClose(reason);
  }
  deliver(type: number, payload: Buffer): void {
    try {
      this.#onFrame({ type, id: 0n, payload });
    } catch (error) {
      if (!(error instanceof InvalidError)) throw error;
      this.close(error.message);
    }
  }
}

interface Pending {
  readonly delayMs: number;
  readonly action: () => void;
}

interface Rig {
  readonly watch: Watch;
  readonly seen: RoleStatus[];
  readonly downs: string[];
  /** Timers that are neither cancelled nor fired. */
  readonly timers: Set<Pending>;
  /** Answers the dial that is waiting. */
  readonly answer: (outcome: FakeWire | UnavailableError) => Promise<void>;
  /** Fires the one timer of that delay. */
  readonly fire: (delayMs: number) => void;
}

function rig(): Rig {
  const timers = new Set<Pending>();
  const clock: Clock = {
    wallMs: () => 0,
    monotonicMs: () => 0,
    after(delayMs, action): Timer {
      const timer = { delayMs, action };
      timers.add(timer);
      return { cancel: () => timers.delete(timer) };
    },
    every: () => assert.fail("not used"),
  };
  const seen: RoleStatus[] = [];
  const downs: string[] = [];
  let waiting = Promise.withResolvers<Wire>();
  const watch = watchRole({
    target: { role: "gateway", name: "g1" },
    dial: () => {
      waiting = Promise.withResolvers<Wire>();
      return waiting.promise;
    },
    clock,
    onStatus: (status) => seen.push(status),
    onDown: (why) => downs.push(why),
  });
  const answer = async (outcome: FakeWire | UnavailableError): Promise<void> => {
    if (outcome instanceof FakeWire) waiting.resolve(outcome);
    else waiting.reject(outcome);
    // The watcher takes it in a few microtasks.
    await new Promise(setImmediate);
  };
  const fire = (delayMs: number): void => {
    const timer = [...timers].find((one) => one.delayMs === delayMs);
    assert.ok(timer !== undefined, `a timer of ${delayMs} ms is set`);
    timers.delete(timer);
    timer.action();
  };
  return { watch, seen, downs, timers, answer, fire };
}

const refused = new UnavailableError("tls.dial", "cannot reach it", "none");
const status = (name: string): Buffer => Buffer.from(JSON.stringify(gatewayStatus(name)));

test("watch: a link -> WATCH is sent and statuses come through", async () => {
  const { answer, seen, watch } = rig();
  const wire = new FakeWire();
  await answer(wire);
  wire.deliver(frameType.status, status("g1"));
  assert.deepEqual(wire.sent, [frameType.watch]);
  assert.deepEqual(seen, [gatewayStatus("g1")]);
  watch.close();
  assert.ok(wire.closed);
});

test("watch: dialling fails again and again -> longer waits, to a bound; a status resets them", async () => {
  const { answer, fire, downs, timers } = rig();
  for (let wait = backoffFirstMs; wait < backoffLastMs; wait *= 2) {
    await answer(refused);
    fire(wait);
  }
  await answer(refused);
  fire(backoffLastMs);
  const wire = new FakeWire();
  await answer(wire);
  wire.deliver(frameType.status, status("g1"));
  wire.close("reset");
  assert.equal(downs.at(-1), "reset");
  assert.deepEqual(
    [...timers].map(({ delayMs }) => delayMs),
    [backoffFirstMs],
  );
});

test("watch: a link without a word -> dropped as silent, and dialled again", async () => {
  const { answer, fire, downs } = rig();
  const wire = new FakeWire();
  await answer(wire);
  fire(silenceMs);
  assert.ok(wire.closed);
  assert.deepEqual(downs, ["no status for 5 seconds"]);
  fire(backoffFirstMs);
});

test("watch: another role's status, a broken one, another frame -> the link is dropped, said why", async () => {
  const bad: [number, Buffer, RegExp][] = [
    [frameType.status, status("g2"), /calls itself gateway\/g2, not gateway\/g1/],
    [frameType.status, Buffer.from('{"role":"gateway"}'), /status\.\w+ must be/],
    [frameType.verdict, Buffer.alloc(0), /expected STATUS/],
  ];
  for (const [type, payload, why] of bad) {
    const { answer, downs, seen } = rig();
    const wire = new FakeWire();
    await answer(wire);
    wire.deliver(type, payload);
    assert.ok(wire.closed);
    assert.match(downs[0] ?? "", why);
    assert.equal(seen.length, 0);
  }
});

test("watch: closed while dialling or waiting -> no timer and no link is left", async () => {
  const dialling = rig();
  dialling.watch.close();
  const wire = new FakeWire();
  await dialling.answer(wire);
  assert.ok(wire.closed);
  assert.equal(dialling.timers.size, 0);
  const waiting = rig();
  await waiting.answer(refused);
  waiting.watch.close();
  assert.equal(waiting.timers.size, 0);
});
