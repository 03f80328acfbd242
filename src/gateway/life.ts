/**
 * The life of a gateway's server, from power-on to power-off and again:
 *
 *   1. power on          mode UPLOAD, from nothing
 *   2. boot              proof of erasure, then the weights path           server-boot.ts
 *                        at exactly S bits mode SERVING
 *   3. ready             the engine says LOAD_READY within a deadline
 *   4. serve             until a reason to cut power comes up
 *   5. flicker           after a time or a number of pairs: drain, then cut power
 *   6. kill              power off; wait until no process is left          mode KILLED
 *   7. again             unless a halt stands or the whitelist has expired: back to 1, after a pause if something was wrong
 */
import { assert, InvalidError, UnavailableError } from "../base/assert.ts";
import { frameType, type Frame } from "../format/link.ts";
import type { Mode } from "../format/router-link.ts";
import type { IsolationStatus } from "../format/status.ts";
import { BitCounter } from "./counter.ts";
import type { Erasure } from "./erase.ts";
import { accepting, lifeBegins, nextLife, type LifeEvent, type LifeState } from "./life-state.ts";
import type { Power, PoweredServer } from "./power.port.ts";
import type { PairPath } from "./serve.ts";
import { ServerBoot, type ServerBootOptions } from "./server-boot.ts";

export interface LifeOptions extends ServerBootOptions {
  readonly power: Power;
  readonly pairs: PairPath;
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
  /** Why the server may not boot now, in words; null or left out: it may. Asked before each power-on. */
  readonly barred?: () => string | null;
  /** Power could not be cut, in words, or null: now it is off after all. */
  readonly onPowerStuck: (why: string | null) => void;
  /** A power cycle that was not asked for, in words. */
  readonly onFault: (why: string) => void;
}

/** A life that is to stop gives a dead switch this many tries. */
const lastTries = 3;

/** How often a life that may not boot asks again. */
const barredMs = 60_000;

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
  boot: ServerBoot | null = null;
  draining = false;
  readonly #resolve: (reason: EndReason) => void;
  readonly #resolveLoaded: (value: undefined) => void;
  readonly #onEnd: (event: "fault" | "flicker") => void;

  /** `onEnd` hears of an end that is news to the life; halt and stop it knows of. */
  constructor(onEnd: (event: "fault" | "flicker") => void) {
    this.#onEnd = onEnd;
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
    if (this.over) return;
    this.over = true;
    if (reason.kind === "fault" || reason.kind === "flicker") this.#onEnd(reason.kind);
    this.#resolve(reason);
  }

  fault(why: string): void {
    this.end({ kind: "fault", why });
  }
}

export class ServerLife {
  readonly #o: LifeOptions;
  /** What may come next: life-state.ts decides, this file acts. */
  #state: LifeState = lifeBegins(false);
  #counter: BitCounter;
  #boots = 0;
  #lastKill = "";
  #isolation: IsolationStatus = { kind: "off", detail: "not started yet" };
  #cycle: Cycle | null = null;
  #boot: ServerBoot | null = null;
  #wake: (() => void) | null = null;

  constructor(options: LifeOptions) {
    this.#o = options;
    this.#counter = new BitCounter(options.entry.weights.sizeBytes);
  }

