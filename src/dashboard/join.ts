/** Draws the SiteStatus document from the feed's state. Pure. */
import type { Alarm, GatewayStatus, RecomputerStatus, RoleStatus } from "../format/status.ts";
import type {
  AlarmView,
  Checks,
  DepotView,
  RecomputerView,
  RouterView,
  ServerFacts,
  ServerView,
  SiteStatus,
  VerdictRow,
} from "./document.ts";
import { marginLimit, targetKey, tokenRate, type FeedState, type RoleState } from "./feed.ts";
import { evidenceOf, standing } from "./join-evidence.ts";
import { alarmTitle, headline } from "./words.ts";

const rowsMax = 60;
const pointsMax = 200;
const marksMax = 24;
const alarmsMax = 200;

type Of<R extends RoleStatus["role"]> = Extract<RoleStatus, { role: R }>;

/** The role's last status, if it is of the role that was watched. */
function statusOf<R extends RoleStatus["role"]>(role: RoleState, wanted: R): Of<R> | null {
  const status = role.status;
  return status !== null && isOf(status, wanted) ? status : null;
}

function isOf<R extends RoleStatus["role"]>(status: RoleStatus, wanted: R): status is Of<R> {
  return status.role === wanted;
}

function serverFacts(status: GatewayStatus): ServerFacts {
  const { halted, ring, outbox } = status;
  return {
    modelId: status.modelId,
    mode: halted === null ? status.mode : "HALTED",
    ready: status.ready,
    draining: status.draining,
    halted:
      halted === null
        ? null
        : { reason: halted.reason, sinceMs: halted.sinceMs, standing: halted.standing ?? 1 },
    lastKillReason: status.lastKillReason,
    epoch: status.epoch,
    boots: status.boots,
    upload: status.upload,
    inflight: status.inflight,
    tokens: status.tokens,
    pairs: status.pairs,
    log: status.log,
    witnessed: witnessedOf(status),
    outbox: { used: outbox.waiting, capacity: outbox.capacity },
    ring: { used: ring.bytes, capacity: ring.capacity, pairsForgotten: ring.pairsForgotten },
    recomputer: status.recomputer,
    ...standing(status),
    draw: drawOf(status),
    isolation: status.isolation,
  };
}

function witnessedOf({ witnessed }: GatewayStatus): ServerFacts["witnessed"] {
  if (witnessed === undefined || witnessed.parties.length === 0) return null;
  const { signed, cosigned, backlog, backlogMax, broken, parties } = witnessed;
  return {
    ...{ signed, cosigned, broken, backlog: { used: backlog, capacity: backlogMax } },
    parties: parties.map(({ party, size }) => ({ party, size })),
  };
}

function drawOf({ draw }: GatewayStatus): ServerFacts["draw"] {
  if (draw?.kind !== "joint") return null;
  const { round: number, epsilon, waitingFor, accepting } = draw;
  return { round: number, epsilon, waitingFor, accepting };
}

/** The least that any of them has checked, and everything that any of them found. */
function drawAuditOf(
  server: string,
  recomputers: readonly RecomputerStatus[],
): ServerView["drawAudit"] {
  const audits = recomputers.flatMap(({ draws = [] }) =>
    draws.filter(({ gateway }) => gateway === server),
  );
  if (audits.length === 0) return null;
  const least = (of: "rounds" | "kept"): number => Math.min(...audits.map((one) => one[of]));
  const most = (of: "waiting" | "omitted" | "excused"): number =>
    Math.max(...audits.map((one) => one[of]));
  return {
    ...{ rounds: least("rounds"), kept: least("kept") },
    ...{ waiting: most("waiting"), omitted: most("omitted"), excused: most("excused") },
    lies: [...new Set(audits.flatMap(({ lies }) => lies))],
  };
}

function addChecks(a: Checks, b: Checks): Checks {
  return { pass: a.pass + b.pass, fail: a.fail + b.fail, unable: a.unable + b.unable };
}

const noChecks: Checks = { pass: 0, fail: 0, unable: 0 };

/** Counts of one server: each recomputer's own, or else what its verdicts here amount to. */
function checksOf(
  server: string,
  recomputers: readonly RecomputerStatus[],
  verdicts: readonly VerdictRow[],
): { checks: Checks; checksComplete: boolean } {
  let checks = noChecks;
  let checksComplete = true;
  for (const { name, judgedByGateway } of recomputers) {
    const own = judgedByGateway?.find(({ gateway }) => gateway === server);
    if (own !== undefined) checks = addChecks(checks, own);
    if (judgedByGateway !== undefined) continue;
    checksComplete = false;
    for (const row of verdicts) {
      if (row.server !== server || row.recomputer !== name) continue;
      checks = { ...checks, [row.kind]: checks[row.kind] + 1 };
    }
  }
  return { checks, checksComplete };
}

function round(value: number | null): number | null {
  return value === null ? null : Math.round(value * 10) / 10;
}

function serverView(
  role: RoleState,
  recomputers: readonly RecomputerStatus[],
  verdicts: readonly VerdictRow[],
): ServerView {
  const status = statusOf(role, "gateway");
  const name = role.target.name;
  const own = verdicts.filter((row) => row.server === name).slice(0, marksMax);
  return {
    name,
    reach: role.reach,
    facts: status === null ? null : serverFacts(status),
    tokensPerSecond: role.reach.state === "live" ? round(tokenRate(role.samples)) : null,
    rates: role.rates.map(round),
    ...checksOf(name, recomputers, verdicts),
    drawAudit: drawAuditOf(name, recomputers),
    lastVerdicts: own.reverse().map(({ tag, kind }) => ({ tag, kind })),
  };
}

