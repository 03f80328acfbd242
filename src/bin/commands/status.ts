/** `weir status`: what each role of a running site says of itself, at this moment. */
import { UnavailableError } from "../../base/assert.ts";
import type {
  DepotStatus,
  DrawAudit,
  GatewayEvidence,
  GatewayStatus,
  RecomputerStatus,
  RoleStatus,
  RouterStatus,
} from "../../format/status.ts";
import { askStatus } from "../site/client.ts";
import { duration, plain, styleFor, table, type Style } from "../site/screen.ts";
import { runningSite, type Site, type SiteRole } from "../site/site-file.ts";
import {
  alarmLine,
  alarmsOf,
  isolationBanner,
  isolationText,
  paintState,
  serverState,
  simulatedList,
  trustText,
} from "../site/site-view.ts";
import { commonHelp, print, printJson, runSiteCommand } from "./common.ts";

const help = `Usage: weir status [OPTIONS]

Shows a running site: servers and their isolation, pairs, verdicts, alarms, and what is simulated.
Exits 1 when the site does not run or a role does not answer.

${commonHelp}`;

/** They speak HTTP to everybody, and give no status over the site's links. */
const httpRoles = new Set<SiteRole["role"]>(["page", "publisher", "witness"]);

interface Answer {
  readonly role: SiteRole;
  readonly status: RoleStatus | null;
  readonly problem: string;
}

async function askRole(site: Site, role: SiteRole): Promise<Answer> {
  try {
    return { role, status: await askStatus(site, role), problem: "" };
  } catch (error) {
    if (!(error instanceof UnavailableError)) throw error;
    return { role, status: null, problem: error.message };
  }
}

function gatewayRows(answers: readonly Answer[], style: Style): string[][] {
  const head = ["GATEWAY", "STATE", "ISOLATION", "PAIRS", "SAMPLED", "WAITING", "TOKENS", "BOOTS"];
  const rows = answers
    .filter(({ role }) => role.role === "gateway")
    .map(({ role, status }) => gatewayRow(role, status as GatewayStatus | null, style));
  return [head.map(style.dim), ...rows];
}

function gatewayRow(role: SiteRole, status: GatewayStatus | null, style: Style): string[] {
  const state = paintState(serverState(status), style);
  if (role.phase === "bricked") return [role.name, style.alarm("BRICKED")];
  if (status === null) return [role.name, state];
  const isolation = isolationText(status);
  const ordered = style.yellow(orderedText(status));
  const { halted } = status;
  const others = (halted?.standing ?? 1) - 1;
  const more = others > 0 ? ` (and ${others} more)` : "";
  const note = halted === null ? ordered : style.red(`${plain(halted.reason)}${more}`);
  return [
    role.name,
    state,
    isolation === "OFF" ? style.alarm(" OFF ") : isolation,
    String(status.pairs.logged),
    String(status.pairs.sampled),
    `${status.outbox.waiting} of ${status.outbox.capacity}`,
    String(status.tokens),
    String(status.boots),
    note,
  ];
}

function recomputerText(status: RecomputerStatus, style: Style): string {
  const { pass, fail, unable } = status.judged;
  const failed = fail === 0 ? "0 fail" : style.red(`${fail} fail`);
  const speed = `${status.msPerToken.toFixed(1)} ms per token`;
  return `${status.engine}; ${pass} pass, ${failed}, ${unable} unable; ${status.queued} waiting; ${speed}`;
}

/** What stands against each server, and what is being done about it. */
function evidenceRows(answers: readonly Answer[], style: Style): string[][] {
  const rows = answers.flatMap(({ status }) =>
    status?.role === "recomputer"
      ? (status.evidence ?? []).map((one) => evidenceRow(one, status, style))
      : [],
  );
  return rows.length === 0 ? [] : [["SERVER", "EVIDENCE", "STEP"].map(style.dim), ...rows];
}

function evidenceRow(evidence: GatewayEvidence, from: RecomputerStatus, style: Style): string[] {
  const { gateway, pairs, tokens, logE, logChange, logEThreshold, step, capacity } = evidence;
  const nats = Math.max(logE, logChange).toFixed(1);
  const bits = capacity.upperBitsPerToken.toPrecision(2);
  const text = `evidence ${nats} of ${logEThreshold.toFixed(1)} nats, capacity <= ${bits} bits/token`;
  const audited = `${pairs} pairs, ${tokens} tokens`;
  const beside = besideText(gateway, from, style);
  return [gateway, `${text} (${audited})${beside}`, step === "none" ? "none" : style.red(step)];
}

