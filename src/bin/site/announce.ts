/** What `weir up` says: to people on a terminal, or as one JSON object per line with --json. */
import type { Alarm, GatewayStatus } from "../../format/status.ts";
import {
  alarmLine,
  isolationBanner,
  isolationText,
  paintState,
  serverState,
  trustText,
} from "./site-view.ts";
import type { SiteTrust } from "./trust.ts";
import { styleFor, table } from "./screen.ts";

export interface UpSummary {
  readonly endpoint: string;
  readonly page: string;
  readonly modelId: string;
  readonly epsilon: number;
  readonly trust: SiteTrust;
  readonly servers: readonly { readonly name: string; readonly status: GatewayStatus | null }[];
  readonly simulated: readonly string[];
  readonly curl: string;
  /** How the other commands are called for this site, without their name. */
  readonly command: string;
  /** What those commands need to find it: "" or ` --data DIR`. */
  readonly where: string;
}

export interface Announcer {
  /** Something was done, in a sentence. */
  note(text: string): void;
  role(key: string, text: string): void;
  /** A server's state changed. */
  server(name: string, status: GatewayStatus | null): void;
  alarm(alarm: Alarm): void;
  up(summary: UpSummary): void;
  stopping(forced: boolean): void;
  stopped(): void;
}

type Write = (text: string) => void;

/** One JSON object per line; `event` says which. */
export function jsonAnnouncer(write: Write): Announcer {
  const say = (event: string, fields: object = {}): void => {
    write(`${JSON.stringify({ event, ...fields })}\n`);
  };
  const serverFields = (name: string, status: GatewayStatus | null): object => ({
    gateway: name,
    state: serverState(status).replace(/ .*/, ""),
    isolation: status?.isolation ?? null,
  });
  return {
    note: (text) => say("note", { text }),
    role: (key, text) => say("role", { key, text }),
    server: (name, status) => say("server", serverFields(name, status)),
    alarm: (alarm) => say("alarm", { alarm }),
    up: (summary) =>
      say("up", {
        ...summary,
        servers: summary.servers.map(({ name, status }) => serverFields(name, status)),
      }),
    stopping: (forced) => say("stopping", { forced }),
    stopped: () => say("stopped"),
  };
}

/** Sentences for a terminal; upload progress is drawn over itself where that works. */
export function textAnnouncer(stream: NodeJS.WriteStream): Announcer {
  const style = styleFor(stream);
  const live = stream.isTTY;
  const shown = new Map<string, string>();
  let drawn = false;
  const line = (text: string): void => {
    if (drawn) stream.write("\r\u001b[K");
    drawn = false;
    stream.write(`${text}\n`);
  };
  const progress = (): void => {
    if (!live) return;
    const states = [...shown].map(([name, state]) => `${name} ${paintState(state, style)}`);
    stream.write(`\r\u001b[K  ${states.join("   ")}`);
    drawn = true;
  };
  return {
    note: (text) => line(`  ${text}`),
    role: (key, text) => line(`  ${key.padEnd(12)}${style.dim(text)}`),
    server(name, status) {
      const state = serverState(status);
      const before = shown.get(name);
      shown.set(name, state);
      if (before === state) return;
      if (state.startsWith("UPLOAD") && before?.startsWith("UPLOAD") === true) progress();
      else line(`  ${name.padEnd(12)}${paintState(state, style)}`);
    },
    alarm: (alarm) => line(alarmLine(alarm, style)),
    up(summary) {
      line("");
      stream.write(summaryText(summary, style));
    },
    stopping: (forced) =>
      line(forced ? "\nstopping at once" : "\nstopping; Ctrl-C again forces it"),
    stopped: () => line("stopped; nothing is left running"),
  };
}

function summaryText(summary: UpSummary, style: ReturnType<typeof styleFor>): string {
  const share = `${+(100 * summary.epsilon).toPrecision(3)} %`;
  const servers = summary.servers.map(({ name, status }) => [
    name,
    paintState(serverState(status), style),
    `isolation: ${isolationText(status)}`,
  ]);
  const banner = isolationBanner(
    summary.servers.map(({ status }) => status),
    style,
  );
  const facts = [
    ["Endpoint", style.bold(summary.endpoint)],
    ["Status page", style.bold(summary.page)],
    ["Model", `${summary.modelId} (${trustText(summary.trust)})`],
    ["Recomputed", `${share} of all pairs, chosen after each is logged`],
  ];
  const others = ["status", "logs", "stop"]
    .map((word) => `${summary.command} ${word}${summary.where}`)
    .join(", ");
  const simulated = summary.simulated.map((part) => `  - ${part}\n`).join("");
  return (
    (banner === "" ? "" : `${banner}\n`) +
    `${table(facts, "  ")}\n${table(servers, "  ")}\n` +
    `${style.yellow("Simulated here:")}\n${simulated}\n` +
    `Try it:\n\n  ${summary.curl}\n\n` +
    `${style.dim(`Ctrl-C stops everything. In another terminal: ${others}`)}\n`
  );
}
