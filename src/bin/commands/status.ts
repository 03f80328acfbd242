/** `weir status`: what each role of a running site says of itself, at this moment. */
import { UnavailableError } from "../../base/assert.ts";
import type {
  DepotStatus,
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
} from "../site/site-view.ts";
import { commonHelp, print, printJson, runSiteCommand } from "./common.ts";

const help = `Usage: weir status [OPTIONS]

Shows a running site: servers and their isolation, pairs, verdicts, alarms, and what is simulated.
Exits 1 when the site does not run or a role does not answer.

${commonHelp}`;

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
  if (status === null) return [role.name, state];
  const isolation = isolationText(status);
  const ordered = style.yellow(orderedText(status));
  const note = status.halted === null ? ordered : style.red(plain(status.halted.reason));
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
      ? (status.evidence ?? []).map((one) => evidenceRow(one, style))
      : [],
  );
  return rows.length === 0 ? [] : [["SERVER", "EVIDENCE", "STEP"].map(style.dim), ...rows];
}

function evidenceRow(evidence: GatewayEvidence, style: Style): string[] {
  const { gateway, pairs, tokens, logE, logChange, logEThreshold, step, capacity } = evidence;
  const nats = Math.max(logE, logChange).toFixed(1);
  const bits = capacity.upperBitsPerToken.toPrecision(2);
  const text = `evidence ${nats} of ${logEThreshold.toFixed(1)} nats, capacity <= ${bits} bits/token`;
  const audited = `${pairs} pairs, ${tokens} tokens`;
  return [gateway, `${text} (${audited})`, step === "none" ? "none" : style.red(step)];
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
    words.push(`${how}: ${recheck.sent} sent, ${recheck.lost} lost`);
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

function otherRows(site: Site, answers: readonly Answer[], style: Style): string[][] {
  const rows = answers
    .filter(({ role, status }) => role.role !== "gateway" || status === null)
    .map((answer) => [answer.role.key, roleText(answer, style)]);
  const restarted = site.file.roles
    .filter(({ restarts }) => restarts > 0)
    .map(({ key, restarts }) => [key, style.yellow(`restarted ${restarts} times after a crash`)]);
  return [...rows, ["page", site.file.page], ...restarted];
}

function show(site: Site, answers: readonly Answer[]): void {
  const style = styleFor(process.stdout);
  const statuses = answers.map(({ status }) => status);
  const gateways = statuses.filter((status) => status?.role === "gateway");
  const { file } = site;
  const banner = isolationBanner(gateways, style);
  if (banner !== "") print(`${banner}\n`);
  const model = `${file.modelId} (whitelist version ${file.whitelistVersion})`;
  const facts = [
    ["Endpoint", style.bold(file.endpoint)],
    ["Up for", duration(Date.now() - file.startedMs)],
    ["Model", model],
    ["Recomputed", `${+(100 * file.epsilon).toPrecision(3)} % of all pairs`],
  ];
  print(`${table(facts)}\n${table(gatewayRows(answers, style))}\n`);
  const evidence = evidenceRows(answers, style);
  if (evidence.length > 0) print(`${table(evidence)}\n`);
  print(table(otherRows(site, answers, style)));
  const alarms = alarmsOf(statuses).slice(-10);
  print(alarms.length === 0 ? "\nNo alarms.\n" : "\nAlarms, newest last:\n");
  for (const alarm of alarms) print(`  ${alarmLine(alarm, style)}\n`);
  print(`\n${style.yellow("Simulated here:")}\n`);
  for (const part of simulatedList(file.simulated, statuses)) print(`  - ${plain(part)}\n`);
}

/** `weir status`. */
export function runStatus(argv: string[]): Promise<number> {
  return runSiteCommand(argv, {
    help,
    run: async (args, folder) => {
      const site = runningSite(folder);
      const asked = site.file.roles.filter(({ role }) => role !== "page");
      const answers = await Promise.all(asked.map((role) => askRole(site, role)));
      const statuses = answers.map(({ status }) => status);
      if (args.flag("json")) {
        printJson({
          endpoint: site.file.endpoint,
          page: site.file.page,
          modelId: site.file.modelId,
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
