/** Headline, alarms, other roles and what is simulated. */
import type { AlarmView, Reach, SiteStatus } from "../document.ts";
import { byId, folded, icon, List, make, reshape, say, show } from "./dom.ts";
import { ago, bytes, count, figure, moment, plural, sentence, series, time } from "./say.ts";

type Now = () => number;
type Render = (site: SiteStatus) => void;

interface Vital {
  readonly label: string;
  readonly value: string;
}

function vitals(site: SiteStatus): Vital[] {
  const rate = site.servers.reduce((sum, one) => sum + (one.tokensPerSecond ?? 0), 0);
  const all: Vital[] = [{ label: "Tokens per second", value: figure(rate) }];
  const routers = site.routers.flatMap(({ reach, facts }) =>
    facts === null || reach.state !== "live" ? [] : [facts],
  );
  if (routers.length > 0) {
    const requests = routers.reduce((sum, one) => sum + one.requests, 0);
    const inflight = routers.reduce((sum, one) => sum + one.inflight, 0);
    all.push({ label: "Requests", value: count(requests) });
    all.push({ label: "In flight", value: count(inflight) });
  }
  const checked = site.servers.reduce((sum, { checks }) => sum + checks.pass + checks.fail, 0);
  const failed = site.servers.reduce((sum, { checks }) => sum + checks.fail, 0);
  all.push({ label: "Pairs checked", value: count(checked) });
  all.push({ label: "Failed", value: count(failed) });
  return all;
}

function isolationText(off: readonly string[]): string {
  const [who, them] =
    off.length === 1
      ? [`Server ${series(off)} runs`, "it"]
      : [`Servers ${series(off)} run`, "them"];
  const risk = `nothing keeps ${them} from other networks, other disks and other servers`;
  return `${who} without a sandbox: ${risk}. No figure below makes up for that. For trials only.`;
}

/** Headline, endpoint, vital figures and the isolation banner. */
export function heroSection(): Render {
  const list = new List(
    byId("vitals"),
    ({ label }: Vital) => label,
    () => {
      const root = make("div");
      const label = make("dt");
      const value = make("dd");
      root.append(label, value);
      return { root, label, value };
    },
    (view, { label, value }) => {
      say(view.label, label);
      say(view.value, value);
    },
  );
  return (site) => {
    say(byId("headline"), site.headline.text);
    byId("hero").dataset["level"] = site.headline.level;
    document.title = `${site.headline.text} · Weir`;
    const endpoint = byId("endpoint");
    show(endpoint, site.endpoint !== "");
    say(endpoint, site.endpoint);
    list.show(vitals(site));
    const off = site.isolationOff;
    show(byId("isolation"), off.length > 0);
    say(byId("isolation-text"), isolationText(off));
  };
}

const severityWords = { critical: "Critical", warning: "Warning" } as const;

function makeAlarm(): {
  root: HTMLElement;
  shape: SVGSVGElement;
  severity: HTMLElement;
  title: HTMLElement;
  text: HTMLElement;
  about: HTMLElement;
} {
  const root = make("li", "alarm");
  const shape = icon("warning");
  const body = make("div", "alarm-body");
  const line = make("h3");
  const severity = make("span", "severity");
  const title = make("span", "untrusted");
  line.append(severity, title);
  const text = make("p", "untrusted");
  const about = make("p", "about untrusted");
  body.append(line, text, about);
  root.append(shape, body);
  return { root, shape, severity, title, text, about };
}

/** Reads new alarms out, once each; those already there at the first sight are only counted. */
function announcer(): (alarms: readonly AlarmView[]) => void {
  let known: Set<string> | null = null;
  return (alarms) => {
    const keys = alarms.map(({ source, id }) => `${source} ${id}`);
    const fresh = alarms.filter((_, i) => known?.has(keys[i] ?? "") === false);
    const first = known === null && alarms.length > 0;
    known = new Set(keys);
    if (first) say(byId("announce"), plural(alarms.length, "alarm"));
    if (fresh.length === 0) return;
    const words = fresh.map(({ severity, title, subject }) => `${severity}: ${title}, ${subject}`);
    say(byId("announce"), `New alarm. ${words.join(". ")}`);
  };
}