function routerView(role: RoleState): RouterView {
  const status = statusOf(role, "router");
  const { name } = role.target;
  if (status === null) return { name, reach: role.reach, facts: null };
  const { requests, inflight, connections, errors } = status;
  return { name, reach: role.reach, facts: { requests, inflight, connections, errors } };
}

function recomputerView(role: RoleState): RecomputerView {
  const status = statusOf(role, "recomputer");
  const { name } = role.target;
  if (status === null) return { name, reach: role.reach, facts: null };
  const { engine, queued, tokens, msPerToken, judged } = status;
  return { name, reach: role.reach, facts: { engine, queued, tokens, msPerToken, judged } };
}

function depotView(role: RoleState): DepotView {
  const status = statusOf(role, "depot");
  const { name } = role.target;
  if (status === null) return { name, reach: role.reach, facts: null };
  const { models, uploads, bytesSent } = status;
  return { name, reach: role.reach, facts: { models, uploads, bytesSent } };
}

function alarmView(source: string, alarm: Alarm): AlarmView {
  return { ...alarm, source, title: alarmTitle(alarm.kind) };
}

/** What roles raised, and one alarm of our own for each role that does not answer. */
function alarmsOf(roles: readonly RoleState[]): AlarmView[] {
  const alarms: AlarmView[] = [];
  for (const role of roles) {
    const key = targetKey(role.target);
    const { status, reach } = role;
    if (status !== null && "alarms" in status) {
      alarms.push(...status.alarms.map((alarm) => alarmView(key, alarm)));
    }
    if (reach.state !== "unreachable") continue;
    const id = `unreachable:${key}`;
    const text = `${key} does not answer: ${reach.why}`;
    const own = { id, atMs: reach.sinceMs, severity: "warning", kind: "page.unreachable" } as const;
    alarms.push(alarmView("page", { ...own, subject: key, text }));
  }
  alarms.sort((a, b) => b.atMs - a.atMs || (a.id < b.id ? -1 : 1));
  return alarms.slice(0, alarmsMax);
}

function median(values: readonly number[]): number | null {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? null;
}

function marginsOf(
  servers: readonly string[],
  recomputers: readonly RecomputerStatus[],
  verdicts: readonly VerdictRow[],
): SiteStatus["margins"] {
  const scored = verdicts.flatMap((row) =>
    row.scores === null ? [] : [{ ...row, scores: row.scores }],
  );
  const tokens = median(scored.map(({ scores }) => scores.tokens));
  const bounds = recomputers.flatMap((one) => {
    const nats = tokens === null ? null : marginLimit(one, tokens);
    return nats === null ? [] : [nats];
  });
  const limit =
    tokens === null || bounds.length === 0 ? null : { nats: Math.min(...bounds), tokens };
  const series = servers.map((server) => {
    const own = scored.filter((row) => row.server === server).slice(0, pointsMax);
    return {
      server,
      points: own
        .reverse()
        .map(({ atMs, scores, kind }) => ({ atMs, nats: scores.meanMargin, kind })),
    };
  });
  return { limit, series };
}

function simulatedOf(own: readonly string[], roles: readonly RoleState[]): SiteStatus["simulated"] {
  const where = new Map<string, string[]>(own.map((what) => [what, ["site"]]));
  for (const { target, status } of roles) {
    if (status === null || !("simulated" in status)) continue;
    for (const what of new Set(status.simulated)) {
      where.set(what, [...(where.get(what) ?? []), targetKey(target)]);
    }
  }
  return [...where].map(([what, keys]) => ({ what, where: keys }));
}

/**
 * Joins the state of all roles into the document of spec/status.md. `simulated` is what is so about
 * the site itself, in words; roles report the rest.
 */
export function joinSite(
  state: FeedState,
  endpoint: string,
  wallMs: number,
  simulated: readonly string[] = [],
): SiteStatus {
  const roles = [...state.roles.values()];
  const of = (role: string): RoleState[] => roles.filter(({ target }) => target.role === role);
  const recomputers = of("recomputer").flatMap((role) => statusOf(role, "recomputer") ?? []);
  const servers = of("gateway").map((role) => serverView(role, recomputers, state.verdicts));
  const alarms = alarmsOf(roles);
  const isolationOff = servers
    .filter(({ facts }) => facts?.isolation.kind === "off")
    .map(({ name }) => name);
  const names = servers.map(({ name }) => name);
  return {
    schema: 1,
    atMs: wallMs,
    headline: headline({ servers, alarms, isolationOff }),
    endpoint,
    isolationOff,
    alarms,
    servers,
    routers: of("router").map(routerView),
    recomputers: of("recomputer").map(recomputerView),
    depots: of("depot").map(depotView),
    evidence: evidenceOf(names, recomputers, state.trails),
    verdicts: state.verdicts.slice(0, rowsMax),
    margins: marginsOf(names, recomputers, state.verdicts),
    simulated: simulatedOf(simulated, roles),
  };
}
