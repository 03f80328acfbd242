/** Which gateways are connected, and which have been away for too long. */
import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/report.ts";
import type { FrameType } from "../format/link.ts";
import type { Wire } from "../format/wire.ts";
import type { VerdictStore } from "./store.port.ts";

interface Parts {
  readonly clock: Clock;
  readonly log: Logger;
  readonly store: VerdictStore;
  readonly alarms: {
    raise(severity: "warning" | "critical", kind: string, subject: string, text: string): void;
    clear(kind: string, subject: string): void;
  };
}

interface Presence {
  /** null while away. */
  wire: Wire | null;
  /** Monotonic time since which it is away. */
  awaySinceMs: number;
  warned: boolean;
}

/** Gateways that were known before a restart count as away from the start. */
export class Gateways {
  readonly #parts: Parts;
  readonly #awayMs: number;
  readonly #known = new Map<string, Presence>();

  constructor(parts: Parts, awayMs: number) {
    this.#parts = parts;
    this.#awayMs = awayMs;
    const awaySinceMs = parts.clock.monotonicMs();
    for (const gateway of parts.store.gateways()) {
      this.#known.set(gateway, { wire: null, awaySinceMs, warned: false });
    }
  }

  /** The newest connection of a gateway is the one that counts; an older one is closed. */
  connected(gateway: string, wire: Wire): void {
    const before = this.#known.get(gateway);
    this.#known.set(gateway, { wire, awaySinceMs: 0, warned: false });
    before?.wire?.close("the gateway connected again");
    this.#parts.alarms.clear("gateway.away", gateway);
    this.#parts.log.log("info", "recomputer.gateway-joined", { gateway });
  }

  disconnected(gateway: string, wire: Wire): void {
    const presence = this.#known.get(gateway);
    if (presence?.wire !== wire) return;
    presence.wire = null;
    presence.awaySinceMs = this.#parts.clock.monotonicMs();
  }

  isConnected(gateway: string): boolean {
    return (this.#known.get(gateway)?.wire ?? null) !== null;
  }

  setPaused(gateway: string, paused: boolean): void {
    const wire = this.#known.get(gateway)?.wire;
    if (paused) wire?.pause();
    else wire?.resume();
  }

  /** Sends to a gateway if it is there; what it misses it asks for again. */
  send(gateway: string, type: FrameType, id: bigint, payload: Uint8Array): void {
    this.#known.get(gateway)?.wire?.send(type, id, payload);
  }

  sendAll(type: FrameType, payload: Uint8Array): void {
    for (const { wire } of this.#known.values()) wire?.send(type, 0n, payload);
  }

  /** Warns, once per absence, of gateways that have been away for too long. */
  checkAway(): void {
    const nowMs = this.#parts.clock.monotonicMs();
    for (const [gateway, presence] of this.#known) {
      const away = presence.wire === null && nowMs - presence.awaySinceMs >= this.#awayMs;
      if (!away || presence.warned) continue;
      presence.warned = true;
      const text = `no connection for ${Math.round((nowMs - presence.awaySinceMs) / 1000)} s`;
      this.#parts.alarms.raise("warning", "gateway.away", gateway, text);
    }
  }
}
