/** Evidence against each server: odds, the parties' ladder, what each test says, covert capacity. */
import type { EvidenceView, RungView, ServerFacts, SiteStatus } from "../document.ts";
import { byId, icon, List, make, reshape, say, setAttribute, show, svg } from "./dom.ts";
import {
  bitRate,
  capacityExceeded,
  carriersExceeded,
  carriersText,
  capacityText,
  evidenceOf,
  evidenceText,
  fleetText,
  meaning,
  measures,
  natsMax,
  odds,
  rateText,
  stepName,
  stepText,
  trainingBitsPerSecond,
} from "./evidence-words.ts";
import { count, figure, plural } from "./say.ts";

type Render = (site: SiteStatus) => void;

/** A server with what stands against it; null: no pair of it was audited. */
interface Row {
  readonly key: string;
  readonly server: string;
  readonly facts: ServerFacts | null;
  readonly evidence: EvidenceView | null;
  /** What to say about who says so; "" with one recomputer that answers. */
  readonly teller: string;
}

function tellerOf(evidence: EvidenceView, site: SiteStatus): string {
  const role = site.recomputers.find(({ name }) => name === evidence.recomputer);
  if (role !== undefined && role.reach.state === "unreachable") {
    return `Recomputer ${evidence.recomputer} does not answer: the last it said.`;
  }
  return site.recomputers.length > 1 ? `As recomputer ${evidence.recomputer} sees it.` : "";
}

function rowsOf(site: SiteStatus): Row[] {
  return site.servers.flatMap(({ name, facts }): Row[] => {
    const found = site.evidence.filter(({ server }) => server === name);
    const base = { server: name, facts };
    if (found.length === 0) return [{ ...base, key: name, evidence: null, teller: "" }];
    return found.map((evidence) => {
      const key = `${name} ${evidence.recomputer}`;
      return { ...base, key, evidence, teller: tellerOf(evidence, site) };
    });
  });
}

const percentOf = (part: number, whole: number): string =>
  `${(100 * Math.min(1, Math.max(0, part / whole))).toFixed(2)}%`;

interface Tick {
  /** Between 0 and 1. */
  readonly at: number;
  /** Above the bar; "" for none. */
  readonly label: string;
  readonly className: string;
}

/** A bar that fills from one place to another, with ticks across. Decoration: words stand beside it. */
interface Bar {
  readonly root: SVGSVGElement;
  readonly fill: SVGRectElement;
  readonly range: SVGRectElement;
  readonly ticks: List<Tick, { root: SVGGElement; line: SVGLineElement; text: SVGTextElement }>;
}

/** `labelled`: leaves room for labels above. */
function makeBar(labelled: boolean): Bar {
  const [height, top] = labelled ? [28, 16] : [10, 1];
  const thick = String(height - top - 1);
  const root = svg("svg", { class: "bar", height: String(height), "aria-hidden": "true" });
  const box = { y: String(top), height: thick, rx: "3" };
  const base = svg("rect", { ...box, x: "0", width: "100%", class: "bar-base" });
  const range = svg("rect", { ...box, x: "0", width: "0", class: "bar-range" });
  const fill = svg("rect", { ...box, x: "0", width: "0", class: "bar-fill" });
  const marks = svg("g", {});
  root.append(base, range, fill, marks);
  const ticks = new List(
    marks,
    ({ label, className, at }: Tick) => `${label} ${className} ${at}`,
    () => {
      const tick = svg("g", {});
      const line = svg("line", { y1: String(top - 2), y2: String(height) });
      const text = svg("text", { y: "10", "text-anchor": "middle", class: "bar-label" });
      tick.append(line, text);
      return { root: tick, line, text };
    },
    ({ line, text }, { at, label, className }) => {
      const x = percentOf(at, 1);
      setAttribute(line, "x1", x);
      setAttribute(line, "x2", x);
      setAttribute(line, "class", className);
      setAttribute(text, "x", x);
      // Near the ends a label would be cut.
      setAttribute(text, "text-anchor", at > 0.9 ? "end" : at < 0.1 ? "start" : "middle");
      say(text, label);
    },
  );
  return { root, fill, range, ticks };
}

interface Measure {
  readonly root: HTMLElement;
  readonly label: HTMLElement;
  readonly value: HTMLElement;
  readonly bar: Bar;
}

/** A label, its value, and a bar below both. */
function makeMeasure(labelled: boolean): Measure {
  const root = make("li", "measure");
  const label = make("span", "measure-label untrusted");
  const value = make("span", "measure-value");
  const bar = makeBar(labelled);
  root.append(label, value, bar.root);
  return { root, label, value, bar };
}

