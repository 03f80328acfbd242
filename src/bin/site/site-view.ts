/** One word for the state of a server, and what the start of a site tells its user. */
import type { Alarm, GatewayStatus, RoleStatus } from "../../format/status.ts";
import { plain, type Style } from "./screen.ts";
import type { SiteTrust } from "./trust.ts";

/** `SERVING`, `HALTED`, `UPLOAD 63 %`, `loading`, `draining`, `KILLED`, `OFF`, `unreachable`. */
export function serverState(status: GatewayStatus | null): string {
  if (status === null) return "unreachable";
  if (status.halted !== null) return "HALTED";
  if (status.mode === "UPLOAD") {
    const { bitsForwarded, bitsTotal } = status.upload;
    return `UPLOAD ${Math.floor((100 * bitsForwarded) / Math.max(1, bitsTotal))} %`;
  }
  if (status.mode !== "SERVING") return status.mode;
  if (status.draining) return "draining";
  return status.ready ? "SERVING" : "loading";
}

/** The state in the colour of its meaning. */
export function paintState(state: string, style: Style): string {
  if (state === "SERVING") return style.green(state);
  if (state === "HALTED" || state === "unreachable") return style.red(state);
  return style.yellow(state);
}

/** The box around a server in words; `off` in capitals. */
export function isolationText(status: GatewayStatus | null): string {
  if (status === null) return "?";
  const { kind } = status.isolation;
  return kind === "off" ? "OFF" : kind;
}

/** Names of the gateways whose running servers are not boxed in. */
export function unboxed(statuses: readonly (GatewayStatus | null)[]): GatewayStatus[] {
  return statuses.filter(
    (status): status is GatewayStatus =>
      status?.isolation.kind === "off" && (status.mode === "UPLOAD" || status.mode === "SERVING"),
  );
}

/** Which whitelist is in force, for how long, and whose it is. */
export function trustText(trust: SiteTrust): string {
  const until = new Date(trust.expiresMs).toISOString().slice(0, 10);
  const whose = trust.byHand ? ` of ${trust.parties.a} and ${trust.parties.b}` : "";
  return `whitelist version ${trust.whitelistVersion}${whose}, until ${until}`;
}

/** The warning that nobody overlooks; "" when every running server is boxed in. */
export function isolationBanner(statuses: readonly (GatewayStatus | null)[], style: Style): string {
  const off = unboxed(statuses);
  const [first] = off;
  if (first === undefined) return "";
  const names = off.map(({ name }) => name).join(", ");
  const lines = [
    ` ISOLATION IS OFF: ${names}`,
    " These servers can reach the network and the disk: nothing here shows what they do.",
    ` Why: ${plain(first.isolation.detail)}`,
  ];
  const width = Math.max(...lines.map((line) => line.length)) + 1;
  return lines.map((line) => `${style.alarm(line.padEnd(width))}\n`).join("");
}

/** All that is simulated, each once. */
export function simulatedList(
  own: readonly string[],
  statuses: readonly (RoleStatus | null)[],
): string[] {
  const all = new Set(own);
  for (const status of statuses) {
    if (status?.role !== "gateway" && status?.role !== "recomputer") continue;
    for (const part of status.simulated) all.add(part);
  }
  return [...all];
}

/** Alarms of all roles, oldest first. */
export function alarmsOf(statuses: readonly (RoleStatus | null)[]): Alarm[] {
  return statuses
    .flatMap((status) =>
      status?.role === "gateway" || status?.role === "recomputer" ? status.alarms : [],
    )
    .sort((a, b) => a.atMs - b.atMs);
}

/** One alarm on one line. */
export function alarmLine(alarm: Alarm, style: Style): string {
  const time = new Date(alarm.atMs).toTimeString().slice(0, 8);
  const mark = alarm.severity === "critical" ? style.alarm(" ALARM ") : style.yellow("warning");
  return `${time} ${mark} ${plain(alarm.subject)}: ${plain(alarm.text)} ${style.dim(`(${plain(alarm.kind)})`)}`;
}
