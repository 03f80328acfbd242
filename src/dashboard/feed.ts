/**
 * Gathers what all roles say. A pure reducer: events in, state out; time comes in with the events.
 * join.ts draws the document from a state.
 */
import { assert } from "../base/assert.ts";
import type { RecomputerStatus, RoleStatus } from "../format/status.ts";
import type { Reach, VerdictRow } from "./document.ts";
import type { WatchedRole } from "./read.ts";
import { addToTrails, type Trails } from "./trail.ts";

/** Rates are means over the last this many milliseconds of counters. */
export const rateWindowMs = 10_000;
/** Rates kept for the sparkline, one a second. */
export const ratesMax = 60;
/** Verdicts kept, over all servers. */
export const verdictsMax = 2000;

export interface Target {
  readonly role: WatchedRole;
  readonly name: string;
}

/** `gateway/g1` */
export function targetKey(target: Target): string {
  return `${target.role}/${target.name}`;
}

/** One moment on both clocks: wall time for records, monotonic time for rates. */
export interface Moment {
  readonly wallMs: number;
  readonly monotonicMs: number;
}

interface Sample {
  readonly atMs: number;
  readonly tokens: number;
}

export interface RoleState {
  readonly target: Target;
  readonly reach: Reach;
  readonly status: RoleStatus | null;
  /** Token counters of the sliding window, oldest first; none unless a server is serving. */
  readonly samples: readonly Sample[];
  readonly rates: readonly (number | null)[];
}

export interface FeedState {
  /** In the order in which they were named. */
  readonly roles: ReadonlyMap<string, RoleState>;
  /** Newest first. */
  readonly verdicts: readonly VerdictRow[];
  /** How evidence moved since this observer started. */
  readonly trails: Trails;
}

export type FeedEvent =
  | {
      readonly kind: "status";
      readonly key: string;
      readonly status: RoleStatus;
      readonly now: Moment;
    }
  | { readonly kind: "down"; readonly key: string; readonly why: string; readonly now: Moment }
  /** Once a second: extends the sparklines. */
  | { readonly kind: "second"; readonly now: Moment };

/** The state before any role has answered. Targets must differ. */
export function initialFeed(targets: readonly Target[], now: Moment): FeedState {
  const reach: Reach = { state: "connecting", sinceMs: now.wallMs, why: "" };
  const roles = new Map<string, RoleState>();
  for (const target of targets) {
    roles.set(targetKey(target), { target, reach, status: null, samples: [], rates: [] });
  }
  assert(roles.size === targets.length, "each watched role is named once");
  return { roles, verdicts: [], trails: new Map() };
}

/** Mean tokens per second over the samples, or null when there are too few to tell. */
export function tokenRate(samples: readonly Sample[]): number | null {
  const first = samples[0];
  const last = samples.at(-1);
  if (first === undefined || last === undefined || last.atMs <= first.atMs) return null;
  return (1000 * (last.tokens - first.tokens)) / (last.atMs - first.atMs);
}

/** Adds a counter reading; one below the last means that the counter restarted. */
function addSample(samples: readonly Sample[], sample: Sample): Sample[] {
  if (sample.tokens < (samples.at(-1)?.tokens ?? 0)) return [sample];
  return [...samples.filter(({ atMs }) => sample.atMs - atMs <= rateWindowMs), sample];
}

/** Newest first; equal times by tag, so that the order does not depend on arrival. */
function newestFirst(a: VerdictRow, b: VerdictRow): number {
  return b.atMs - a.atMs || (a.tag < b.tag ? 1 : a.tag > b.tag ? -1 : 0);
}

/** meanMax + meanSpread / sqrt(tokens), spec/verdict.md section 4; nats. */
export function marginLimit(status: RecomputerStatus, tokens: number): number | null {
  if (status.marginLimit === undefined || tokens < 1) return null;
  return status.marginLimit.meanMax + status.marginLimit.meanSpread / Math.sqrt(tokens);
}

function addVerdicts(known: readonly VerdictRow[], from: RecomputerStatus): readonly VerdictRow[] {
  const seen = new Map(
    known.filter((row) => row.recomputer === from.name).map((row) => [row.tag, row.atMs]),
  );
  const fresh = new Map<string, VerdictRow>();
  for (const { gateway, scores, ...rest } of from.recent) {
    if (seen.get(rest.tag) === rest.atMs) continue;
    const limit = scores === null ? null : marginLimit(from, scores.tokens);
    fresh.set(rest.tag, { ...rest, server: gateway, recomputer: from.name, scores, limit });
  }
  if (fresh.size === 0) return known;
  const kept = known.filter((row) => row.recomputer !== from.name || !fresh.has(row.tag));
  return [...kept, ...fresh.values()].sort(newestFirst).slice(0, verdictsMax);
}

function onStatus(role: RoleState, status: RoleStatus, now: Moment): RoleState {
  const reach: Reach =
    role.reach.state === "live" ? role.reach : { state: "live", sinceMs: now.wallMs, why: "" };
  const runs = status.role === "gateway" && status.mode === "SERVING" && status.halted === null;
  const samples = runs
    ? addSample(role.samples, { atMs: now.monotonicMs, tokens: status.tokens })
    : [];
  return { ...role, reach, status, samples };
}

function onDown(role: RoleState, why: string, now: Moment): RoleState {
  const since = role.reach.state === "unreachable" ? role.reach.sinceMs : now.wallMs;
  return { ...role, reach: { state: "unreachable", sinceMs: since, why }, samples: [] };
}

function onSecond(role: RoleState, now: Moment): RoleState {
  if (role.target.role !== "gateway") return role;
  const samples = role.samples.filter(({ atMs }) => now.monotonicMs - atMs <= rateWindowMs);
  const rate = tokenRate(samples);
  return { ...role, samples, rates: [...role.rates, rate].slice(-ratesMax) };
}

/** The state after `event`. Events about roles that are not watched are a bug. */
export function reduceFeed(state: FeedState, event: FeedEvent): FeedState {
  const roles = new Map(state.roles);
  if (event.kind === "second") {
    for (const [key, role] of roles) roles.set(key, onSecond(role, event.now));
    return { ...state, roles };
  }
  const role = roles.get(event.key);
  assert(role !== undefined, `${event.key} is watched`);
  if (event.kind === "down") {
    roles.set(event.key, onDown(role, event.why, event.now));
    return { ...state, roles };
  }
  roles.set(event.key, onStatus(role, event.status, event.now));
  if (event.status.role !== "recomputer") return { ...state, roles };
  const verdicts = addVerdicts(state.verdicts, event.status);
  const watched = (name: string): boolean => roles.has(targetKey({ role: "gateway", name }));
  const trails = addToTrails(state.trails, event.status, watched, event.now.wallMs);
  return { roles, verdicts, trails };
}
