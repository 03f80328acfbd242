/**
 * The gateway as one thing: pair path, weights path and the way to the recomputer, behind the links
 * of routers, observers and operators. Built by bin/gateway.ts from ports.
 */
import type { KeyObject } from "node:crypto";
import { InvalidError } from "../base/assert.ts";
import { decodeUtf8 } from "../base/bytes.ts";
import type { Clock } from "../base/clock.ts";
import { leafHash } from "../base/merkle.ts";
import type { RandomSource } from "../base/random.ts";
import type { Logger } from "../base/report.ts";
import { encodeLeaf } from "../format/leaf.ts";
import { frameType, type Frame } from "../format/link.ts";
import { encodeState } from "../format/router-link.ts";
import type { GatewayStatus, Receipt } from "../format/status.ts";
import { formatTag, parseTag, type Tag } from "../format/tag.ts";
import type { WhitelistEntry } from "../format/whitelist.ts";
import type { Wire } from "../format/wire.ts";
import type { ChunkHasher } from "./chunk-hasher.port.ts";
import type { OrderKeys } from "./halt.ts";
import { TestedRandom } from "./health.ts";
import { ServerLife } from "./life.ts";
import type { Power } from "./power.port.ts";
import { Prover } from "./prove.ts";
import { Quarantine } from "./quarantine.ts";
import { recoverStore } from "./recover.ts";
import { Sampler } from "./sample.ts";
import { PairPath } from "./serve.ts";
import { Standing } from "./standing.ts";
import type { GatewayStore } from "./store.port.ts";
import { epochKeyOf, Tagger } from "./tag.ts";

/** Raises an alarm; `key` names the condition, so that it can be cleared. */
export interface AlarmBoard {
  raise(severity: "warning" | "critical", kind: string, text: string): void;
  clear(kind: string): void;
  list(): GatewayStatus["alarms"];
}

export interface GatewayOptions {
  readonly name: string;
  readonly entry: WhitelistEntry;
  readonly epoch: number;
  readonly store: GatewayStore;
  /** The device's secret: ring and epoch keys derive from it. */
  readonly rootKey: KeyObject;
  readonly power: Power;
  readonly connectDepot: () => Promise<Wire>;
  /** See LifeOptions. */
  readonly openHasher?: () => ChunkHasher;
  readonly random: RandomSource;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly alarms: AlarmBoard;
  readonly orderKeys: OrderKeys;
  readonly epsilon: number;
  readonly tickMs: number;
  readonly capacity: number;
  readonly pairDeadlineMs: number;
  readonly stallMs: number;
  readonly readyMs: number;
  readonly retryMs: number;
  readonly flickerMs: number;
  readonly flickerPairs: number;
  readonly flickerOffsetMs: number;
  readonly drainMs: number;
  readonly silentMs: number;
  /** Longest wait of a reply for its verdict, in quarantine. */
  readonly holdMs?: number;
  /** Parts that are simulated, in words. */
  readonly simulated: readonly string[];
  readonly onFatal: (error: Error) => void;
}

const holdMs = 120_000;
/** How long a router may hold back its leave to drain. */
const drainGrantMs = 30_000;

export class Gateway {
  readonly #o: GatewayOptions;
  readonly #pairs: PairPath;
  readonly #life: ServerLife;
  readonly #prover: Prover;
  readonly #sampler: Sampler;
  readonly #quarantine: Quarantine;
  readonly #standing: Standing;
  readonly #routers = new Set<Wire>();
  #drainWaiters: (() => void)[] = [];