/** Nats at the right end of the bars. */
function scaleOf({ ladder, logEThreshold }: EvidenceView): number {
  return 1.08 * Math.min(natsMax, Math.max(1, logEThreshold, ladder.at(-1)?.logE ?? 0));
}

function ladderTicks(evidence: EvidenceView, labelled: boolean): Tick[] {
  const scale = scaleOf(evidence);
  return evidence.ladder.map(({ step, logE }, i) => ({
    at: Math.min(1, logE / scale),
    label: labelled ? String(i + 1) : "",
    className: step === "shutdown" ? "tick tick-last" : "tick",
  }));
}

function fillNats(view: Measure, logE: number, evidence: EvidenceView, labelled: boolean): void {
  const { bar, value } = view;
  setAttribute(bar.fill, "width", percentOf(logE, scaleOf(evidence)));
  bar.ticks.show(ladderTicks(evidence, labelled));
  say(value, odds(logE));
  view.root.dataset["against"] = String(logE >= Math.log(2));
  value.title = `${logE.toFixed(2)} nats`;
}

type RungParts = ReturnType<typeof makeRung>;

function makeRung(): {
  root: HTMLElement;
  number: HTMLElement;
  text: HTMLElement;
  from: HTMLElement;
} {
  const root = make("li", "rung");
  const number = make("span", "rung-number");
  number.setAttribute("aria-hidden", "true");
  const body = make("div");
  const text = make("p");
  const from = make("p", "rung-from");
  body.append(text, from);
  root.append(number, body);
  return { root, number, text, from };
}

interface RungItem {
  readonly rung: RungView;
  readonly number: number;
  readonly taken: boolean;
}

function rungItems({ ladder, steps }: EvidenceView): RungItem[] {
  return ladder.map((rung, i) => ({ rung, number: i + 1, taken: steps.includes(rung.step) }));
}

function fillRung(view: RungParts, { rung, number, taken }: RungItem): void {
  view.root.dataset["taken"] = String(taken);
  view.root.dataset["step"] = rung.step;
  say(view.number, String(number));
  say(view.text, stepText(rung));
  say(view.from, `at ${odds(rung.logE)}${taken ? ": taken" : ""}`);
}

interface CardParts {
  readonly root: HTMLElement;
  readonly name: HTMLElement;
  readonly badge: HTMLElement;
  readonly badgeIcon: SVGSVGElement;
  readonly badgeWord: HTMLElement;
  readonly empty: HTMLElement;
  readonly body: HTMLElement;
  readonly claim: HTMLElement;
  readonly figure: HTMLElement;
  readonly meaning: HTMLElement;
  readonly basis: HTMLElement;
  readonly start: Measure;
  readonly change: Measure;
  readonly rungs: List<RungItem, RungParts>;
  readonly done: List<string, { root: HTMLElement }>;
  readonly tests: List<EvidenceView["detectors"][number], Measure>;
  readonly fillTest: (evidence: EvidenceView) => void;
  readonly perToken: Measure;
  readonly perSecond: Measure;
  readonly capacity: HTMLElement;
  readonly rate: HTMLElement;
  readonly beside: Measure;
  readonly besideText: HTMLElement;
}

function makeTop(): Pick<CardParts, "name" | "badge" | "badgeIcon" | "badgeWord"> & {
  head: HTMLElement;
} {
  const head = make("div", "card-head");
  const name = make("h3", "untrusted");
  const badge = make("p", "badge");
  const badgeIcon = icon("ring");
  const badgeWord = make("span");
  badge.append(badgeIcon, badgeWord);
  head.append(name, badge);
  return { head, name, badge, badgeIcon, badgeWord };
}

function makeTests(
  parent: HTMLElement,
  strongest: HTMLElement,
): Pick<CardParts, "tests" | "fillTest"> {
  let shown: EvidenceView | null = null;
  const tests = new List(
    parent,
    ({ id }: EvidenceView["detectors"][number]) => id,
    () => makeMeasure(false),
    (view, detector) => {
      say(view.label, detector.title);
      if (shown !== null) fillNats(view, evidenceOf(detector), shown, false);
    },
  );
  return {
    tests,
    fillTest: (evidence) => {
      shown = evidence;
      tests.show(evidence.detectors);
      const [first] = evidence.detectors;
      const most = first === undefined ? -1 : evidenceOf(first);
      say(strongest, most < Math.LN2 ? "none against it" : `strongest ${odds(most)}`);
    },
  };
}

