/**
 * The gateway as one thing: pair path, weights path and the way to the recomputer, behind the links
 * of routers, observers and operators. Built by bin/gateway.ts from ports.
 */
import type { KeyObject } from "node:crypto";
import { InvalidError } from "../base/assert.ts";
import type { Clock } from "../base/clock.ts";
import type { RandomSource } from "../base/random.ts";
import type { Logger } from "../base/report.ts";
import { frameType, type Frame } from "../format/link.ts";
import { encodeState } from "../format/router-link.ts";
import type { BootStatus, GatewayStatus, Receipt } from "../format/status.ts";
import { formatTag, type Tag } from "../format/tag.ts";
import type { Expiry } from "../format/trust-memory.ts";
import type { WhitelistEntry } from "../format/whitelist.ts";
import type { Wire } from "../format/wire.ts";
import type { AlarmBoard } from "./alarms.ts";
import type { ChunkHasher } from "./chunk-hasher.port.ts";
import { logBoot, type Booted } from "./boot-entry.ts";
import type { Checkpoints } from "./checkpoints.ts";
import { JointDraw, type JointDrawOptions } from "./draw-run.ts";
import type { ErasePolicy } from "./erase.ts";
import type { OrderKeys } from "./halt.ts";
import { deviceKeyOf } from "./identity.ts";
import { TestedRandom } from "./health.ts";
import { ServerLife } from "./life.ts";
import type { Power } from "./power.port.ts";
import { Prover } from "./prove.ts";
import { Quarantine } from "./quarantine.ts";
import { receiptOf } from "./receipt.ts";
import { recoverStore } from "./recover.ts";
import { Sampler } from "./sample.ts";
import { PairPath } from "./serve.ts";
import { Standing } from "./standing.ts";
import type { GatewayStore } from "./store.port.ts";
import { epochKeyOf, saltsOf, Tagger, type SaltOf } from "./tag.ts";

export interface GatewayOptions {
  readonly name: string;
  readonly entry: WhitelistEntry;
  readonly epoch: number;
  readonly store: GatewayStore;
  /** The device's secret: ring and epoch keys derive from it. */
  readonly rootKey: KeyObject;
  readonly booted?: Booted;
  /** What the status says of the boot; left out: nothing. */
  readonly boot?: () => BootStatus | undefined;
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
  /** See PairPathOptions. */
  readonly wholeReplies?: boolean;
  readonly capacity: number;
  readonly pairDeadlineMs: number;
  readonly stallMs: number;
  /** The proof that a server's memory was filled, before each upload; left out: none is asked for. */
  readonly erase?: ErasePolicy;
  readonly readyMs: number;
  readonly retryMs: number;
  readonly flickerMs: number;
  readonly flickerPairs: number;
  readonly flickerOffsetMs: number;
  readonly drainMs: number;
  readonly silentMs: number;
  /** Longest wait of a reply for its verdict, in quarantine. */
  readonly holdMs?: number;
  /** What the time says of the whitelist: no boot when it is over. Left out: it never ends. */
  readonly expiry?: (nowMs: number) => Expiry;
  /** Parts that are simulated, in words. */
  readonly simulated: readonly string[];
  /** The parties that draw with this gateway; left out: it draws alone. */
  readonly draw?: JointDrawOptions;
  /** Signs checkpoints of the log and counts cosignatures; left out: nobody witnesses the log. */
  readonly checkpoints?: Checkpoints;
  readonly onFatal: (error: Error) => void;
}

const noErasure: ErasePolicy = { bytes: 0, bytesPerSecond: 1 };
const holdMs = 120_000;
/** How long a router may hold back its leave to drain. */
const drainGrantMs = 30_000;

function bootOf(boot: BootStatus | undefined): Partial<GatewayStatus> {
  return boot === undefined ? {} : { boot };
}