/** Alarms, newest first. */
export function alarmSection(now: Now, redraw: () => void): Render {
  const list = new List(
    byId("alarms"),
    ({ source, id }: AlarmView) => `${source} ${id}`,
    makeAlarm,
    (view, alarm) => {
      view.root.dataset["severity"] = alarm.severity;
      reshape(view.shape, alarm.severity === "critical" ? "stop" : "warning");
      say(view.severity, severityWords[alarm.severity]);
      say(view.title, alarm.title);
      say(view.text, alarm.text);
      show(view.text, alarm.text !== "");
      const when = `${time(alarm.atMs)}, ${ago(alarm.atMs, now())}`;
      const told = alarm.source === "page" ? "noticed by this page" : `raised by ${alarm.source}`;
      say(view.about, `${alarm.subject} · ${when} · ${told}`);
      view.about.title = `${alarm.kind}, ${moment(alarm.atMs)}`;
    },
  );
  const announce = announcer();
  const fold = folded("alarms-more", 5, redraw);
  return ({ alarms }) => {
    announce(alarms);
    say(byId("alarms-count"), alarms.length === 0 ? "" : count(alarms.length));
    show(byId("alarms-empty"), alarms.length === 0);
    say(byId("alarms-empty"), "No alarms.");
    byId("alarms-empty").dataset["calm"] = "true";
    // A critical alarm is never folded away.
    const few = fold(alarms.length);
    list.show(alarms.filter(({ severity }, i) => i < few || severity === "critical"));
  };
}

interface RoleRow {
  readonly key: string;
  readonly reach: Reach;
  readonly text: string;
}

function roleRows(site: SiteStatus): RoleRow[] {
  const routers = site.routers.map(({ name, reach, facts }) => {
    const seen =
      facts === null
        ? ""
        : `${plural(facts.connections, "connection")} open, ${plural(facts.errors, "error")}`;
    return { key: `router/${name}`, reach, text: seen };
  });
  const recomputers = site.recomputers.map(({ name, reach, facts }) => {
    if (facts === null) return { key: `recomputer/${name}`, reach, text: "" };
    const { engine, queued, tokens, msPerToken } = facts;
    const work = `${count(queued)} queued, ${count(tokens)} tokens replayed, ${figure(msPerToken)} ms per token`;
    return { key: `recomputer/${name}`, reach, text: `engine ${engine}, ${work}` };
  });
  const depots = site.depots.map(({ name, reach, facts }) => {
    if (facts === null) return { key: `depot/${name}`, reach, text: "" };
    const models = facts.models.map((one) => `${one.modelId} (${bytes(one.sizeBytes)})`);
    const sent = `${plural(facts.uploads, "upload")}, ${bytes(facts.bytesSent)} sent`;
    return { key: `depot/${name}`, reach, text: `${series(models)}; ${sent}` };
  });
  return [...routers, ...recomputers, ...depots];
}

function reachText(reach: Reach, text: string, nowMs: number): string {
  if (reach.state === "connecting") return "connecting…";
  if (reach.state === "live") return text;
  const last = text === "" ? "" : ` Last: ${text}.`;
  return `unreachable since ${time(reach.sinceMs)} (${ago(reach.sinceMs, nowMs)}): ${sentence(reach.why)}${last}`;
}

/** Router, recomputers and depots. */
export function roleSection(now: Now): Render {
  const list = new List(
    byId("roles"),
    ({ key }: RoleRow) => key,
    () => {
      const root = make("li");
      const shape = icon("ring");
      const name = make("h3", "untrusted");
      const text = make("p", "untrusted");
      const body = make("div");
      body.append(name, text);
      root.append(shape, body);
      return { root, shape, name, text };
    },
    ({ root, shape, name, text }, role) => {
      root.dataset["reach"] = role.reach.state;
      const shapes = { live: "check", unreachable: "cut", connecting: "ring" } as const;
      reshape(shape, shapes[role.reach.state]);
      say(name, role.key);
      say(text, reachText(role.reach, role.text, now()));
    },
  );
  return (site) => {
    const rows = roleRows(site);
    show(byId("roles-empty"), rows.length === 0);
    show(byId("roles"), rows.length > 0);
    list.show(rows);
  };
}

/** What is simulated, and where. */
export function simulatedSection(): Render {
  const list = new List(
    byId("simulated"),
    ({ what }: SiteStatus["simulated"][number]) => what,
    () => {
      const root = make("li");
      const what = make("p", "untrusted");
      const where = make("p", "about untrusted");
      root.append(what, where);
      return { root, what, where };
    },
    (view, { what, where }) => {
      say(view.what, what);
      say(view.where, series(where));
    },
  );
  return ({ simulated, servers }) => {
    const heard = servers.some(({ facts }) => facts !== null);
    show(byId("simulated-empty"), simulated.length === 0);
    show(byId("simulated"), simulated.length > 0);
    say(
      byId("simulated-empty"),
      heard ? "No role reports anything simulated." : "Waiting to hear.",
    );
    list.show(simulated);
  };
}
