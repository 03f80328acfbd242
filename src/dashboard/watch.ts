/**
 * Keeps one role under watch: dial, WATCH, read STATUS, and again with backoff whenever the link
 * ends or falls silent. How to dial is given: this file knows no sockets.
 */
import { InvalidError, UnavailableError } from "../base/assert.ts";
import type { Clock, Timer } from "../base/clock.ts";
import { frameType, type Frame } from "../format/link.ts";
import type { RoleStatus } from "../format/status.ts";
import type { Wire } from "../format/wire.ts";
import { targetKey, type Target } from "./feed.ts";
import { readRoleStatus } from "./read.ts";

export const backoffFirstMs = 250;
export const backoffLastMs = 4000;
/** Roles speak once a second; this much silence means that one is stuck or the path is cut. */
export const silenceMs = 5000;

export interface WatchOptions {
  readonly target: Target;
  /** Rejects with UnavailableError when the role cannot be reached. */
  readonly dial: () => Promise<Wire>;
  readonly clock: Clock;
  readonly onStatus: (status: RoleStatus) => void;
  /** The link is down, and why in words. Called for each failed attempt. */
  readonly onDown: (why: string) => void;
}

export interface Watch {
  close(): void;
}

/** Starts watching. Never throws; every failure goes to `onDown` and is tried again. */
export function watchRole(options: WatchOptions): Watch {
  const watcher = new Watcher(options);
  watcher.start();
  return {
    close: () => {
      watcher.close();
    },
  };
}

class Watcher {
  readonly #options: WatchOptions;
  #wire: Wire | null = null;
  #retry: Timer | null = null;
  #silence: Timer | null = null;
  #backoffMs = backoffFirstMs;
  #closed = false;

  constructor(options: WatchOptions) {
    this.#options = options;
  }

  start(): void {
    void this.#connect();
  }

  close(): void {
    this.#closed = true;
    this.#retry?.cancel();
    this.#silence?.cancel();
    this.#wire?.close("the observer stops");
  }

  async #connect(): Promise<void> {
    let wire: Wire;
    try {
      wire = await this.#options.dial();
    } catch (error) {
      if (!(error instanceof UnavailableError)) throw error;
      this.#down(error.message);
      return;
    }
    if (this.#closed) {
      wire.close("the observer stops");
      return;
    }
    this.#wire = wire;
    wire.onClose((reason) => {
      this.#wire = null;
      this.#down(reason);
    });
    wire.onFrame((frame) => {
      this.#receive(frame);
    });
    wire.send(frameType.watch, 0n);
    this.#listen(wire);
  }

  /** Starts the silence timer anew. */
  #listen(wire: Wire): void {
    this.#silence?.cancel();
    this.#silence = this.#options.clock.after(silenceMs, () => {
      wire.close(`no status for ${silenceMs / 1000} seconds`);
    });
  }

  #receive(frame: Frame): void {
    if (frame.type !== frameType.status) {
      throw new InvalidError("watch.frame", `expected STATUS, got a frame of type ${frame.type}`);
    }
    const status = readRoleStatus(frame.payload);
    const { target } = this.#options;
    if (status.role !== target.role || status.name !== target.name) {
      const said = `${status.role}/${status.name}`;
      throw new InvalidError("watch.name", `it calls itself ${said}, not ${targetKey(target)}`);
    }
    this.#backoffMs = backoffFirstMs;
    if (this.#wire !== null) this.#listen(this.#wire);
    this.#options.onStatus(status);
  }

  #down(why: string): void {
    this.#silence?.cancel();
    if (this.#closed) return;
    this.#options.onDown(why);
    this.#retry = this.#options.clock.after(this.#backoffMs, () => {
      void this.#connect();
    });
    this.#backoffMs = Math.min(2 * this.#backoffMs, backoffLastMs);
  }
}