  constructor(options: GatewayOptions) {
    this.#o = options;
    const { name, entry, store, clock, logger, alarms } = options;
    const random = new TestedRandom(options.random, (test) => {
      alarms.raise("critical", "gateway.rng", `the sampling generator failed its ${test} test`);
    });
    this.#sampler = new Sampler(options.epsilon, random);
    this.#quarantine = new Quarantine({ clock, holdMs: options.holdMs ?? holdMs });
    this.#standing = this.#makeStanding();
    this.#pairs = new PairPath({
      entry,
      store,
      clock,
      logger,
      tickMs: options.tickMs,
      pairDeadlineMs: options.pairDeadlineMs,
      tagger: new Tagger(options.epoch, epochKeyOf(options.rootKey, options.epoch)),
      sampler: this.#sampler,
      quarantine: this.#quarantine,
      onMisbehaviour: (why) => {
        alarms.raise("critical", "server.misbehaved", `the server broke the link protocol: ${why}`);
        this.#life.fault(why);
      },
      onServerFails: ({ failed, of }) => {
        const text = `the server failed ${failed} of its last ${of} pairs, or let them run out`;
        if (2 * failed > of) alarms.raise("warning", "server.failing", text);
        else alarms.clear("server.failing");
      },
      onFatal: options.onFatal,
      onKept: () => {
        this.#prover.pump();
      },
    });
    this.#life = new ServerLife({
      ...options,
      gateway: name,
      pairs: this.#pairs,
      mayDrain: () => this.#mayDrain(),
      onChange: () => {
        this.#tellRouters();
      },
      onPowerStuck: (why) => {
        if (why === null) alarms.clear("power.stuck");
        else alarms.raise("critical", "power.stuck", `power cannot be cut, still trying: ${why}`);
      },
      onFault: (why) => {
        alarms.raise("warning", "server.restarted", `power was cut: ${why}`);
      },
    });
    this.#prover = this.#makeProver();
  }

  #makeStanding(): Standing {
    const { name: gateway, epoch, store, orderKeys, clock, logger, alarms, onFatal } = this.#o;
    return new Standing({
      ...{ gateway, epoch, store, orderKeys, clock, logger, alarms, onFatal },
      ...{ sampler: this.#sampler, quarantine: this.#quarantine },
      onHalt: (why) => {
        this.#life.halt(why);
      },
      onHaltEnded: () => {
        this.#life.release();
      },
      onSent: () => {
        this.#prover.pump();
      },
      onReleased: () => {
        this.#prover.tellReleases();
      },
      onChange: () => {
        this.#tellRouters();
      },
    });
  }

  #makeProver(): Prover {
    const { name, store, clock, logger, alarms } = this.#o;
    const { state } = store;
    return new Prover({
      gateway: name,
      outbox: store.outbox,
      rootKey: this.#o.rootKey,
      clock,
      logger,
      silentMs: this.#o.silentMs,
      urgent: () => this.#quarantine.tags(),
      untold: () => state.untold,
      onTold: (digest, refused) => {
        if (refused !== null) {
          const text = `the recomputer does not believe a release: ${refused}; its evidence goes on`;
          alarms.raise("warning", "release.refused", text);
        }
        state.change({ told: digest }).catch((error: unknown) => {
          this.#o.onFatal(error instanceof Error ? error : new Error(String(error)));
        });
      },
      onVerdict: (tag, verdict) => {
        this.#pairs.onVerdict(tag, verdict);
      },
      onSilent: (ms) => {
        const text = `no sign of the recomputer for ${Math.round(ms / 1000)} s`;
        alarms.raise("critical", "recomputer.silent", text);
      },
      onHeardAgain: () => {
        alarms.clear("recomputer.silent");
      },
      onOrder: (wire, frame) => {
        this.onOrder(wire, frame);
      },
      onSettled: () => {
        this.#checkOutbox();
      },
      onFatal: this.#o.onFatal,
    });
  }

  /**
   * Brings ring, log and outbox into step after whatever ended the last run. To be awaited before
   * `run`. Throws what the store throws; then nothing may be served.
   */
  async recover(): Promise<void> {
    const { store, entry, clock, logger } = this.#o;
    const keep = (): boolean => this.#sampler.keep();
    const found = await recoverStore({ store, entryDigest: entry.digest, clock, keep });
    const { completed, cutOff, drawn, kept, forgotten, unprovable } = found;
    logger.log("info", "gateway.recovered", {
      completed,
      cutOff,
      drawn,
      kept,
      forgotten: forgotten.length,
      unprovable: unprovable.length,
    });
    if (unprovable.length + forgotten.length > 0) {
      const text = `${unprovable.length + forgotten.length} pairs of an earlier run cannot be proved`;
      this.#o.alarms.raise("warning", "recovery.unprovable", text);
    }
  }

  /** Runs until `stop`. */
  async run(): Promise<void> {
    const { clock, store } = this.#o;
    const second = clock.every(1000, () => {
      this.#pairs.sweep();
      this.#prover.watch();
      this.#prover.pump();
      this.#checkOutbox();
      this.#tellRouters();
    });
    try {
      await this.#life.run(this.#standing.begin());
    } finally {
      second.cancel();
    }
    await this.#pairs.settled();
    this.#prover.detach();
    await this.#standing.stop();
    await store.ring.commit();
  }

  stop(): void {
    this.#life.stop();
  }

  /** Drains and power-cycles now. */
  flicker(): Promise<void> {
    return this.#life.flicker();
  }

  attachRecomputer(wire: Wire): void {
    this.#prover.attach(wire);
  }

  /** A router connected. */
  attachRouter(wire: Wire): void {
    this.#routers.add(wire);
    wire.onClose(() => {
      this.#routers.delete(wire);
      this.#pairs.onRouterLost(wire);
    });
    wire.onFrame((frame) => {
      this.#onRouterFrame(wire, frame);
    });
    wire.send(frameType.state, 0n, this.#state());
  }

  #onRouterFrame(wire: Wire, frame: Frame): void {
    switch (frame.type) {
      case frameType.input:
        this.#pairs.onInput(wire, frame, this.#life.accepting);
        return;
      case frameType.withdraw:
        this.#pairs.onWithdraw(wire, frame.id);
        return;
      case frameType.drainGrant: {
        const waiters = this.#drainWaiters;
        this.#drainWaiters = [];
        for (const waiter of waiters) waiter();
        return;
      }
      default:
        throw new InvalidError("gateway.frame", `a router may not send frame type ${frame.type}`);
    }
  }

  #mayDrain(): Promise<void> {
    if (this.#routers.size === 0) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = this.#o.clock.after(drainGrantMs, resolve);
      this.#drainWaiters.push(() => {
        timer.cancel();
        resolve();
      });
      for (const router of this.#routers) router.send(frameType.drainAsk, 0n);
    });
  }

  #state(): Buffer {
    const { name, entry, capacity, store } = this.#o;
    return encodeState({
      gateway: name,
      modelId: entry.modelId,
      mode: this.#life.mode,
      accepting: this.#life.accepting === "yes" && this.#pairs.hasRoom,
      halted: store.state.halt !== null,
      quarantined: this.#quarantine.active,
      inflight: this.#pairs.inflight,
      capacity,
    });
  }

  #tellRouters(): void {
    const state = this.#state();
    for (const router of this.#routers) router.send(frameType.state, 0n, state);
  }

  #checkOutbox(): void {
    const { outbox } = this.#o.store;
    const full = outbox.waiting >= outbox.capacity;
    const { alarms } = this.#o;
    if (full) {
      alarms.raise(
        "critical",
        "outbox.full",
        "the outbox is full: serving stopped, nothing dropped",
      );
    } else {
      alarms.clear("outbox.full");
    }
  }

  /** An ORDER from a recomputer or an operator. Orders are applied one after the other. */
  onOrder(wire: Wire, frame: Frame): void {
    this.#standing.onOrder(wire, frame);
  }

  /** RECEIPT_ASK from an operator: what the gateway holds about one tag. */
  async receipt(payload: Uint8Array): Promise<Receipt> {
    const { gateway, tag } = parseTag(decodeUtf8(payload));
    const { log, outbox } = this.#o.store;
    for (let waits = 0; waits < 50 && this.#pairs.isUndrawn(tag); waits++) {
      await new Promise<void>((resolve) => void this.#o.clock.after(this.#o.tickMs, resolve));
    }
    const index = this.#pairs.isOpen(tag) || gateway !== this.#o.name ? null : log.find(tag);
    // Before size and root are taken: `prove` proves against the tree of the moment of its call.
    const leaf = index === null ? null : encodeLeaf(await log.read(index));
    const proving = index === null ? null : log.prove(index);
    const base = {
      tag: formatTag(gateway, tag),
      leafIndex: null,
      leafHex: null,
      leafHash: null,
      logSize: Number(log.size),
      logRoot: log.root().toString("hex"),
      proof: [],
    };
    if (gateway !== this.#o.name) return { ...base, state: "unknown" };
    if (this.#pairs.isOpen(tag)) return { ...base, state: "open" };
    if (index === null || leaf === null || proving === null) return { ...base, state: "unknown" };
    const proof = await proving;
    return {
      ...base,
      state: this.#fate(tag, outbox.verdictOf(tag)),
      leafIndex: Number(index),
      leafHex: leaf.toString("hex"),
      leafHash: leafHash(leaf).toString("hex"),
      proof: proof.map((hash) => hash.toString("hex")),
    };
  }

  #fate(tag: Tag, verdict: string | null): Receipt["state"] {
    if (verdict !== null) return "judged";
    const kept = this.#pairs.isKept(tag) || this.#o.store.outbox.knows(tag);
    return kept ? "kept" : "not-kept";
  }

  status(): GatewayStatus {
    const { store, entry, alarms, power, simulated } = this.#o;
    const { counter } = this.#life;
    const ring = store.ring.status();
    const { forgottenThrough } = ring;
    return {
      role: "gateway",
      name: this.#o.name,
      modelId: entry.modelId,
      mode: this.#life.mode,
      ready: this.#life.ready,
      draining: this.#life.draining,
      halted: store.state.halt,
      epoch: this.#o.epoch,
      boots: this.#life.boots,
      lastKillReason: this.#life.lastKillReason,
      upload: {
        bitsForwarded: Number(counter.forwardedBits),
        bitsTotal: Number(counter.totalBits),
      },
      inflight: this.#pairs.inflight,
      pairs: {
        logged: Number(store.log.size),
        sampled: this.#pairs.counts.sampled,
        cutOff: this.#pairs.counts.cutOff,
      },
      tokens: this.#pairs.counts.tokens,
      log: { size: Number(store.log.size), root: store.log.root().toString("hex") },
      outbox: { waiting: store.outbox.waiting, capacity: store.outbox.capacity },
      ring: {
        bytes: ring.bytes,
        capacity: ring.capacity,
        pairsForgotten: ring.pairsForgotten,
        forgottenThrough:
          forgottenThrough === null ? "" : formatTag(this.#o.name, forgottenThrough),
      },
      recomputer: { connected: this.#prover.connected, silentMs: this.#prover.silentMs },
      ...this.#standing.status(),
      isolation: this.#life.isolation,
      simulated: power.simulated === "" ? simulated : [power.simulated, ...simulated],
      alarms: alarms.list(),
    };
  }
}
