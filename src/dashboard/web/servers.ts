/** Server cards. */
import type { Reach, ServerFacts, ServerView, VerdictWord } from "../document.ts";
import { icon, List, make, reshape, say, setAttribute, show, svg, type IconName } from "./dom.ts";
import { ago, bytes, count, figure, moment, percent, plural, sentence, time } from "./say.ts";

interface Badge {
  readonly word: string;
  readonly icon: IconName;
  /** Colour family; the word and the icon say the same without it. */
  readonly tone: "good" | "busy" | "warn" | "bad" | "off";
}

function modeBadge(facts: ServerFacts): Badge {
  switch (facts.mode) {
    case "OFF":
      return { word: "Off", icon: "power", tone: "off" };
    case "UPLOAD":
      return { word: "Uploading", icon: "up", tone: "busy" };
    case "KILLED":
      return { word: "Killed", icon: "cross", tone: "bad" };
    case "HALTED":
      return { word: "Halted", icon: "stop", tone: "bad" };
    case "SERVING":
      if (facts.quarantine !== null) return { word: "Quarantined", icon: "warning", tone: "warn" };
      if (facts.draining) return { word: "Draining", icon: "ring", tone: "busy" };
      if (!facts.ready) return { word: "Getting ready", icon: "ring", tone: "busy" };
      return { word: "Serving", icon: "check", tone: "good" };
  }
}

/** What a server's badge says. */
function badgeOf(reach: Reach, facts: ServerFacts | null): Badge {
  if (reach.state === "unreachable") return { word: "Unreachable", icon: "cut", tone: "warn" };
  if (facts === null) return { word: "Connecting", icon: "ring", tone: "off" };
  return modeBadge(facts);
}

/** The sentence under the name; "" when there is nothing to explain. */
function explain(server: ServerView, nowMs: number): string {
  const { reach, facts } = server;
  if (reach.state === "unreachable") {
    const last = facts === null ? "" : " What follows is the last it said.";
    const since = `No answer since ${time(reach.sinceMs)} (${ago(reach.sinceMs, nowMs)})`;
    return `${since}: ${sentence(reach.why)}${last}`;
  }
  if (facts?.halted != null) {
    const since = `Halted ${ago(facts.halted.sinceMs, nowMs)}: ${sentence(facts.halted.reason)}`;
    const { standing } = facts.halted;
    return standing > 1
      ? `${since} ${standing} halts stand: it stays off until an operator has released each by a signed order.`
      : `${since} It stays off until an operator releases it by a signed order.`;
  }
  if (facts?.mode === "KILLED") {
    return `Power was cut: ${sentence(facts.lastKillReason || "no reason given")}`;
  }
  if (facts?.mode === "SERVING" && facts.quarantine !== null) {
    const why = sentence(facts.quarantine.reason);
    return `Every reply waits until the recomputer has passed it (${plural(facts.quarantine.held, "reply", "replies")} now): ${why}`;
  }
  if (facts?.mode === "SERVING" && facts.draining) {
    return "Finishing what it has before a power cycle; new requests go to the others.";
  }
  return "";
}

const sparkWidth = 240;
const sparkHeight = 44;

/** The outline of the rates, newest at the right edge; a gap where no rate was known. */
function sparkPath(rates: readonly (number | null)[], points: number): string {
  const top = Math.max(1, ...rates.map((rate) => rate ?? 0));
  const step = sparkWidth / (points - 1);
  let path = "";
  let pen = "M";
  rates.forEach((rate, i) => {
    if (rate === null) {
      pen = "M";
      return;
    }
    const x = sparkWidth - (rates.length - 1 - i) * step;
    const y = sparkHeight - 2 - (rate / top) * (sparkHeight - 6);
    path += `${pen}${x.toFixed(1)} ${y.toFixed(1)}`;
    pen = "L";
  });
  return path;
}

const markIcons: Readonly<Record<VerdictWord, IconName>> = {
  pass: "check",
  fail: "cross",
  unable: "question",
};

type Mark = ServerView["lastVerdicts"][number];

function markList(parent: Element): List<Mark, { root: HTMLLIElement; shape: SVGSVGElement }> {
  return new List(
    parent,
    ({ tag, kind }) => `${tag} ${kind}`,
    () => {
      const root = make("li", "mark");
      const shape = icon("question");
      root.append(shape);
      return { root, shape };
    },
    ({ root, shape }, { tag, kind }) => {
      root.dataset["kind"] = kind;
      reshape(shape, markIcons[kind]);
      root.title = `${kind}: ${tag}`;
    },
  );
}

interface Stat {
  readonly root: HTMLElement;
  readonly value: HTMLElement;
  readonly note: HTMLElement;
}

