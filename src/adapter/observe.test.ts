import assert from "node:assert/strict";
import { duplexPair } from "node:stream";
import { test } from "node:test";
import type { Clock } from "../base/clock.ts";
import { frameType } from "../format/link.ts";
import type { RouterStatus } from "../format/status.ts";
import type { Wire } from "../format/wire.ts";
import { wireOver } from "./link.ts";
import { serveObservers } from "./observe.ts";

const status: RouterStatus = {
  role: "router",
  name: "r1",
  inflight: 0,
  connections: 0,
  requests: 0,
  errors: 0,
  gateways: [],
};

interface Rig {
  readonly timers: Set<() => void>;
  readonly clock: Clock;
  readonly role: Wire;
  readonly observer: Wire;
  readonly statuses: string[];
  readonly received: (count: number) => Promise<void>;
}

function rig(): Rig {
  const timers = new Set<() => void>();
  const clock: Clock = {
    wallMs: () => 0,
    monotonicMs: () => 0,
    after: () => ({ cancel: () => undefined }),
    every: (_period, action) => {
      timers.add(action);
      return { cancel: () => timers.delete(action) };
    },
  };
  const [near, far] = duplexPair();
  const role = wireOver(near, { role: "observer", name: "o" });
  const observer = wireOver(far, { role: "router", name: "r1" });
  const statuses: string[] = [];
  let wake = (): void => undefined;
  observer.onFrame((frame) => {
    assert.equal(frame.type, frameType.status);
    statuses.push(frame.payload.toString());
    wake();
  });
  const received = async (count: number): Promise<void> => {
    while (statuses.length < count)
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
  };
  return { timers, clock, role, observer, statuses, received };
}

test("observe: WATCH -> a status at once, on each tick and on push, until the wire closes", async () => {
  const { timers, clock, role, observer, statuses, received } = rig();
  const observed = serveObservers(role, () => status, clock);
  observed.push();
  assert.equal(timers.size, 0);
  observer.send(frameType.watch, 0n);
  await received(1);
  assert.deepEqual(JSON.parse(statuses[0] ?? ""), status);
  for (const tick of timers) tick();
  observed.push();
  await received(3);
  const closed = new Promise<void>((resolve) => {
    role.onClose(() => {
      resolve();
    });
  });
  observer.close("done");
  await closed;
  assert.equal(timers.size, 0);
});

test("observe: any other frame -> handed on, or the wire closes", async () => {
  const first = rig();
  const asked = new Promise<number>((resolve) => {
    serveObservers(
      first.role,
      () => status,
      first.clock,
      (frame) => {
        resolve(frame.type);
      },
    );
  });
  first.observer.send(frameType.receiptAsk, 1n);
  assert.equal(await asked, frameType.receiptAsk);
  first.observer.close("done");

  const second = rig();
  serveObservers(second.role, () => status, second.clock);
  const reason = new Promise<string>((resolve) => {
    second.role.onClose(resolve);
  });
  second.observer.send(frameType.receiptAsk, 1n);
  assert.match(await reason, /watch\.frame/);
});