/** What timing, failures and ends of a server's replies could tell; "" where nobody counted. */
function besideText(server: string, { carriers, policy }: RecomputerStatus, style: Style): string {
  const told = carriers?.find(({ gateway }) => gateway === server);
  if (told?.bitsPerSecond == null) return "";
  const limit = policy?.release?.bitsPerSecond ?? Infinity;
  const of = Number.isFinite(limit) ? ` of ${limit}` : "";
  const text = `${Math.ceil(told.bitsPerSecond)}${of} bits/s`;
  return `, beside tokens <= ${told.bitsPerSecond > limit ? style.red(text) : text}`;
}

/** What the threshold promises to the whole fleet, by recomputer. */
function promises(answers: readonly Answer[]): string[][] {
  return answers.flatMap(({ role, status }) => {
    const fleet = status?.role === "recomputer" ? status.policy?.fleet : undefined;
    if (fleet === undefined) return [];
    const { servers, yearsBetween, beginnings = 1 } = fleet;
    const lives = beginnings === 1 ? "" : ` in ${beginnings} lives each`;
    const years = Math.floor(yearsBetween).toLocaleString("en");
    const text = `at most one in ${years} years among ${servers.toLocaleString("en")} servers${lives}`;
    return [[`False alarms (${role.name})`, text]];
  });
}

/** What orders have laid on a gateway, in words; "" for nothing. */
function orderedText({ sampling, quarantine, recheck }: GatewayStatus): string {
  const words: string[] = [];
  if (quarantine) words.push(`in quarantine, ${quarantine.held} replies held`);
  else if (sampling !== undefined && sampling.order !== "") {
    words.push(`keeps ${+(100 * sampling.epsilon).toPrecision(3)} % by order`);
  }
  if (recheck) {
    const how = recheck.done ? "rechecked" : "rechecking";
    const of = recheck.of === null ? "" : ` of ${recheck.of}`;
    words.push(`${how}: ${recheck.sent}${of} sent, ${recheck.lost} lost`);
  }
  return words.join("; ");
}

function routerText(status: RouterStatus): string {
  const open = `${status.inflight} in flight, ${status.connections} connections`;
  return `${status.requests} requests, ${status.errors} errors; ${open}`;
}

function depotText(status: DepotStatus): string {
  return `${status.models.map(({ modelId }) => modelId).join(", ")}; ${status.uploads} uploads`;
}

function roleText({ status, problem }: Answer, style: Style): string {
  switch (status?.role) {
    case "recomputer":
      return recomputerText(status, style);
    case "router":
      return routerText(status);
    case "depot":
      return depotText(status);
    case "gateway":
    case undefined:
      return style.red(problem);
  }
}

/** How far each gateway's log is signed, and cosigned by each party's witness. */
function logRows(answers: readonly Answer[], style: Style): string[][] {
  const rows = answers.flatMap(({ status }) => {
    if (status?.role !== "gateway" || status.witnessed === undefined) return [];
    const { parties, signed, backlog, backlogMax, broken } = status.witnessed;
    const by = parties.map(({ party, size }) => `${party}: ${size}`).join(", ");
    const left = `${backlog} of ${backlogMax}`;
    const shown = broken === "" ? "" : style.red(plain(broken));
    const cells = [`${status.log.size}`, `${signed}`, by === "" ? "nobody" : by];
    return [[status.name, ...cells, backlog > backlogMax ? style.red(left) : left, shown]];
  });
  const head = ["LOG", "ENTRIES", "SIGNED", "COSIGNED BY", "BACKLOG"];
  return rows.length === 0 ? [] : [head.map(style.dim), ...rows];
}

/** The round of each gateway's draw, and what recomputers made of those that were revealed. */
function drawRows(answers: readonly Answer[], style: Style): string[][] {
  const audits = answers.flatMap(({ status }) =>
    status?.role === "recomputer" ? (status.draws ?? []) : [],
  );
  const rows = answers.flatMap(({ status }) => {
    if (status?.role !== "gateway") return [];
    const { draw, name } = status;
    if (draw === undefined) return [[name, "drawn by the gateway alone"]];
    const waiting = draw.waitingFor.length === 0 ? "" : `waits for ${draw.waitingFor.join(", ")}`;
    const round = draw.round === 0 ? "none yet" : `${draw.round}, with both parties`;
    const told = audits.filter(({ gateway }) => gateway === name).map(auditText);
    const bad = audits.some((one) => one.gateway === name && one.omitted + one.lies.length > 0);
    const audit = told.join("; ");
    return [[name, round, waiting, bad ? style.red(plain(audit)) : plain(audit)]];
  });
  return rows.length === 0 ? [] : [["DRAW", "ROUND", "", "RECOMPUTED"].map(style.dim), ...rows];
}