export class Gateway {
  readonly #o: GatewayOptions;
  readonly #pairs: PairPath;
  readonly #life: ServerLife;
  readonly #prover: Prover;
  readonly #sampler: Sampler;
  readonly #saltOf: SaltOf;
  /** Null before recovery, and where the gateway draws alone. */
  #draw: JointDraw | null = null;
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
    this.#saltOf = saltsOf(options.rootKey);
    this.#sampler = new Sampler(options.epsilon, random);
    this.#quarantine = new Quarantine({ clock, holdMs: options.holdMs ?? holdMs });
    this.#standing = this.#makeStanding();
    this.#pairs = new PairPath({
      entry,
      store,
      clock,
      logger,
      tickMs: options.tickMs,
      wholeReplies: options.wholeReplies ?? false,
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
      deviceKey: deviceKeyOf(options.rootKey),
      erase: options.erase ?? noErasure,
      onNotErased: (why) => {
        alarms.raise(
          "critical",
          "server.not-erased",
          `its memory is not proved to be ours: ${why}`,
        );
      },
      pairs: this.#pairs,
      mayDrain: () => this.#mayDrain(),
      barred: () => this.#checkExpiry(),
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
      ...{ sampler: this.#sampler, quarantine: this.#quarantine, saltOf: this.#saltOf },
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
      carriers: () => this.#pairs.carriers,
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
      onLog: (wire, frame) => this.#o.checkpoints?.show(wire, frame) ?? false,
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
    // Before anything is appended: the log must continue what was signed.
    await this.#o.checkpoints?.begin();
    await this.#openDraw();
    const keep = (tag: Tag, index: bigint): boolean => this.#sampler.keep(tag, index);
    const found = await recoverStore({
      ...{ store, entryDigest: entry.digest, clock, keep },
      saltOf: this.#saltOf,
    });
    const { forgotten, unprovable } = found;
    const counts = { forgotten: forgotten.length, unprovable: unprovable.length };
    logger.log("info", "gateway.recovered", { ...found, ...counts });
    if (unprovable.length + forgotten.length > 0) {
      const text = `${unprovable.length + forgotten.length} pairs of an earlier run cannot be proved`;
      this.#o.alarms.raise("warning", "recovery.unprovable", text);
    }
    await logBoot(store.log, this.#o, this.#o.booted);
  }

  /** Before recovery, which draws coins in the rounds of their leaves. */
  async #openDraw(): Promise<void> {
    const { draw, store, rootKey, name: gateway } = this.#o;
    if (draw === undefined) return;
    const deviceKey = deviceKeyOf(rootKey);
    this.#draw = await JointDraw.open({
      ...{ ...this.#o, ...draw, gateway, deviceKey, log: store.log },
      epsilon: () => this.#sampler.epsilon,
      durable: () => this.#pairs.durable(),
      onChange: () => {
        this.#tellRouters();
      },
    });
    this.#sampler.rounds = this.#draw;
  }

  /** A publisher connected: it reads the log, brings cosignatures, and carries the draw's messages. */
  attachPublisher(wire: Wire): void {
    const onOther = (frame: Frame): void => {
      if (frame.type !== frameType.drawCommit && frame.type !== frameType.drawSecret) {
        throw new InvalidError(
          "gateway.frame",
          `a publisher may not send frame type ${frame.type}`,
        );
      }
      this.#draw?.onFrame(frame);
    };
    if (this.#o.checkpoints === undefined) wire.onFrame(onOther);
    else this.#o.checkpoints.attach(wire, onOther);
    this.#draw?.attach(wire);
  }

  /** Runs until `stop`. */
  async run(): Promise<void> {
    const { clock, store } = this.#o;
    this.#o.checkpoints?.run();
    this.#draw?.start();
    const second = clock.every(1000, () => {
      this.#pairs.sweep();
      this.#draw?.tick();
      this.#prover.watch();
      this.#prover.tellCarriers();
      this.#prover.pump();
      this.#checkOutbox();
      this.#checkExpiry();
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
    await this.#o.checkpoints?.stop();
    await store.ring.commit();
  }

  stop(): void {
    this.#life.stop();
  }

  /** Drains and power-cycles now. */
  flicker(): Promise<void> {
    return this.#life.flicker();
  }

  /** Tampering: power off now, and never on again. */
  cutPower(why: string): void {
    this.#life.halt(why);
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
        this.#pairs.onInput(wire, frame, this.#accepting);
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

  get #accepting(): "yes" | "not-serving" | "draining" {
    const { accepting } = this.#life;
    // Without a round in force a pair would have no coin; and its leaf may have no witness.
    const barred = this.#draw?.ready === false || this.#o.checkpoints?.open === false;
    return accepting === "yes" && barred ? "not-serving" : accepting;
  }

  #state(): Buffer {
    const { name, entry, capacity, store } = this.#o;
    return encodeState({
      gateway: name,
      modelId: entry.modelId,
      mode: this.#life.mode,
      accepting: this.#accepting === "yes" && this.#pairs.hasRoom,
      halted: store.state.halts.length > 0,
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
    const text = "the outbox is full: serving stopped, nothing dropped";
    if (full) alarms.raise("critical", "outbox.full", text);
    else alarms.clear("outbox.full");
  }

  /**
   * Why no server may boot, or null. A running one goes on until its next power cycle; where none is
   * planned, it is drained now.
   */
  #checkExpiry(): string | null {
    const { expiry, clock, alarms, flickerMs, flickerPairs } = this.#o;
    const { over, soon } = expiry?.(clock.wallMs()) ?? { over: null, soon: null };
    if (over === null) alarms.clear("whitelist.expired");
    else alarms.raise("critical", "whitelist.expired", over);
    if (soon === null) alarms.clear("whitelist.expiring");
    else alarms.raise("warning", "whitelist.expiring", soon);
    if (over !== null && flickerMs === 0 && flickerPairs === 0) void this.#life.flicker();
    return over;
  }

  /** An ORDER from a recomputer or an operator. Orders are applied one after the other. */
  onOrder(wire: Wire, frame: Frame): void {
    this.#standing.onOrder(wire, frame);
  }

  /** RECEIPT_ASK from an operator: what the gateway holds about one tag. */
  receipt(payload: Uint8Array): Promise<Receipt> {
    const { name: gateway, store, clock, tickMs, checkpoints = null } = this.#o;
    return receiptOf({ gateway, store, clock, tickMs, checkpoints, pairs: this.#pairs }, payload);
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
      epoch: this.#o.epoch,
      boots: this.#life.boots,
      lastKillReason: this.#life.lastKillReason,
      upload: {
        bitsForwarded: Number(counter.forwardedBits),
        bitsTotal: Number(counter.totalBits),
      },
      erasure: { bytes: this.#o.erase?.bytes ?? 0, seconds: this.#life.erasure?.seconds ?? null },
      inflight: this.#pairs.inflight,
      pairs: {
        logged: Number(store.log.pairs),
        sampled: this.#pairs.counts.sampled,
        cutOff: this.#pairs.counts.cutOff,
      },
      tokens: this.#pairs.counts.tokens,
      carriers: { ...this.#pairs.carriers, ...this.#pairs.shaping },
      ...(this.#draw === null ? {} : { draw: this.#draw.status() }),
      ...(this.#o.checkpoints === undefined ? {} : { witnessed: this.#o.checkpoints.status() }),
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
      ...bootOf(this.#o.boot?.()),
      isolation: this.#life.isolation,
      simulated: power.simulated === "" ? simulated : [power.simulated, ...simulated],
      alarms: alarms.list(),
    };
  }
}
