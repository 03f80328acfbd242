/** The tables: verdicts, logs and buffers. On a phone each row becomes a list of labelled values. */
import type { ServerView, SiteStatus, VerdictRow, VerdictWord } from "../document.ts";
import {
  byId,
  folded,
  icon,
  List,
  make,
  reshape,
  say,
  setAttribute,
  show,
  type IconName,
} from "./dom.ts";
import { ago, bytes, count, moment, nats, percent, plural } from "./say.ts";

type Now = () => number;
type Render = (site: SiteStatus) => void;

function cell(label: string, className = ""): HTMLTableCellElement {
  const node = make("td", className);
  node.setAttribute("role", "cell");
  node.dataset["label"] = label;
  return node;
}

function row(...cells: readonly HTMLElement[]): HTMLTableRowElement {
  const node = make("tr");
  node.setAttribute("role", "row");
  node.append(...cells);
  return node;
}

const verdictWords: Readonly<Record<VerdictWord, { word: string; icon: IconName }>> = {
  pass: { word: "Pass", icon: "check" },
  fail: { word: "Fail", icon: "cross" },
  unable: { word: "Unable", icon: "question" },
};

function makeVerdict(): {
  root: HTMLElement;
  mark: HTMLElement;
  shape: SVGSVGElement;
  word: HTMLElement;
  tag: HTMLElement;
  server: HTMLElement;
  margin: HTMLElement;
  limit: HTMLElement;
  findings: HTMLElement;
  when: HTMLElement;
} {
  const verdict = cell("Verdict");
  const mark = make("span", "verdict");
  const shape = icon("check");
  const word = make("span");
  mark.append(shape, word);
  verdict.append(mark);
  const tag = cell("Tag", "code untrusted");
  const server = cell("Server", "untrusted");
  const figures = cell("Mean margin", "figure");
  const margin = make("span");
  const limit = make("span", "of-limit");
  figures.append(margin, limit);
  const findings = cell("Findings", "untrusted");
  const when = cell("When", "when");
  const root = row(verdict, tag, server, figures, findings, when);
  return { root, mark, shape, word, tag, server, margin, limit, findings, when };
}

/** A finding that did not fail its pair is only noted. */
function findingsText({ findings, kind }: VerdictRow): string {
  if (findings.length === 0) return "none";
  return kind === "pass" ? `noted: ${findings.join(", ")}` : findings.join(", ");
}

/** Verdicts, newest first. */
export function verdictSection(now: Now, redraw: () => void): Render {
  const list = new List(
    byId("verdicts"),
    ({ recomputer, tag }: VerdictRow) => `${recomputer} ${tag}`,
    makeVerdict,
    (view, verdict) => {
      const { word, icon: shape } = verdictWords[verdict.kind];
      view.root.dataset["kind"] = verdict.kind;
      view.mark.dataset["kind"] = verdict.kind;
      reshape(view.shape, shape);
      say(view.word, word);
      say(view.tag, verdict.tag);
      say(view.server, verdict.server);
      const { scores, limit } = verdict;
      say(view.margin, scores === null ? "not scored" : nats(scores.meanMargin));
      say(view.limit, limit === null ? "" : ` of ${nats(limit)}`);
      view.limit.title = "what an honest output of this length is expected to stay below";
      if (scores !== null) {
        const off = `${plural(scores.mismatches, "token")} of ${count(scores.tokens)} drawn differently`;
        view.margin.title = `${off}, largest margin ${nats(scores.maxMargin)} nats`;
      }
      say(view.findings, findingsText(verdict));
      view.findings.dataset["none"] = String(verdict.findings.length === 0);
      say(view.when, ago(verdict.atMs, now()));
      view.when.title = `${moment(verdict.atMs)}, by ${verdict.recomputer}`;
    },
  );
  const fold = folded("verdicts-more", 12, redraw);
  return ({ verdicts }) => {
    show(byId("verdicts-empty"), verdicts.length === 0);
    show(byId("verdicts-table"), verdicts.length > 0);
    list.show(verdicts.slice(0, fold(verdicts.length)));
  };
}

interface Gauge {
  readonly root: HTMLElement;
  readonly meter: HTMLMeterElement;
  readonly text: HTMLElement;
}

function gauge(label: string): Gauge {
  const root = cell(label);
  const box = make("div", "gauge");
  const meter = make("meter");
  meter.max = 100;
  meter.high = 85;
  meter.optimum = 0;
  const text = make("span");
  box.append(meter, text);
  root.append(box);
  return { root, meter, text };
}

function fillGauge(view: Gauge, used: number, capacity: number, text: string): void {
  view.meter.value = percent(used, capacity);
  setAttribute(view.meter, "aria-label", text);
  say(view.text, text);
}

/** How much of the log each party's witness has cosigned. */
function cosignedWords(witnessed: NonNullable<ServerView["facts"]>["witnessed"]): string {
  if (witnessed === null) return "no witnesses";
  if (witnessed.broken !== "") return `stopped: ${witnessed.broken}`;
  const by = witnessed.parties.map(({ party, size }) => `${party} ${count(size)}`).join(", ");
  return `${by}; waiting ${count(witnessed.backlog.used)} of ${count(witnessed.backlog.capacity)}`;
}

/** Log head, ring and outbox of each gateway. */
export function logSection(): Render {
  const list = new List(
    byId("logs"),
    ({ name }: ServerView) => name,
    () => {
      const name = cell("Gateway", "untrusted strong");
      const size = cell("Entries in log", "figure");
      const root = cell("Log head", "code untrusted");
      const cosigned = cell("Cosigned", "untrusted");
      const ring = gauge("Ring");
      const outbox = gauge("Waiting to be checked");
      return {
        root: row(name, size, root, cosigned, ring.root, outbox.root),
        name,
        size,
        head: root,
        cosigned,
        ring,
        outbox,
      };
    },
    (view, { name, facts, reach }) => {
      if (facts === null) return;
      view.root.dataset["reach"] = reach.state;
      say(view.name, name);
      say(view.size, count(facts.log.size));
      say(view.head, facts.log.root === "" ? "empty" : `${facts.log.root.slice(0, 16)}…`);
      view.head.title = facts.log.root;
      say(view.cosigned, cosignedWords(facts.witnessed));
      const { ring, outbox } = facts;
      const forgot =
        ring.pairsForgotten === 0 ? "" : `, forgot ${plural(ring.pairsForgotten, "pair")}`;
      const fill = `${bytes(ring.used)} of ${bytes(ring.capacity)}${forgot}`;
      fillGauge(view.ring, ring.used, ring.capacity, fill);
      const waiting = `${count(outbox.used)} of ${count(outbox.capacity)}`;
      fillGauge(view.outbox, outbox.used, outbox.capacity, waiting);
    },
  );
  return ({ servers }) => {
    const heard = servers.filter(({ facts }) => facts !== null);
    show(byId("logs-empty"), heard.length === 0);
    show(byId("logs-table"), heard.length > 0);
    list.show(heard);
  };
}
