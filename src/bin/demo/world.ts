/** What the demonstration sees of its site: statuses, verdicts and replies, and waiting for them. */
import type { GatewayStatus, RecomputerStatus, VerdictSummary } from "../../format/status.ts";
import { parseTag, type Tag } from "../../format/tag.ts";
import { watchRole, type Watch } from "../site/client.ts";
import type { Site } from "../site/site-file.ts";
import { Traffic, type Reply } from "./traffic.ts";

export class World {
  readonly site: Site;
  readonly traffic: Traffic;
  /** By tag text; kept although the recomputer shows only the newest. */
  readonly verdicts = new Map<string, VerdictSummary>();
  recomputer: RecomputerStatus | null = null;
  readonly #gateways = new Map<string, GatewayStatus>();
  readonly #watches: Watch[];
  readonly #waiting = new Set<() => void>();

  constructor(site: Site) {
    this.site = site;
    this.traffic = new Traffic(site.file.endpoint, site.file.modelId, () => this.#changed());
    this.#watches = site.file.roles
      .filter(({ role }) => role === "gateway" || role === "recomputer")
      .map((role) =>
        watchRole(
          site.paths.keys,
          () => role,
          (status) => {
            if (status?.role === "gateway") this.#gateways.set(status.name, status);
            if (status?.role === "recomputer") {
              this.recomputer = status;
              for (const verdict of status.recent) this.verdicts.set(verdict.tag, verdict);
            }
            this.#changed();
          },
        ),
      );
  }

  #changed(): void {
    for (const check of this.#waiting) check();
  }

  gateway(name: string): GatewayStatus | null {
    return this.#gateways.get(name) ?? null;
  }

  /** Resolves with whether `condition` came to hold within the time. `onCheck` sees each change. */
  async until(seconds: number, condition: () => boolean, onCheck?: () => void): Promise<boolean> {
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const check = (): void => {
      onCheck?.();
      if (condition()) resolve(true);
    };
    const timer = setTimeout(resolve, 1000 * seconds, false);
    this.#waiting.add(check);
    check();
    const held = await promise;
    clearTimeout(timer);
    this.#waiting.delete(check);
    return held;
  }

  /** Verdicts on pairs of a gateway above a tag, by rising tag. */
  verdictsOf(gateway: string, after: Tag | bigint = 0n): VerdictSummary[] {
    return [...this.verdicts.values()]
      .filter((verdict) => verdict.gateway === gateway && parseTag(verdict.tag).tag > after)
      .sort((a, b) => (a.tag < b.tag ? -1 : 1));
  }

  repliesOf(gateway: string, after: Tag | bigint = 0n): Reply[] {
    return this.traffic.replies.filter((reply) => reply.gateway === gateway && reply.tag > after);
  }

  /** The highest tag of a gateway that a reply or a verdict has shown. */
  lastTag(gateway: string): bigint {
    const replied = this.repliesOf(gateway).map(({ tag }) => tag);
    const judged = this.verdictsOf(gateway).map((verdict) => parseTag(verdict.tag).tag);
    return [...replied, ...judged].reduce<bigint>((max, tag) => (tag > max ? tag : max), 0n);
  }

  async close(): Promise<void> {
    await this.traffic.stop();
    for (const watch of this.#watches) watch.close();
  }
}