function stat(label: string): Stat {
  const root = make("div", "stat");
  const value = make("dd", "stat-value", "–");
  const note = make("dd", "stat-note");
  root.append(make("dt", "", label), value, note);
  return { root, value, note };
}

interface CardParts {
  readonly root: HTMLElement;
  readonly name: HTMLElement;
  readonly model: HTMLElement;
  readonly badge: HTMLElement;
  readonly badgeIcon: SVGSVGElement;
  readonly badgeWord: HTMLElement;
  readonly why: HTMLElement;
  readonly upload: HTMLElement;
  readonly bar: HTMLProgressElement;
  readonly uploadText: HTMLElement;
  readonly flow: HTMLElement;
  readonly rate: HTMLElement;
  readonly line: SVGPathElement;
  readonly logged: Stat;
  readonly sampled: Stat;
  readonly checked: Stat;
  readonly marks: ReturnType<typeof markList>;
  readonly markText: HTMLElement;
  readonly isolation: HTMLElement;
  readonly life: HTMLElement;
}

function makeHead(): Pick<CardParts, "name" | "model" | "badge" | "badgeIcon" | "badgeWord"> & {
  head: HTMLElement;
} {
  const head = make("div", "card-head");
  const title = make("div", "card-title");
  const name = make("h3", "untrusted");
  const model = make("p", "model untrusted");
  title.append(name, model);
  const badge = make("p", "badge");
  const badgeIcon = icon("ring");
  const badgeWord = make("span");
  badge.append(badgeIcon, badgeWord);
  head.append(title, badge);
  return { head, name, model, badge, badgeIcon, badgeWord };
}

function makeFlow(): Pick<CardParts, "flow" | "rate" | "line"> {
  const flow = make("div", "flow");
  const rate = make("p", "rate");
  const spark = svg("svg", {
    viewBox: `0 0 ${sparkWidth} ${sparkHeight}`,
    preserveAspectRatio: "none",
    class: "spark",
    "aria-hidden": "true",
  });
  const base = svg("path", { d: `M0 ${sparkHeight - 1}H${sparkWidth}`, class: "spark-base" });
  const line = svg("path", { class: "spark-line", d: "" });
  spark.append(base, line);
  const number = make("span", "rate-value", "–");
  rate.append(number, make("span", "rate-unit", "tokens/s"));
  flow.append(rate, spark);
  return { flow, rate: number, line };
}

function makeCard(): CardParts {
  const root = make("li", "card");
  const { head, ...top } = makeHead();
  const why = make("p", "why untrusted");
  const upload = make("div", "upload");
  const bar = make("progress");
  bar.max = 100;
  const uploadText = make("p", "upload-text");
  upload.append(bar, uploadText);
  const { flow, rate, line } = makeFlow();
  const logged = stat("Logged");
  const sampled = stat("Sampled");
  const checked = stat("Checked");
  const stats = make("dl", "stats");
  stats.append(logged.root, sampled.root, checked.root);
  const markRow = make("ul", "marks");
  const markText = make("p", "mark-text");
  const isolation = make("p", "isolation untrusted");
  const life = make("p", "life untrusted");
  root.append(head, why, upload, flow, stats, markRow, markText, isolation, life);
  const rest = { root, why, upload, bar, uploadText, flow, rate, line, logged, sampled, checked };
  return { ...top, ...rest, marks: markList(markRow), markText, isolation, life };
}

function fillHead(card: CardParts, server: ServerView, nowMs: number): void {
  const { facts, reach } = server;
  const badge = badgeOf(reach, facts);
  say(card.name, server.name);
  say(card.model, facts?.modelId ?? "not heard from yet");
  say(card.badgeWord, badge.word);
  reshape(card.badgeIcon, badge.icon);
  card.badge.dataset["tone"] = badge.tone;
  card.root.dataset["tone"] = badge.tone;
  card.root.dataset["reach"] = reach.state;
  const why = explain(server, nowMs);
  say(card.why, why);
  show(card.why, why !== "");
}

function fillFlow(card: CardParts, server: ServerView): void {
  const { facts, reach, rates } = server;
  const uploading = reach.state === "live" && facts?.mode === "UPLOAD";
  show(card.upload, uploading);
  show(card.flow, !uploading);
  if (uploading) {
    const { bitsForwarded, bitsTotal } = facts.upload;
    const done = percent(bitsForwarded, bitsTotal);
    card.bar.value = done;
    setAttribute(card.bar, "aria-label", `Upload of weights to ${server.name}`);
    const amount = `${bytes(bitsForwarded / 8)} of ${bytes(bitsTotal / 8)} of weights checked`;
    say(
      card.uploadText,
      bitsTotal > 0 ? `${amount} · ${Math.floor(done)} %` : "Waiting for weights",
    );
  }
  say(card.rate, server.tokensPerSecond === null ? "–" : figure(server.tokensPerSecond));
  setAttribute(card.line, "d", sparkPath(rates, 60));
}

