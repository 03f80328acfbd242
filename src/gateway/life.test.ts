import assert from "node:assert/strict";
import { test } from "node:test";
import { systemRandom } from "../adapter/random.ts";
import { UnavailableError } from "../base/assert.ts";
import { frameType } from "../format/link.ts";
import type { Wire } from "../format/wire.ts";
import { FakeClock, quiet, settled } from "../../tests/fake-recomputer.ts";
import { testDeviceKey, TestStream } from "../../tests/sealing.ts";
import { chunked, whitelisted, wirePair } from "../../tests/support.ts";
import { ServerLife, type LifeOptions } from "./life.ts";
import type { Power } from "./power.port.ts";
import type { PairPath } from "./serve.ts";

const weights = Buffer.alloc(5000, 9);
const { entry } = whitelisted("m", weights, 4096);

/** Only what a life asks of the pair path before it serves. */
const pairs = {
  attach: () => undefined,
  detach: () => undefined,
  settled: () => Promise.resolve(),
  counts: { logged: 0 },
} as unknown as PairPath;

/** Power whose switch fails the first `failures` times; what happened is in `log`. */
function stubborn(failures: number, log: string[]): Power {
  let left = failures;
  const off = (what: string) => (): Promise<void> => {
    log.push(what);
    if (left-- > 0) {
      return Promise.reject(new UnavailableError("power.command", "the switch is dead", "unknown"));
    }
    return Promise.resolve();
  };
  return {
    simulated: "",
    off: off("off"),
    on: () => {
      log.push("on");
      const { left: wire } = wirePair(
        { role: "server", name: "s" },
        { role: "gateway", name: "g1" },
      );
      const isolation = { kind: "off", detail: "test" } as const;
      const gone = new Promise<string>(() => undefined);
      return Promise.resolve({ wire, isolation, gone, kill: off("kill") });
    },
  };
}

function setUp(
  power: Power,
  more: Partial<LifeOptions> = {},
): { life: ServerLife; clock: FakeClock; stuck: (string | null)[] } {
  const clock = new FakeClock();
  const stuck: (string | null)[] = [];
  const life = new ServerLife({
    ...{ gateway: "g1", entry, power, pairs, clock, logger: quiet },
    ...{ epoch: 1, deviceKey: testDeviceKey, random: systemRandom },
    erase: { bytes: 0, bytesPerSecond: 1 },
    onNotErased: () => undefined,
    connectDepot: () => new Promise<Wire>(() => undefined),
    ...{ stallMs: 1e6, readyMs: 1e6, retryMs: 500, flickerMs: 0, flickerPairs: 0 },
    ...{ flickerOffsetMs: 0, drainMs: 1000 },
    mayDrain: () => Promise.resolve(),
    onChange: () => undefined,
    onFault: () => undefined,
    onPowerStuck: (why) => stuck.push(why),
    ...more,
  });
  return { life, clock, stuck };
}

test("life: the switch fails at a halt -> tried until power is off; KILLED all the while", async () => {
  const log: string[] = [];
  const power = stubborn(0, log);
  let failures = 3;
  const on = power.on.bind(power);
  const { life, clock, stuck } = setUp({
    ...power,
    on: async () => {
      const server = await on();
      return {
        ...server,
        kill: () => {
          log.push("kill");
          return failures-- > 0
            ? Promise.reject(new UnavailableError("power.command", "dead", "unknown"))
            : Promise.resolve();
        },
      };
    },
  });
  const run = life.run(false);
  await settled();
  life.halt("by order");
  await settled();
  assert.equal(life.mode, "KILLED");
  assert.deepEqual(stuck, ["dead"]);
  await clock.advance(120_000);
  assert.deepEqual(log, ["off", "on", "kill", "kill", "kill", "kill"]);
  assert.deepEqual(stuck, ["dead", "dead", "dead", null]);
  assert.equal(life.mode, "KILLED");
  life.stop();
  await clock.advance(60_000);
  await run;
});

test("life: a halt of an earlier run stands -> the switch is thrown before anything else, and again if it fails", async () => {
  const log: string[] = [];
  const { life, clock } = setUp(stubborn(1, log));
  const run = life.run(true);
  await settled();
  await clock.advance(10_000);
  assert.deepEqual(log, ["off", "off"]);
  assert.equal(life.mode, "KILLED");
  life.stop();
  await clock.advance(60_000);
  await run;
});

