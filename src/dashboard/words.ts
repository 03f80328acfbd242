/** What the page says in whole sentences: alarm titles and the headline. */
import type { ServerView, SiteStatus } from "./document.ts";

/** Titles by alarm kind; a kind that is not here falls back to its first part, then to itself. */
const titles: Readonly<Record<string, string>> = {
  "verdict.fail": "A server's output failed verification",
  "verdict.unable": "Some pairs could not be checked",
  verdict: "A verdict needs attention",
  "recomputer.silent": "The recomputer has fallen silent",
  "recomputer.unable": "The recomputer cannot check pairs",
  "recomputer.engine": "The recomputer's engine is down",
  recomputer: "The recomputer needs attention",
  "isolation.off": "A server runs without isolation",
  isolation: "A server's isolation needs attention",
  "log.backlog":
    "A gateway stopped serving: a party's witness has not cosigned its newest log entries",
  "log.rolled-back": "A gateway's log was put back or forked",
  "outbox.full": "A gateway stopped serving: nowhere to keep pairs for checking",
  outbox: "Pairs for checking are piling up",
  "ring.full": "A gateway's record of traffic is full",
  "random.health": "A gateway's random numbers failed their health test",
  random: "A gateway's random numbers need attention",
  upload: "Weights did not load as they should",
  weights: "Weights did not load as they should",
  "power.stuck": "A server's power cannot be cut",
  power: "A server's power was cut",
  "gateway.halted": "A server was switched off by order",
  "gateway.quarantined": "A server's replies are held until they have passed",
  "gateway.away": "A gateway has gone silent towards the recomputer",
  "evidence.raise-epsilon": "Evidence against a server: more of its replies are recomputed",
  "evidence.recheck-ring": "Evidence against a server: everything on record is recomputed",
  "evidence.quarantine": "Evidence against a server: its replies wait until they have passed",
  "evidence.released": "An operator ended a step that evidence had led to",
  evidence: "Evidence against a server",
  "release.rate": "A server's replies could tell too much by their timing and ends",
  "release.refused": "An operator's release was not believed",
  release: "A release needs attention",
  "epoch.conflict": "A gateway contradicts itself",
  epoch: "A gateway contradicts itself",
  "proof-request.changed": "A gateway contradicts itself",
  recovery: "Some replies can no longer be proven",
  "sampler.omitted": "A gateway did not send pairs that its coins chose",
  "sampler.bias": "A gateway broke the rules of the joint draw",
  "draw.overdue": "The parties stay away from the joint draw: a gateway stopped serving",
  "draw.party-a": "Party A broke the rules of the joint draw",
  "draw.party-b": "Party B broke the rules of the joint draw",
  "draw.silent": "A gateway shows nothing new of its log",
  "draw.log": "A gateway's log cannot be read",
  draw: "The joint draw needs attention",
  "gateway.rng": "A gateway's random numbers failed their health test",
  gateway: "A gateway needs attention",
  "server.restarted": "A server was switched off and on again",
  "server.failing": "A server fails too many requests",
  server: "A server misbehaved",
  order: "A signed order needs attention",
  "page.unreachable": "A part of the site does not answer",
};

/** `some.new-kind` -> "Some: new kind". */
function plain(kind: string): string {
  const words = kind.replaceAll(".", ": ").replaceAll(/[-_]/g, " ");
  return words === "" ? "Alarm" : words.slice(0, 1).toUpperCase() + words.slice(1);
}

function lookup(key: string): string | undefined {
  return Object.hasOwn(titles, key) ? titles[key] : undefined;
}

/** What an alarm of this kind means, in words. */
export function alarmTitle(kind: string): string {
  return lookup(kind) ?? lookup(kind.split(".")[0] ?? "") ?? plain(kind);
}

/** How a server is counted in the headline, most wanted first. */
const states = [
  "serving",
  "draining",
  "getting ready",
  "uploading",
  "connecting",
  "off",
  "quarantined",
  "killed",
  "halted",
  "unreachable",
] as const;
type State = (typeof states)[number];

function stateOf(server: ServerView): State {
  if (server.reach.state !== "live") return server.reach.state;
  switch (server.facts?.mode) {
    case undefined:
      return "connecting";
    case "OFF":
      return "off";
    case "UPLOAD":
      return "uploading";
    case "KILLED":
      return "killed";
    case "HALTED":
      return "halted";
    case "SERVING":
      if (server.facts.quarantine !== null) return "quarantined";
      if (server.facts.draining) return "draining";
      return server.facts.ready ? "serving" : "getting ready";
  }
}

function sentence(counts: readonly { state: State; count: number }[]): string {
  return counts
    .map(({ state, count }, i) => {
      const noun = i > 0 ? "" : count === 1 ? " server" : " servers";
      return `${count}${noun} ${state}`;
    })
    .join(", ");
}

const troubled: readonly State[] = ["quarantined", "killed", "halted", "unreachable"];
const waiting: readonly State[] = ["connecting", "uploading", "getting ready", "off", "draining"];

/** "3 servers serving, 1 halted", and how worried to be. */
export function headline(
  parts: Pick<SiteStatus, "servers" | "alarms" | "isolationOff">,
): SiteStatus["headline"] {
  const found = parts.servers.map(stateOf);
  const counts = states
    .map((state) => ({ state, count: found.filter((one) => one === state).length }))
    .filter(({ count }) => count > 0);
  const text = counts.length === 0 ? "No servers are watched" : sentence(counts);
  if (parts.alarms.some(({ severity }) => severity === "critical") || found.includes("halted")) {
    return { text, level: "alarm" };
  }
  const worried = parts.alarms.length > 0 || parts.isolationOff.length > 0;
  if (worried || found.some((state) => troubled.includes(state))) {
    return { text, level: "attention" };
  }
  const busy = counts.length === 0 || found.some((state) => waiting.includes(state));
  return { text, level: busy ? "busy" : "good" };
}
