/**
 * The life of a gateway's server, from power-on to power-off and again:
 *
 *   1. power on          mode UPLOAD, from nothing
 *   2. upload            weights path; at exactly S bits mode SERVING      upload.ts
 *   3. ready             the engine says LOAD_READY within a deadline
 *   4. serve             until a reason to cut power comes up
 *   5. flicker           after a time or a number of pairs: drain, then cut power
 *   6. kill              power off; wait until no process is left          mode KILLED
 *   7. again             unless a halt stands: back to 1, after a pause if something was wrong
 */
import { InvalidError, UnavailableError } from "../base/assert.ts";
import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/report.ts";
import { frameType, type Frame } from "../format/link.ts";
import type { Mode } from "../format/router-link.ts";
import type { IsolationStatus } from "../format/status.ts";
import type { WhitelistEntry } from "../format/whitelist.ts";
import type { Wire } from "../format/wire.ts";
import type { ChunkHasher } from "./chunk-hasher.port.ts";
import { BitCounter } from "./counter.ts";
import { ModeMachine } from "./mode.ts";
import type { Power, PoweredServer } from "./power.port.ts";
import type { PairPath } from "./serve.ts";
import { uploadWeights } from "./upload.ts";

export interface LifeOptions {
  readonly gateway: string;
  readonly entry: WhitelistEntry;
  readonly power: Power;
  readonly connectDepot: () => Promise<Wire>;
  /** One per upload, closed after it. Without it, chunks are hashed by the thread of the gateway. */
  readonly openHasher?: () => ChunkHasher;
  readonly pairs: PairPath;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly stallMs: number;
  readonly readyMs: number;
  /** Pause before the next power-on after a fault; milliseconds. Doubles up to 30 s. */
  readonly retryMs: number;
  /** 0 switches either trigger off. */
  readonly flickerMs: number;
  readonly flickerPairs: number;
  /** Added to the first flicker, so that gateways do not drain together. */
  readonly flickerOffsetMs: number;
  readonly drainMs: number;
  /** Asks the routers whether a drain would leave the model unserved; resolves when it may begin. */
  readonly mayDrain: () => Promise<void>;
  readonly onChange: () => void;
  /** Power could not be cut, in words, or null: now it is off after all. */
  readonly onPowerStuck: (why: string | null) => void;
  /** A power cycle that was not asked for, in words. */
  readonly onFault: (why: string) => void;
}

/** A life that is to stop gives a dead switch this many tries. */
const lastTries = 3;

type EndReason =
  | { readonly kind: "fault"; readonly why: string }
  | { readonly kind: "flicker" }
  | { readonly kind: "halt"; readonly why: string }
  | { readonly kind: "stop" };

/** One power cycle: late events of an earlier one can never touch the present server. */
class Cycle {
  readonly ended: Promise<EndReason>;
  readonly loaded: Promise<undefined>;
  over = false;
  isLoaded = false;
  draining = false;
  readonly #resolve: (reason: EndReason) => void;
  readonly #resolveLoaded: (value: undefined) => void;

  constructor() {
    const end = Promise.withResolvers<EndReason>();
    const loaded = Promise.withResolvers<undefined>();
    this.ended = end.promise;
    this.#resolve = end.resolve;
    this.loaded = loaded.promise;
    this.#resolveLoaded = loaded.resolve;
  }

  /** The engine said that it is ready. */
  load(): void {
    this.isLoaded = true;
    this.#resolveLoaded(undefined);
  }

  /** The first reason counts. */
  end(reason: EndReason): void {
    this.over = true;
    this.#resolve(reason);
  }

  fault(why: string): void {
    this.end({ kind: "fault", why });
  }
}

export class ServerLife {
  readonly #o: LifeOptions;
  readonly #mode: ModeMachine;
  #counter: BitCounter;
  #ready = false;
  #draining = false;
  #boots = 0;
  #lastKill = "";
  #isolation: IsolationStatus = { kind: "off", detail: "not started yet" };
  #halted = false;
  #stopping = false;
  #cycle: Cycle | null = null;
  #wake: (() => void) | null = null;