function checkNote(server: ServerView): string {
  const { fail, unable } = server.checks;
  const notes = [];
  if (fail > 0) notes.push(`${count(fail)} failed`);
  if (unable > 0) notes.push(`${count(unable)} unable`);
  if (!server.checksComplete) notes.push("seen by this page");
  return notes.join(", ");
}

function sampledNote({ facts }: ServerView, share: number): string {
  const sampling = facts?.sampling ?? null;
  if (sampling?.ordered === true) return `${figure(100 * sampling.epsilon)} % now, by order`;
  return share === 0 ? "" : `${figure(share)} % of pairs`;
}

function fillStats(card: CardParts, server: ServerView): void {
  const { facts, checks } = server;
  const pairs = facts?.pairs;
  say(card.logged.value, pairs === undefined ? "–" : count(pairs.logged));
  say(
    card.logged.note,
    pairs === undefined || pairs.cutOff === 0 ? "" : `${count(pairs.cutOff)} cut off`,
  );
  say(card.sampled.value, pairs === undefined ? "–" : count(pairs.sampled));
  const share = pairs === undefined ? 0 : percent(pairs.sampled, pairs.logged);
  say(card.sampled.note, sampledNote(server, share));
  say(card.checked.value, count(checks.pass + checks.fail));
  say(card.checked.note, checkNote(server));
  card.checked.root.dataset["bad"] = String(checks.fail > 0);
}

function markSentence(server: ServerView): string {
  const last = server.lastVerdicts;
  if (last.length === 0) return "No verdicts yet";
  const tell = (kind: VerdictWord, word: string): string[] => {
    const found = last.filter((mark) => mark.kind === kind).length;
    return found === 0 ? [] : [`${found} ${word}`];
  };
  const parts = [...tell("pass", "passed"), ...tell("fail", "failed"), ...tell("unable", "unable")];
  return `Last ${plural(last.length, "verdict")}: ${parts.join(", ")}`;
}

const boxes: Readonly<Record<ServerFacts["isolation"]["kind"], string>> = {
  bubblewrap: "Isolated",
  unshare: "Isolated",
  remote: "On a machine of its own",
  off: "Isolation is OFF",
};

/** The round of its coins, and what became of the rounds that were revealed. */
function drawWords({ facts, drawAudit }: ServerView): string {
  const draw = facts?.draw ?? null;
  if (draw === null) return facts === null ? "" : "draws its coins alone";
  const round = draw.round === 0 ? "no round of coins yet" : `coins of round ${count(draw.round)}`;
  const waits = draw.waitingFor.length === 0 ? "" : `, waits for ${draw.waitingFor.join(" and ")}`;
  if (drawAudit === null) return `${round}${waits}`;
  const { rounds, omitted, lies } = drawAudit;
  const found = omitted === 0 ? "nothing left out" : `${plural(omitted, "pair")} LEFT OUT`;
  const rules = lies.length === 0 ? "" : `, ${plural(lies.length, "rule")} BROKEN`;
  return `${round}${waits}, ${plural(rounds, "round")} recomputed: ${found}${rules}`;
}

function fillFoot(card: CardParts, server: ServerView): void {
  const { facts } = server;
  show(card.isolation, facts !== null);
  show(card.life, facts !== null);
  if (facts === null) return;
  const { kind, detail } = facts.isolation;
  say(card.isolation, detail === "" ? boxes[kind] : `${boxes[kind]}: ${detail}`);
  card.isolation.dataset["kind"] = kind;
  const life = [`Boot ${count(facts.boots)}`, `${count(facts.inflight)} in flight`];
  // A halted server's card has said why already.
  if (facts.lastKillReason !== "" && facts.mode !== "HALTED")
    life.push(`last power cut: ${facts.lastKillReason}`);
  if (!facts.recomputer.connected) life.push("recomputer not connected");
  const draw = drawWords(server);
  if (draw !== "") life.push(draw);
  say(card.life, life.join(" · "));
  card.life.title = `Epoch ${facts.epoch}. State since ${moment(server.reach.sinceMs)}`;
}

type CardList = List<ServerView, CardParts>;

/** Cards inside `parent`, one per server; `now` tells the site's time. */
export function cardList(parent: Element, now: () => number): CardList {
  return new List(
    parent,
    ({ name }) => name,
    makeCard,
    (card, server) => {
      fillHead(card, server, now());
      fillFlow(card, server);
      fillStats(card, server);
      card.marks.show(server.lastVerdicts);
      say(card.markText, markSentence(server));
      fillFoot(card, server);
    },
  );
}