  /** An illegal event is a bug: the process stops and the server with it. */
  #apply(event: LifeEvent): void {
    const before = this.#state;
    const next = nextLife(before, event);
    assert(next !== null, `a life in mode ${before.mode} allows no ${event}`);
    this.#state = next;
    if (next.mode === before.mode) return;
    this.#o.logger.log("info", "gateway.mode", { mode: next.mode, cause: event });
    this.#o.onChange();
  }

  get mode(): Mode {
    return this.#state.mode;
  }
  get ready(): boolean {
    return this.#state.ready;
  }
  get draining(): boolean {
    return this.#state.draining;
  }
  get #halted(): boolean {
    return this.#state.halted;
  }
  get #stopping(): boolean {
    return this.#state.stopping;
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
  /** Of the present boot, or the last one. */
  get erasure(): Erasure | null {
    return this.#boot?.erasure ?? null;
  }
  get counter(): BitCounter {
    return this.#counter;
  }

  /** Whether inputs may come in, and if not, why. */
  get accepting(): "yes" | "not-serving" | "draining" {
    return accepting(this.#state);
  }

  /** Cuts power for a fault (misbehaviour of the server); the life goes on with a fresh boot. */
  fault(why: string): void {
    this.#cycle?.fault(why);
  }

  /** A shutdown order was obeyed: cut power and stay off until `release`. */
  halt(why: string): void {
    this.#apply("halt");
    this.#cycle?.end({ kind: "halt", why });
  }

  release(): void {
    this.#apply("release");
    this.#wake?.();
  }

  /** Ends the life: power off, then `run` resolves. */
  stop(): void {
    this.#apply("stop");
    this.#cycle?.end({ kind: "stop" });
    this.#wake?.();
  }

  /** Runs until `stop`. `halted`: a halt of an earlier run still stands. */
  async run(halted: boolean): Promise<void> {
    this.#state = { ...this.#state, halted };
    // Nobody knows what an earlier run left powered, least of all after a crash.
    await this.#cutWhateverIs();
    let faults = 0;
    while (!this.#stopping) {
      if (this.#halted) {
        await this.#stayOff();
        // A stop or another order may have come at the very end of it.
        continue;
      }
      const barred = this.#o.barred?.() ?? null;
      if (barred !== null) {
        this.#lastKill = barred;
        this.#o.onChange();
        await this.#pause(barredMs);
        continue;
      }
      const reason = await this.#once();
      faults = reason.kind === "fault" ? faults + 1 : 0;
      if (reason.kind === "fault" && !this.#halted) {
        this.#o.onFault(reason.why);
        await this.#pause(Math.min(30_000, this.#o.retryMs * 2 ** Math.min(faults - 1, 10)));
      }
    }
  }

  async #cutWhateverIs(): Promise<void> {
    const { power } = this.#o;
    await this.#cutPower(() => power.off?.() ?? Promise.resolve());
    this.#apply("power-gone");
  }

  async #stayOff(): Promise<void> {
    this.#apply("halt-stands");
    while (this.#halted && !this.#stopping) await this.#pause(60_000);
    this.#apply("memory-gone");
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
    this.#apply("power-asked");
    try {
      server = await this.#o.power.on();
    } catch (error) {
      if (!(error instanceof UnavailableError)) throw error;
      this.#apply("power-failed");
      // The switch may be on all the same, and a halt may come before the next try.
      await this.#cutWhateverIs();
      return { kind: "fault", why: error.message };
    }
    this.#boots++;
    this.#counter = new BitCounter(this.#o.entry.weights.sizeBytes);
    this.#isolation = server.isolation;
    this.#apply("power-on");
    const cycle = new Cycle((event) => {
      this.#apply(event);
    });
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
      // Its counter is of this power cycle, whatever comes while it runs.
      cycle.boot = new ServerBoot(this.#o, this.#boots, server.wire, this.#counter);
      this.#boot = cycle.boot;
      await cycle.boot.run();
      if (cycle.over) return;
      this.#apply("weights-complete");
      await this.#load(cycle);
    } catch (error) {
      if (!(error instanceof InvalidError || error instanceof UnavailableError)) throw error;
      cycle.fault(`${error.code}: ${error.message}`);
      return;
    }
    if (cycle.over) return;
    this.#apply("ready");
    this.#o.pairs.attach(server.wire);
    this.#o.onChange();
    this.#planFlicker(cycle);
  }

  /** Until all bits are in, a server proves its erasure and has nothing else to say; after that first LOAD_READY. */
  #onServerFrame(cycle: Cycle, frame: Frame): void {
    if (cycle.over) return;
    if (cycle.isLoaded) {
      this.#o.pairs.onServerFrame(frame);
    } else if (frame.type === frameType.loadReady && this.#counter.complete) {
      cycle.load();
    } else if (cycle.boot?.onServerFrame(frame) !== true) {
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
    this.#apply("drain");
    this.#o.onChange();
    const deadline = this.#o.clock.after(this.#o.drainMs, () => {
      cycle.end({ kind: "flicker" });
    });
    await this.#o.pairs.settled();
    deadline.cancel();
    cycle.end({ kind: "flicker" });
  }

  async #powerOff(server: PoweredServer, reason: EndReason): Promise<void> {
    this.#lastKill = "why" in reason ? reason.why : reason.kind;
    this.#o.logger.log("info", "gateway.kill", { reason: reason.kind, why: this.#lastKill });
    this.#apply("kill");
    this.#o.pairs.detach("server-lost");
    // Power is off only when nothing of the server is left; until then the mode stays KILLED.
    await this.#cutPower(() => server.kill());
    this.#apply("power-gone");
    if (!this.#halted) {
      this.#apply("memory-gone");
      return;
    }
    while (this.#halted && !this.#stopping) await this.#pause(60_000);
    this.#apply("memory-gone");
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