  constructor(options: LifeOptions) {
    this.#o = options;
    this.#counter = new BitCounter(options.entry.weights.sizeBytes);
    this.#mode = new ModeMachine((mode, event) => {
      options.logger.log("info", "gateway.mode", { mode, cause: event });
      options.onChange();
    });
  }

  get mode(): Mode {
    return this.#mode.mode;
  }
  get ready(): boolean {
    return this.#ready;
  }
  get draining(): boolean {
    return this.#draining;
  }
  get boots(): number {
    return this.#boots;
  }
  get lastKillReason(): string {
    return this.#lastKill;
  }
  get isolation(): IsolationStatus {
    return this.#isolation;
  }
  get counter(): BitCounter {
    return this.#counter;
  }

  /** Whether inputs may come in, and if not, why. */
  get accepting(): "yes" | "not-serving" | "draining" {
    if (this.#mode.mode !== "SERVING" || !this.#ready) return "not-serving";
    return this.#draining ? "draining" : "yes";
  }

  /** Cuts power for a fault (misbehaviour of the server); the life goes on with a fresh boot. */
  fault(why: string): void {
    this.#cycle?.fault(why);
  }

  /** A shutdown order was obeyed: cut power and stay off until `release`. */
  halt(why: string): void {
    this.#halted = true;
    this.#cycle?.end({ kind: "halt", why });
  }

  release(): void {
    this.#halted = false;
    this.#wake?.();
  }

  /** Ends the life: power off, then `run` resolves. */
  stop(): void {
    this.#stopping = true;
    this.#cycle?.end({ kind: "stop" });
    this.#wake?.();
  }

  /** Runs until `stop`. `halted`: a halt of an earlier run still stands. */
  async run(halted: boolean): Promise<void> {
    this.#halted = halted;
    // Nobody knows what an earlier run left powered, least of all after a crash.
    const { power } = this.#o;
    await this.#cutPower(() => power.off?.() ?? Promise.resolve());
    let faults = 0;
    while (!this.#stopping) {
      if (this.#halted) await this.#stayOff();
      if (this.#stopping) return;
      const reason = await this.#once();
      faults = reason.kind === "fault" ? faults + 1 : 0;
      if (reason.kind === "fault" && !this.#halted) {
        this.#o.onFault(reason.why);
        await this.#pause(Math.min(30_000, this.#o.retryMs * 2 ** Math.min(faults - 1, 10)));
      }
    }
  }

  async #stayOff(): Promise<void> {
    this.#mode.apply("halt-stands");
    while (this.#halted && !this.#stopping) await this.#pause(60_000);
    this.#mode.apply("memory-gone");
  }

  /** Waits, or until something wakes the life up. */
  #pause(ms: number): Promise<void> {
    if (this.#stopping) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = this.#o.clock.after(ms, () => {
        this.#wake = null;
        resolve();
      });
      this.#wake = (): void => {
        timer.cancel();
        this.#wake = null;
        resolve();
      };
    });
  }

  /** One power cycle, steps 1 to 6. */
  async #once(): Promise<EndReason> {
    let server: PoweredServer;
    try {
      server = await this.#o.power.on();
    } catch (error) {
      if (!(error instanceof UnavailableError)) throw error;
      return { kind: "fault", why: error.message };
    }
    this.#boots++;
    this.#counter = new BitCounter(this.#o.entry.weights.sizeBytes);
    this.#isolation = server.isolation;
    this.#mode.apply("power-on");
    const cycle = new Cycle();
    this.#cycle = cycle;
    // An order or a stop may have come while power was coming on.
    if (this.#stopping) cycle.end({ kind: "stop" });
    if (this.#halted) cycle.end({ kind: "halt", why: "halted while power came on" });
    void server.gone.then((why) => {
      cycle.fault(`the server is gone: ${why}`);
    });
    server.wire.onClose((why) => {
      cycle.fault(`the server's link closed: ${why}`);
    });
    server.wire.onFrame((frame) => {
      this.#onServerFrame(cycle, frame);
    });
    void this.#bootAndServe(server, cycle);
    const reason = await cycle.ended;
    this.#cycle = null;
    await this.#powerOff(server, reason);
    return reason;
  }

  async #bootAndServe(server: PoweredServer, cycle: Cycle): Promise<void> {
    try {
      await this.#upload(server);
      if (cycle.over) return;
      this.#mode.apply("weights-complete");
      await this.#load(cycle);
    } catch (error) {
      if (!(error instanceof InvalidError || error instanceof UnavailableError)) throw error;
      cycle.fault(`${error.code}: ${error.message}`);
      return;
    }
    if (cycle.over) return;
    this.#ready = true;
    this.#o.pairs.attach(server.wire);
    this.#o.onChange();
    this.#planFlicker(cycle);
  }

  async #upload(server: PoweredServer): Promise<void> {
    const { entry, gateway, clock, stallMs } = this.#o;
    // Of this power cycle, whatever comes while the depot is dialled.
    const counter = this.#counter;
    const depot = await this.#o.connectDepot();
    const hasher = this.#o.openHasher?.();
    const optional = hasher === undefined ? {} : { hasher };
    try {
      await uploadWeights({
        ...{ gateway, entry, depot, server: server.wire, counter, clock, stallMs },
        ...optional,
      });
    } finally {
      hasher?.close();
      depot.close("the upload is over");
    }
  }

  /** Until all bits are in, a server has nothing to say; after that first LOAD_READY. */
  #onServerFrame(cycle: Cycle, frame: Frame): void {
    if (cycle.over) return;
    if (cycle.isLoaded) {
      this.#o.pairs.onServerFrame(frame);
    } else if (frame.type === frameType.loadReady && this.#counter.complete) {
      cycle.load();
    } else {
      cycle.fault("the server spoke before it was ready");
    }
  }

  /** Step 3: resolves when LOAD_READY came, or when the cycle is over. */
  async #load(cycle: Cycle): Promise<void> {
    const timer = this.#o.clock.after(this.#o.readyMs, () => {
      cycle.fault(`the engine did not load within ${this.#o.readyMs} ms`);
    });
    await Promise.race([cycle.loaded, cycle.ended]);
    timer.cancel();
  }

  #planFlicker(cycle: Cycle): void {
    const { clock, flickerMs, flickerOffsetMs, flickerPairs, pairs } = this.#o;
    if (flickerMs > 0) {
      const timer = clock.after(flickerMs + (this.#boots === 1 ? flickerOffsetMs : 0), () => {
        void this.#drain(cycle);
      });
      void cycle.ended.then(() => {
        timer.cancel();
      });
    }
    if (flickerPairs > 0) {
      const from = pairs.counts.logged;
      const poll = clock.every(250, () => {
        if (pairs.counts.logged - from >= flickerPairs) void this.#drain(cycle);
      });
      void cycle.ended.then(() => {
        poll.cancel();
      });
    }
  }

  /** Step 5, also on an operator's wish: asks the routers, drains, cuts power. */
  async flicker(): Promise<void> {
    if (this.#cycle !== null) await this.#drain(this.#cycle);
  }

  async #drain(cycle: Cycle): Promise<void> {
    if (cycle.draining || cycle.over || this.accepting !== "yes") return;
    cycle.draining = true;
    await this.#o.mayDrain();
    if (cycle.over) return;
    this.#draining = true;
    this.#o.onChange();
    const deadline = this.#o.clock.after(this.#o.drainMs, () => {
      cycle.end({ kind: "flicker" });
    });
    await this.#o.pairs.settled();
    deadline.cancel();
    cycle.end({ kind: "flicker" });
  }

  async #powerOff(server: PoweredServer, reason: EndReason): Promise<void> {
    this.#ready = false;
    this.#draining = false;
    this.#lastKill = "why" in reason ? reason.why : reason.kind;
    this.#o.logger.log("info", "gateway.kill", { reason: reason.kind, why: this.#lastKill });
    this.#mode.apply("kill");
    this.#o.pairs.detach("server-lost");
    // Power is off only when nothing of the server is left; until then the mode stays KILLED.
    await this.#cutPower(() => server.kill());
    if (!this.#halted) {
      this.#mode.apply("memory-gone");
      return;
    }
    while (this.#halted && !this.#stopping) await this.#pause(60_000);
    this.#mode.apply("memory-gone");
  }

  /**
   * Switches power off, again and again where the switch does not answer: until it has, power may be
   * on. Throws what the switch throws only when the life is to stop.
   */
  async #cutPower(off: () => Promise<void>): Promise<void> {
    const { clock, retryMs, logger, onPowerStuck } = this.#o;
    for (let failures = 0, last = 0; ; failures++) {
      try {
        await off();
        if (failures > 0) onPowerStuck(null);
        return;
      } catch (error) {
        if (!(error instanceof UnavailableError)) throw error;
        logger.log("error", "gateway.power-stuck", { why: error.message });
        onPowerStuck(error.message);
        if (this.#stopping && ++last >= lastTries) throw error;
      }
      const waitMs = Math.min(30_000, retryMs * 2 ** Math.min(failures, 10));
      if (!this.#stopping) await this.#pause(waitMs);
      else await new Promise<void>((resolve) => void clock.after(retryMs, resolve));
    }
  }
}