function auditText({ rounds, kept, waiting, omitted, excused, lies }: DrawAudit): string {
  const parts = [`${rounds} rounds, ${kept} kept pairs: ${omitted} never came`];
  if (waiting > 0) parts.push(`${waiting} awaited`);
  if (excused > 0) parts.push(`${excused} lost in crashes`);
  return [...parts, ...lies].join(", ");
}

function otherRows(site: Site, answers: readonly Answer[], style: Style): string[][] {
  const rows = answers
    .filter(({ role, status }) => role.role !== "gateway" || status === null)
    .map((answer) => [answer.role.key, roleText(answer, style)]);
  const served = site.file.roles
    .filter(({ role }) => role === "publisher" || role === "witness")
    .map(({ key, port }) => [key, port === null ? "not there" : `http://127.0.0.1:${port}/status`]);
  const restarted = site.file.roles
    .filter(({ restarts }) => restarts > 0)
    .map(({ key, restarts }) => [key, style.yellow(`restarted ${restarts} times after a crash`)]);
  return [...rows, ...served, ["page", site.file.page], ...restarted];
}

function show(site: Site, answers: readonly Answer[]): void {
  const style = styleFor(process.stdout);
  const statuses = answers.map(({ status }) => status);
  const gateways = statuses.filter((status) => status?.role === "gateway");
  const { file } = site;
  const banner = isolationBanner(gateways, style);
  if (banner !== "") print(`${banner}\n`);
  const model = `${file.modelId} (${trustText(file.trust)})`;
  const facts = [
    ["Endpoint", style.bold(file.endpoint)],
    ["Up for", duration(Date.now() - file.startedMs)],
    ["Model", model],
    ["Recomputed", `${+(100 * file.epsilon).toPrecision(3)} % of all pairs`],
    ...promises(answers),
  ];
  print(`${table(facts)}\n${table(gatewayRows(answers, style))}\n`);
  const log = logRows(answers, style);
  if (log.length > 0) print(`${table(log)}\n`);
  const draws = drawRows(answers, style);
  if (draws.length > 0) print(`${table(draws)}\n`);
  const evidence = evidenceRows(answers, style);
  if (evidence.length > 0) print(`${table(evidence)}\n`);
  print(table(otherRows(site, answers, style)));
  const alarms = alarmsOf(statuses)
    .slice(-10)
    .map((alarm) => alarmLine(alarm, style));
  for (const { role } of answers) {
    if (role.phase !== "bricked") continue;
    const text = `${role.name} is bricked: its secret is gone for good (weir ceremony renew ${role.name})`;
    alarms.push(style.red(text));
  }
  print(alarms.length === 0 ? "\nNo alarms.\n" : "\nAlarms, newest last:\n");
  for (const line of alarms) print(`  ${line}\n`);
  print(`\n${style.yellow("Simulated here:")}\n`);
  for (const part of simulatedList(file.simulated, statuses)) print(`  - ${plain(part)}\n`);
}

/** `weir status`. */
export function runStatus(argv: string[]): Promise<number> {
  return runSiteCommand(argv, {
    help,
    run: async (args, folder) => {
      const site = runningSite(folder);
      const asked = site.file.roles.filter(({ role }) => !httpRoles.has(role));
      const answers = await Promise.all(asked.map((role) => askRole(site, role)));
      const statuses = answers.map(({ status }) => status);
      if (args.flag("json")) {
        printJson({
          endpoint: site.file.endpoint,
          page: site.file.page,
          modelId: site.file.modelId,
          trust: site.file.trust,
          epsilon: site.file.epsilon,
          startedMs: site.file.startedMs,
          isolationOff: statuses.some(
            (status) => status?.role === "gateway" && status.isolation.kind === "off",
          ),
          simulated: simulatedList(site.file.simulated, statuses),
          alarms: alarmsOf(statuses),
          roles: answers.map(({ role, status, problem }) => ({ ...role, problem, status })),
        });
      } else show(site, answers);
      return answers.every(({ status }) => status !== null) ? 0 : 1;
    },
  });
}
