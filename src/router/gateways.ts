/**
 * All gateways of a router: dials them, again and again where needed, drops silent ones, and lets
 * them drain one at a time, so that a power flicker is not seen by clients.
 */
import { UnavailableError } from "../base/assert.ts";
import type { Clock, Timer } from "../base/clock.ts";
import type { Logger } from "../base/report.ts";
import type { Wire } from "../format/wire.ts";
import { GatewayLink, type LinkOwner } from "./gateway-link.ts";
import type { Soon } from "./http.port.ts";
import { pick } from "./route.ts";

export interface GatewaysOptions {
  readonly names: readonly string[];
  /** Connects to a gateway by name and authenticates it. Rejects with UnavailableError. */
  readonly dial: (name: string) => Promise<Wire>;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly soon: Soon;
  /** Told when a gateway may have got room. */
  readonly onRoom: (link: GatewayLink) => void;
}

const redialMinMs = 100;
const redialMaxMs = 5000;
/** A gateway speaks once a second; one that is silent this long has lost its link. */
const silenceMs = 10_000;

export class Gateways implements LinkOwner {
  readonly links: readonly GatewayLink[];
  readonly #options: GatewaysOptions;
  readonly #timers = new Map<GatewayLink, Timer>();
  readonly #accepting = new Map<GatewayLink, boolean>();
  #turn = 0;
  #closed = false;

  constructor(options: GatewaysOptions) {
    this.#options = options;
    this.links = options.names.map((name) => new GatewayLink(name, this, options.soon));
  }

  /** Begins to dial every gateway; never waits for one. */
  start(): void {
    for (const link of this.links) this.#dial(link, redialMinMs);
  }

  /** The least loaded gateway for this model that `allowed` passes, or null. */
  pick(modelId: string, allowed: (link: GatewayLink) => boolean): GatewayLink | null {
    this.#turn++;
    return pick(this.links, modelId, this.#turn, allowed);
  }

  /** Models that some gateway accepts requests for. */
  serving(): Set<string> {
    const models = new Set<string>();
    for (const link of this.links) {
      if (link.accepting && link.modelId !== null) models.add(link.modelId);
    }
    return models;
  }

  /** Drops links that have been silent too long; called about once a second. */
  sweep(): void {
    const now = this.#options.clock.monotonicMs();
    for (const link of this.links) {
      if (link.connected && now - link.lastHeardMs > silenceMs) link.drop("silent");
    }
  }

  close(): void {
    this.#closed = true;
    for (const timer of this.#timers.values()) timer.cancel();
    this.#timers.clear();
    for (const link of this.links) link.drop("the router stops");
  }

  #dial(link: GatewayLink, delayMs: number): void {
    const { dial, clock, logger } = this.#options;
    this.#timers.delete(link);
    const again = (why: string): void => {
      if (this.#closed) return;
      logger.log("warn", "router.gateway.unreachable", { gateway: link.name, why });
      const next = Math.min(2 * delayMs, redialMaxMs);
      this.#timers.set(
        link,
        clock.after(delayMs, () => {
          this.#dial(link, next);
        }),
      );
    };
    dial(link.name).then(
      (wire) => {
        this.#attach(link, wire);
      },
      (error: unknown) => {
        if (!(error instanceof UnavailableError)) throw error;
        again(error.message);
      },
    );
  }

  #attach(link: GatewayLink, wire: Wire): void {
    const { clock, logger } = this.#options;
    if (this.#closed) {
      wire.close("the router stops");
      return;
    }
    logger.log("info", "router.gateway.connected", { gateway: link.name });
    link.attach(wire, () => clock.monotonicMs());
    wire.onClose((reason) => {
      logger.log("warn", "router.gateway.lost", { gateway: link.name, reason });
      if (this.#closed) return;
      this.#timers.set(
        link,
        clock.after(redialMinMs, () => {
          this.#dial(link, 2 * redialMinMs);
        }),
      );
    });
  }

  onChange(link: GatewayLink): void {
    const { accepting } = link;
    if (this.#accepting.get(link) !== accepting) {
      this.#accepting.set(link, accepting);
      this.#options.logger.log("debug", "router.gateway.accepting", {
        gateway: link.name,
        accepting,
        mode: link.state?.mode ?? "unknown",
      });
      if (accepting) for (const asking of this.links) this.onDrainAsk(asking);
    }
    if (accepting) this.#options.onRoom(link);
  }

  /**
   * Lets a gateway drain if another accepts its model meanwhile. Otherwise the grant is held back
   * until one does; past its own deadline the gateway drains without it.
   */
  onDrainAsk(link: GatewayLink): void {
    if (link.drain !== "asked" || link.modelId === null) return;
    const other = pick(this.links, link.modelId, 0, (candidate) => candidate !== link);
    if (other === null) return;
    this.#options.logger.log("info", "router.drain.granted", { gateway: link.name });
    link.grantDrain();
  }
}
