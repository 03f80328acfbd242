/**
 * One gateway with everything around it in this process: links in memory, storage in a temporary
 * directory, the operating system's clock. Used by the two walks and by the fault tests.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../src/adapter/clock.ts";
import { openGatewayStore } from "../../src/adapter/disk/store.ts";
import { systemRandom } from "../../src/adapter/random.ts";
import { privateKeyFromSeed, publicKeyHex } from "../../src/base/sign.ts";
import { secretKey } from "../../src/base/hash.ts";
import type { WhitelistEntry } from "../../src/format/whitelist.ts";
import type { Wire } from "../../src/format/wire.ts";
import { Alarms } from "../../src/gateway/alarms.ts";
import { Gateway, type GatewayOptions } from "../../src/gateway/gateway.ts";
import type { Power } from "../../src/gateway/power.port.ts";
import type { GatewayStore } from "../../src/gateway/store.port.ts";
import { quiet, wirePair } from "../support.ts";

/** What stands behind the gateway: gets the server's end of the link at each power-on. */
export type ServerProgram = (link: Wire) => void;
/** What stands at the depot: gets the depot's end of each connection. */
export type DepotProgram = (link: Wire) => void;

export const orderKeys = {
  recomputer: privateKeyFromSeed(Buffer.alloc(32, 0xc3)),
  operator: privateKeyFromSeed(Buffer.alloc(32, 0xd4)),
};

export interface House {
  readonly gateway: Gateway;
  /** Every power-on and kill, in order. */
  readonly powerLog: readonly string[];
  /** A link to the gateway as a router, an operator or a recomputer would have it. */
  readonly connectRouter: () => Wire;
  readonly connectRecomputer: () => Wire;
  /** Resolves when `done()` is true; looked at after every change and every few milliseconds. */
  until(what: string, done: () => boolean): Promise<void>;
  /** Stops the gateway and closes its storage. The directory stays for `reopen`. */
  stop(): Promise<void>;
  readonly dir: string;
}

export interface HouseOptions {
  readonly entry: WhitelistEntry;
  readonly server: ServerProgram;
  readonly depot: DepotProgram;
  readonly dir?: string;
  readonly overrides?: Partial<GatewayOptions>;
  readonly outboxPairs?: number;
  /** Puts something between the gateway and its storage. */
  readonly wrapStore?: (store: GatewayStore) => GatewayStore;
}

function memoryPower(program: ServerProgram, log: string[]): Power {
  return {
    simulated: "power is a link in memory",
    on() {
      log.push("on");
      const gatewayPeer = { role: "gateway", name: "g1" } as const;
      const { left, right } = wirePair({ role: "server", name: "g1" }, gatewayPeer);
      program(right);
      const gone = new Promise<string>((resolve) => {
        left.onClose(resolve);
      });
      const kill = (): Promise<void> => {
        log.push("kill");
        left.close("power was cut");
        right.close("power was cut");
        return Promise.resolve();
      };
      return Promise.resolve({
        wire: left,
        isolation: { kind: "off", detail: "test" },
        gone,
        kill,
      });
    },
  };
}

export function temporaryDirectory(): string {
  return mkdtempSync(join(tmpdir(), "weir-test-"));
}

export function removeDirectory(dir: string): void {
  rmSync(dir, { recursive: true, force: true });
}

/** Builds and starts a gateway. */
export async function buildHouse(options: HouseOptions): Promise<House> {
  const dir = options.dir ?? temporaryDirectory();
  const rootKey = secretKey(Buffer.alloc(32, 0x5e));
  const opened = await openGatewayStore({
    dir: join(dir, "data"),
    rootKey,
    entry: options.entry,
    random: systemRandom,
    ringBytes: 16 * 1_048_576,
    segments: 4,
    outboxPairs: options.outboxPairs ?? 1000,
  });
  const powerLog: string[] = [];
  const gateway = new Gateway({
    name: "g1",
    entry: options.entry,
    epoch: opened.epoch,
    store: options.wrapStore?.(opened.store) ?? opened.store,
    rootKey,
    power: memoryPower(options.server, powerLog),
    connectDepot: () => {
      const gatewayPeer = { role: "gateway", name: "g1" } as const;
      const { left, right } = wirePair({ role: "depot", name: "d1" }, gatewayPeer);
      options.depot(right);
      return Promise.resolve(left);
    },
    random: systemRandom,
    clock: systemClock,
    logger: quiet,
    alarms: new Alarms("g1", systemClock, () => undefined),
    orderKeys: {
      shutdown: [publicKeyHex(orderKeys.recomputer)],
      release: [publicKeyHex(orderKeys.operator)],
    },
    epsilon: 1,
    tickMs: 5,
    capacity: 8,
    pairDeadlineMs: 60_000,
    stallMs: 500,
    readyMs: 60_000,
    retryMs: 5,
    flickerMs: 0,
    flickerPairs: 0,
    flickerOffsetMs: 0,
    drainMs: 5000,
    silentMs: 60_000,
    simulated: [],
    onFatal: (error) => {
      throw error;
    },
    ...options.overrides,
  });
  await gateway.recover();
  const life = gateway.run();
  return {
    gateway,
    powerLog,
    dir,
    connectRouter: () => {
      const { left, right } = wirePair(
        { role: "gateway", name: "g1" },
        { role: "router", name: "r1" },
      );
      gateway.attachRouter(right);
      return left;
    },
    connectRecomputer: () => {
      const recomputer = { role: "recomputer", name: "c1" } as const;
      const { left, right } = wirePair({ role: "gateway", name: "g1" }, recomputer);
      gateway.attachRecomputer(right);
      return left;
    },
    until: (what, done) => until(what, done),
    stop: async () => {
      gateway.stop();
      await life;
      await opened.close();
    },
  };
}

/** Polls every 2 ms; fails loudly after 20 s. */
export async function until(what: string, done: () => boolean): Promise<void> {
  const deadline = performance.now() + 20_000;
  while (!done()) {
    if (performance.now() > deadline) throw new Error(`waited 20 s in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}
