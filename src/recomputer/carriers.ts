/**
 * What gateways count beside the tokens (format/carriers.ts), held against the parties' policy. A bound on
 * what a server could have told says nothing of whether it did: above the limit people are told, and no
 * step of the ladder follows. In memory only: counts come once a second, from each gateway's start on.
 */
import { carriersSince, type CarrierCounts } from "../format/carriers.ts";
import type { ReleaseRule } from "../format/policy.ts";
import type { GatewayCarriers } from "../format/status.ts";
import { carrierBits } from "../verification/release.ts";
import type { AlarmPort } from "./shutdown.port.ts";

/** Rates are over the last this much, by the gateway's clock, and none is told over less than the least. */
const windowMs = 60_000;
const leastMs = 10_000;
const kind = "release.rate";

interface Told {
  /** Oldest first; the first is the youngest that is not younger than the window, where there is one. */
  readonly readings: readonly CarrierCounts[];
  readonly last: CarrierCounts;
  readonly bitsPerSecond: number | null;
  readonly over: boolean;
}

/** Bits per second between two readings; null over too short a time. */
function rate(from: CarrierCounts, to: CarrierCounts): number | null {
  const between = carriersSince(from, to);
  if (between === null || between.ms < leastMs) return null;
  return (1000 * carrierBits(between).total) / between.ms;
}

/** The readings that the window needs; only the new one where counting began anew. */
function windowed(before: readonly CarrierCounts[], counts: CarrierCounts): CarrierCounts[] {
  const last = before.at(-1);
  if (last === undefined || carriersSince(last, counts) === null) return [counts];
  const all = [...before, counts];
  const start = all.findLastIndex(({ ms }) => counts.ms - ms >= windowMs);
  return start > 0 ? all.slice(start) : all;
}

export class CarrierBook {
  readonly #rule: ReleaseRule;
  readonly #alarms: AlarmPort;
  readonly #told = new Map<string, Told>();

  constructor(rule: ReleaseRule, alarms: AlarmPort) {
    this.#rule = rule;
    this.#alarms = alarms;
  }

  /** A gateway's counts came. Alarms when the rate goes over the limit, once until it is back below. */
  take(gateway: string, counts: CarrierCounts): void {
    const before = this.#told.get(gateway);
    const readings = windowed(before?.readings ?? [], counts);
    const [first = counts] = readings;
    const bitsPerSecond = rate(first, counts);
    const limit = this.#rule.bitsPerSecond;
    const over = bitsPerSecond === null ? before?.over === true : bitsPerSecond > limit;
    this.#told.set(gateway, { readings, last: counts, bitsPerSecond, over });
    if (over && before?.over !== true) {
      const text = `release times, failures and ends of replies may carry ${Math.ceil(bitsPerSecond ?? 0)} bits per second, limit ${limit}`;
      this.#alarms.raise("critical", kind, gateway, text);
    } else if (!over && before?.over !== false) this.#alarms.clear(kind, gateway);
  }

  status(): GatewayCarriers[] {
    const all = [...this.#told].map(([gateway, { last, bitsPerSecond }]): GatewayCarriers => {
      const { release, failures, ends, total } = carrierBits(last);
      const bitsPerToken = last.tokens === 0 ? 0 : total / last.tokens;
      const { ms, tokens } = last;
      const bits = { release, failures, ends, bitsPerToken, bitsPerSecond };
      return { gateway, seconds: ms / 1000, tokens, ...bits };
    });
    return all.sort((a, b) => (a.gateway < b.gateway ? -1 : 1));
  }
}