function makeDone(parent: HTMLElement): CardParts["done"] {
  return new List(
    parent,
    (text: string) => text,
    (): { root: HTMLElement } => ({ root: make("li", "untrusted") }),
    ({ root }, text) => {
      say(root, text);
    },
  );
}

function part(title: string, ...content: readonly Element[]): HTMLElement {
  const root = make("div", "part");
  root.append(make("h4", "", title), ...content);
  return root;
}

function makeCard(): CardParts {
  const root = make("li", "card evidence");
  const { head, ...top } = makeTop();
  const empty = make("p", "model");
  const body = make("div", "evidence-body");
  root.append(head, empty, body);
  const claim = make("p", "claim untrusted");
  const oddsText = make("p", "claim-figure");
  const meant = make("p", "meaning");
  const basis = make("p", "about");
  const both = make("ul", "measures totals");
  const start = makeMeasure(true);
  const change = makeMeasure(false);
  both.append(start.root, change.root);
  const ladder = make("ol", "rungs");
  const doneList = make("ul", "done");
  const testList = make("ul", "measures tests");
  const tests = make("details", "part");
  const summary = make("summary");
  const strongest = make("span", "measure-value");
  summary.append(make("h4", "", "Test by test"), strongest);
  tests.append(summary, testList);
  // On a phone a calm server's tests are one touch away.
  tests.open = innerWidth > 720;
  const meters = make("ul", "measures");
  const perToken = makeMeasure(true);
  const perSecond = makeMeasure(true);
  const capacity = make("p", "meaning");
  const rate = make("p", "meaning");
  const beside = makeMeasure(true);
  const besideText = make("p", "meaning");
  beside.root.append(besideText);
  perToken.root.append(capacity);
  perSecond.root.append(rate);
  meters.append(perToken.root, perSecond.root, beside.root);
  body.append(
    claim,
    oddsText,
    meant,
    basis,
    both,
    ladder,
    part("What was done", doneList),
    tests,
    part("What its replies could smuggle out", meters),
  );
  return {
    ...{ root, ...top, empty, body, claim, figure: oddsText, meaning: meant, basis, start, change },
    rungs: new List(ladder, ({ rung }) => rung.step, makeRung, fillRung),
    done: makeDone(doneList),
    ...makeTests(testList, strongest),
    ...{ perToken, perSecond, capacity, rate, beside, besideText },
  };
}

type Tone = "good" | "busy" | "warn" | "bad" | "off";

function toneOf(evidence: EvidenceView | null): Tone {
  if (evidence === null || evidence.pairs === 0) return "off";
  if (evidence.step === "shutdown") return "bad";
  if (evidence.step === "quarantine") return "bad";
  return evidence.step === "none" ? "good" : "warn";
}

function fillHead(card: CardParts, { server, evidence }: Row): void {
  const tone = toneOf(evidence);
  const shapes = {
    good: "check",
    busy: "ring",
    warn: "warning",
    bad: "stop",
    off: "ring",
  } as const;
  say(card.name, server);
  card.root.dataset["tone"] = tone;
  card.badge.dataset["tone"] = tone;
  reshape(card.badgeIcon, shapes[tone]);
  const none = evidence === null || (evidence.pairs === 0 && evidence.step === "none");
  say(card.badgeWord, none ? "Nothing audited" : stepName(evidence.step));
}

function fillClaim(card: CardParts, server: string, evidence: EvidenceView, teller: string): void {
  const most = evidenceOf(evidence);
  say(card.claim, `Evidence that ${server} is not running the agreed model:`);
  say(card.figure, evidenceText(most));
  card.figure.dataset["against"] = String(most >= Math.log(2));
  say(card.meaning, `${meaning(most, evidence)} ${fleetText(evidence.fleet)}`.trim());
  const from = `${plural(evidence.pairs, "audited pair")}, ${plural(evidence.tokens, "token")}.`;
  say(card.basis, teller === "" ? `From ${from}` : `From ${from} ${teller}`);
  say(card.start.label, "Since its evidence began");
  fillNats(card.start, evidence.logE, evidence, true);
  say(card.change.label, "Since it changed, if it did");
  fillNats(card.change, evidence.logChange, evidence, false);
}

/** Place of a value on a logarithmic bar. */
function logPlace(value: number, low: number, high: number): number {
  if (value <= low) return 0;
  return Math.min(1, Math.log(value / low) / Math.log(high / low));
}

interface Span {
  readonly from: number;
  readonly to: number;
}