test("life: stopped while the switch fails for good -> it gives up, and says so", async () => {
  const log: string[] = [];
  const { life, clock } = setUp(stubborn(0, log));
  const run = life.run(false);
  await settled();
  assert.deepEqual(log, ["off", "on"]);
  life.stop();
  await clock.advance(60_000);
  await run;
  const dead = setUp(stubborn(1000, []));
  const never = dead.life.run(false);
  const failure = assert.rejects(never, /the switch is dead/);
  await settled();
  dead.life.stop();
  await settled();
  await dead.clock.advance(60_000);
  await failure;
});

test("life: power-on fails -> the switch is thrown before anything else; a halt then finds power off", async () => {
  const log: string[] = [];
  const { life, clock } = setUp({
    ...stubborn(0, log),
    on: () => {
      log.push("on");
      // The switch went on, and the server was never heard of.
      return Promise.reject(new UnavailableError("power.on", "it did not connect", "none"));
    },
  });
  const run = life.run(false);
  await settled();
  assert.deepEqual(log, ["off", "on", "off"]);
  life.halt("by order");
  await clock.advance(120_000);
  assert.deepEqual(log, ["off", "on", "off"]);
  life.stop();
  await clock.advance(60_000);
  await run;
});

/** An honest depot's link, as a gateway sees it. */
function depotLink(): Wire {
  const { left, right } = wirePair({ role: "depot", name: "d" }, { role: "gateway", name: "g1" });
  const { chunks, tree } = chunked(weights, 4096);
  right.onFrame((frame) => {
    const stream = TestStream.of(frame.payload);
    right.send(frameType.offer, 0n, stream.offer(weights.length, 4096));
    chunks.forEach((data, index) => {
      const sealed = stream.chunk(index, index + 1 === chunks.length, tree.proof(index), data);
      right.send(frameType.chunk, BigInt(index), sealed);
    });
  });
  return left;
}

test("life: the hashing thread crashes in an upload -> power is cut, never SERVING; it is closed, and the next boot gets another", async () => {
  const log: string[] = [];
  const modes = new Set<string>();
  const { life, clock } = setUp(stubborn(0, log), {
    connectDepot: () => Promise.resolve(depotLink()),
    onChange: () => void modes.add(life.mode),
    onFault: (why) => log.push(why),
    openHasher: () => {
      log.push("open");
      return {
        allocate: (bytes) => Buffer.alloc(bytes),
        useKey: () => undefined,
        open: (_sealed, _nonce, done) => {
          done(new UnavailableError("hasher.lost", "it broke", "none"));
        },
        close: () => log.push("close"),
      };
    },
  });
  const run = life.run(false);
  while (!log.includes("kill")) await settled();
  await settled();
  assert.deepEqual(log, ["off", "on", "open", "close", "kill", "hasher.lost: it broke"]);
  assert.equal(life.counter.forwardedBits, 0n);
  while (log.filter((what) => what === "kill").length < 2) await clock.advance(1000);
  assert.equal(log.filter((what) => what === "open").length, 2);
  assert.ok(!modes.has("SERVING"));
  life.stop();
  await clock.advance(60_000);
  await run;
});

test("life: the whitelist expires -> the running server goes on, and after its power-off none boots", async () => {
  const log: string[] = [];
  let expired = false;
  const { life, clock } = setUp(stubborn(0, log), {
    barred: () => (expired ? "the whitelist expired" : null),
  });
  const run = life.run(false);
  await settled();
  assert.deepEqual(log, ["off", "on"]);
  expired = true;
  await clock.advance(600_000);
  assert.deepEqual(log, ["off", "on"]);
  life.fault("a power cycle");
  await clock.advance(600_000);
  assert.deepEqual(log, ["off", "on", "kill"]);
  assert.equal(life.mode, "OFF");
  assert.equal(life.lastKillReason, "the whitelist expired");
  expired = false;
  await clock.advance(60_000);
  assert.deepEqual(log, ["off", "on", "kill", "on"]);
  life.stop();
  await clock.advance(60_000);
  await run;
});
