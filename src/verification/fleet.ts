/**
 * What a level means for a fleet: how much evidence against one server is enough, so that all honest
 * servers together are safe. Both e-processes of a server (sequential.ts) have initial value 1, so
 * Ville's inequality gives P(either ever reaches e^b) <= 2 e^-b, for each time that evidence begins.
 * The union over servers gives b = ln(2 k n / alpha). Nothing about independence of servers, and no
 * horizon: years and pairs only turn the budget into rates (docs/STATISTICS.md, section 4).
 */
import { InvalidError } from "../base/assert.ts";
import type { Policy } from "../format/policy.ts";

export type Fleet = Readonly<Policy["fleet"]>;

export interface FleetBudget {
  /** Thresholds of `logE` and `logChange`; nats. Equal: half of alpha each. */
  readonly logE: number;
  readonly logChange: number;
  /** Bound on the probability that evidence, once begun against an honest server, ever gets there. */
  readonly perServer: number;
  /** Bound on expected false alarms of the whole fleet per year, if at most alpha fall into the years. */
  readonly falseAlarmsPerYear: number;
  /** Years, and audited pairs of the whole fleet, between two false alarms on average: at least these. */
  readonly yearsBetween: number;
  readonly pairsBetween: number;
}

/** e-processes per server that may alarm. */
const processes = 2;

/** Throws InvalidError `fleet.FIELD` unless the field is a number in (0, max]. */
function check(field: string, value: number, max: number): void {
  if (!(value > 0 && value <= max)) {
    throw new InvalidError(
      `fleet.${field}`,
      `${field} must be above 0 and at most ${max}: ${value}`,
    );
  }
}

function checkServers(servers: number): void {
  check("servers", servers, 1e12);
  if (!Number.isInteger(servers)) {
    throw new InvalidError("fleet.servers", `servers must be an integer: ${servers}`);
  }
}

/** Thresholds and rates for a fleet. InvalidError `fleet.FIELD` names a field that is out of range. */
export function fleetBudget(fleet: Fleet): FleetBudget {
  const { servers, alpha, years, pairsPerYear, beginnings = 1 } = fleet;
  checkServers(servers);
  check("alpha", alpha, 1);
  check("years", years, 1e6);
  check("pairsPerYear", pairsPerYear, 1e15);
  check("beginnings", beginnings, 1e9);
  const threshold =
    Math.log(processes) + Math.log(servers) + Math.log(beginnings) - Math.log(alpha);
  return {
    logE: threshold,
    logChange: threshold,
    perServer: alpha / servers / beginnings,
    falseAlarmsPerYear: alpha / years,
    yearsBetween: years / alpha,
    pairsBetween: (servers * pairsPerYear * years) / alpha,
  };
}

/**
 * Expected honest servers of the fleet on which a rung at `logE` nats (of either process) is ever
 * taken, per beginning: at most this. For the lower steps of the ladder, which may be wrong now and then.
 */
export function expectedFalseSteps(logE: number, servers: number): number {
  checkServers(servers);
  check("logE", logE, 1e6);
  return servers * Math.min(1, processes * Math.exp(-logE));
}

/** The level that thresholds of `logE` nats give a fleet of `servers`: inverse of `fleetBudget` for alpha. */
export function alphaOf(logE: number, servers: number, beginnings = 1): number {
  checkServers(servers);
  check("logE", logE, 1e6);
  check("beginnings", beginnings, 1e9);
  return Math.min(1, processes * servers * beginnings * Math.exp(-logE));
}

/** The largest fleet that thresholds of `logE` nats serve at level `alpha`: inverse for servers. */
export function serversOf(logE: number, alpha: number, beginnings = 1): number {
  check("logE", logE, 1e6);
  check("alpha", alpha, 1);
  check("beginnings", beginnings, 1e9);
  return Math.floor(((alpha / processes) * Math.exp(logE)) / beginnings);
}