function fillSpan({ fill, range }: Bar, span: Span, over: boolean): void {
  setAttribute(fill, "x", "0");
  setAttribute(fill, "width", percentOf(span.from, 1));
  setAttribute(range, "x", percentOf(span.from, 1));
  setAttribute(range, "width", percentOf(span.to - span.from, 1));
  setAttribute(range, "class", over ? "bar-range bar-over" : "bar-range");
}

const tickAt = (at: number, label: string): Tick => ({ at, label, className: "tick tick-last" });

/** Bars from a ten-thousandth of a bit to 32 bits a token, and from 1 bit to 100 Mb a second. */
function fillCapacity(card: CardParts, { capacity }: EvidenceView): void {
  const { tokens, bitsPerToken, upperBitsPerToken, upperBitsPerSecond } = capacity;
  const over = capacityExceeded(capacity);
  const bits = (value: number): number => logPlace(value, 1e-4, 32);
  const rate = (value: number): number => logPlace(value, 1, 1e8);
  const known = tokens > 0;
  say(card.perToken.label, "Bits per token");
  say(card.perToken.value, known ? `at most ${figure(upperBitsPerToken)}` : "–");
  const span = { from: bits(bitsPerToken), to: bits(upperBitsPerToken) };
  fillSpan(card.perToken.bar, known ? span : { from: 0, to: 0 }, over.bits);
  card.perToken.bar.ticks.show([tickAt(bits(capacity.limitBitsPerToken), "limit")]);
  say(card.capacity, capacityText(capacity));
  const fast = known && upperBitsPerSecond > 0;
  say(card.perSecond.label, "Bits per second");
  say(card.perSecond.value, fast ? `at most ${bitRate(upperBitsPerSecond)}` : "–");
  fillSpan(card.perSecond.bar, { from: 0, to: fast ? rate(upperBitsPerSecond) : 0 }, over.rate);
  const { limitBitsPerSecond: most } = capacity;
  const allowed = most === null ? [] : [tickAt(rate(most), "limit")];
  card.perSecond.bar.ticks.show([
    ...allowed,
    tickAt(rate(trainingBitsPerSecond), "training needs"),
  ]);
  say(card.rate, rateText(capacity));
}

/** On the same scale as the bits per second of the meter. */
function fillBeside({ beside, besideText }: CardParts, { carriers }: EvidenceView): void {
  const rate = (value: number): number => logPlace(value, 1, 1e8);
  const now = carriers?.bitsPerSecond ?? null;
  say(beside.label, "Beside its tokens, bits per second");
  say(beside.value, now === null ? "–" : `at most ${bitRate(now)}`);
  fillSpan(beside.bar, { from: 0, to: rate(now ?? 0) }, carriersExceeded(carriers));
  const most = carriers?.limitBitsPerSecond ?? null;
  const allowed = most === null ? [] : [tickAt(rate(most), "limit")];
  beside.bar.ticks.show([...allowed, tickAt(rate(trainingBitsPerSecond), "training needs")]);
  say(besideText, carriersText(carriers));
}

function fillCard(card: CardParts, row: Row): void {
  const { evidence, facts, server, teller } = row;
  fillHead(card, row);
  const none = evidence === null || (evidence.pairs === 0 && evidence.step === "none");
  show(card.empty, none);
  show(card.body, !none);
  say(
    card.empty,
    evidence === null
      ? "No pair of this server has been audited yet."
      : `Evidence begins anew. ${teller}`,
  );
  if (none) return;
  fillClaim(card, server, evidence, teller);
  card.rungs.show(rungItems(evidence));
  const done = measures(evidence.step, facts);
  card.done.show(done.length === 0 ? ["Nothing: no step was called for."] : done);
  card.fillTest(evidence);
  fillCapacity(card, evidence);
  fillBeside(card, evidence);
}

/** One card for each server and recomputer. */
export function evidenceSection(): Render {
  const list = new List(
    byId("evidence"),
    ({ key }: Row) => key,
    makeCard,
    (card, row) => {
      fillCard(card, row);
    },
  );
  return (site) => {
    const rows = rowsOf(site);
    const audited = site.evidence.reduce((sum, { pairs }) => sum + pairs, 0);
    const some = site.evidence.length > 0;
    show(byId("evidence-empty"), !some);
    show(byId("evidence"), some);
    show(byId("evidence-lead"), some);
    list.show(some ? rows : []);
    const text = `${count(audited)} audited pairs weighed against ${plural(rows.length, "server")}`;
    setAttribute(byId("evidence"), "aria-label", text);
  };
}
