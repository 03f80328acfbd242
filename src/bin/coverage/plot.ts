/** The plot of `weir coverage`: one SVG file that needs nothing else, for light and dark pages. */
import { catchOf, solveEpsilon } from "../../verification/coverage.ts";
import type { Case, Question } from "./question.ts";
import { amount, time } from "./tables.ts";

type Point = readonly [x: number, y: number];

interface Axis {
  readonly label: string;
  readonly ticks: readonly { readonly at: number; readonly text: string }[];
  /** 0 to 1 along the axis. */
  readonly place: (value: number) => number;
}

interface Curve {
  readonly name: string;
  readonly points: readonly Point[];
}

interface Panel {
  readonly title: string;
  readonly top: number;
  readonly x: Axis;
  readonly y: Axis;
  readonly curves: readonly Curve[];
  /** A vertical line with words. */
  readonly mark: { readonly at: number; readonly text: string };
}

const width = 760;
const left = 76;
const right = 166;
const height = 250;
const inner = width - left - right;

/** Colours that stay apart for colour-blind people (Okabe, Ito), with dashes as a second sign. */
const light = ["#0072b2", "#c04d00", "#007a5a", "#a8487e", "#7a6200", "#5a5a5a"] as const;
const dark = ["#56b4e9", "#f0803c", "#2fc79b", "#e28fbc", "#d9b43a", "#b4b4b4"] as const;

/** Plain rules rather than CSS variables: programs other than browsers read SVG too. */
const rules = (ink: string, faint: string, page: string, colours: readonly string[]): string =>
  `text { fill: ${ink}; } .page { fill: ${page}; } .grid { stroke: ${faint}; } .mark { stroke: ${ink}; }` +
  colours.map((colour, i) => ` .c${i} { stroke: ${colour}; }`).join("");

const style = `
  ${rules("#1c1c1c", "#d8d8d8", "#ffffff", light)}
  @media (prefers-color-scheme: dark) { ${rules("#ececec", "#444444", "#161616", dark)} }
  text { font: 13px system-ui, "DejaVu Sans", sans-serif; }
  .title { font-size: 15px; font-weight: 600; }
  .grid { stroke-width: 1; }
  .mark { stroke-width: 1.5; stroke-dasharray: 2 3; }
  .curve { fill: none; stroke-width: 2.2; stroke-linejoin: round; }
`;
const dashes = ["none", "9 4", "2 4", "12 4 2 4", "5 2", "16 5"] as const;

const escape = (text: string): string =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
const round = (value: number): string => value.toFixed(1);

/** Powers of ten from `low` to `high`; texts by `name`. */
function logAxis(label: string, low: number, high: number, name: (value: number) => string): Axis {
  const from = Math.floor(Math.log10(low) + 1e-9);
  const to = Math.max(from + 1, Math.ceil(Math.log10(high) - 1e-9));
  const step = Math.max(1, Math.ceil((to - from) / 8));
  const ticks = [];
  for (let power = from; power <= to; power += step) {
    ticks.push({ at: 10 ** power, text: name(10 ** power) });
  }
  return { label, ticks, place: (value) => (Math.log10(value) - from) / (to - from) };
}

/** Times that people name, within the range. */
function timeAxis(low: number, high: number): Axis {
  const named = [
    ...[1, 10, 60, 600, 3600, 6 * 3600].map((seconds) => seconds / 86_400),
    ...[1, 7, 30, 365, 3650, 36_500, 365_000],
  ];
  const names = [
    "1 s",
    "10 s",
    "1 min",
    "10 min",
    "1 h",
    "6 h",
    "1 d",
    "1 w",
    "30 d",
    "1 y",
    "10 y",
  ];
  const texts = [...names, "100 y", "1000 y"];
  const from = Math.log10(low);
  const span = Math.max(1e-9, Math.log10(high) - from);
  const ticks = named
    .map((at, i) => ({ at, text: texts[i] ?? "" }))
    .filter(({ at }) => at >= low * 0.999 && at <= high * 1.001);
  const label = "time since the server began to cheat (log scale)";
  return { label, ticks, place: (value) => (Math.log10(value) - from) / span };
}

const chanceAxis: Axis = {
  label: "probability of being caught",
  ticks: [0, 0.25, 0.5, 0.75, 1].map((at) => ({ at, text: `${100 * at}%` })),
  place: (value) => value,
};

function chancePanel(question: Question): Panel {
  const { traffic, withinDays } = question;
  const found = question.cases.map(({ name, detection }) => ({
    name,
    caught: catchOf(traffic, detection),
  }));
  const ends = found.flatMap(({ caught }) => [caught.quantile(0.005), caught.quantile(0.999)]);
  const days = [
    ...ends.filter(Number.isFinite).map((pairs) => pairs / traffic.pairsPerDay),
    withinDays,
  ];
  const x = timeAxis(Math.min(...days) / 1.5, Math.max(...days) * 1.5);
  const low = Math.log10(Math.min(...days) / 1.5);
  const high = Math.log10(Math.max(...days) * 1.5);
  const at = Array.from({ length: 141 }, (_, i) => 10 ** (low + ((high - low) * i) / 140));
  const curves = found.map(({ name, caught }) => ({
    name,
    points: at.map((day): Point => [day, caught.within(day * traffic.pairsPerDay)]),
  }));
  const { epsilon, beta } = traffic;
  return {
    title: `One server that forges ${amount(100 * beta)}% of its pairs; ${amount(100 * epsilon)}% are audited`,
    ...{ top: 48, x, y: chanceAxis, curves },
    mark: { at: withinDays, text: time(withinDays) },
  };
}

/** From 1e-5 to 1, three points to a decade. */
const shares = Array.from({ length: 16 }, (_, i) => 10 ** (-5 + i / 3));

function needCurve(question: Question, { name, detection }: Case): Curve {
  const { traffic, withinDays, confidence } = question;
  const pairs = withinDays * traffic.pairsPerDay;
  const points = shares.flatMap((beta): Point[] => {
    const epsilon = solveEpsilon({ ...traffic, beta }, detection, pairs, confidence);
    return epsilon === null ? [] : [[beta, epsilon]];
  });
  return { name, points };
}

function needPanel(question: Question): Panel {
  const curves = question.cases.map((one) => needCurve(question, one));
  const needed = curves.flatMap(({ points }) => points.map(([, y]) => y));
  const low = needed.length === 0 ? 0.1 : Math.min(...needed);
  return {
    title: `Share to audit, to catch it within ${time(question.withinDays)} with ${amount(100 * question.confidence)}%`,
    top: 48 + height + 92,
    x: logAxis("share of its pairs that the server forges, beta (log scale)", 1e-5, 1, amount),
    y: logAxis("epsilon needed (log scale)", Math.min(low, 0.1), 1, amount),
    curves,
    mark: { at: question.traffic.beta, text: `beta ${amount(question.traffic.beta)}` },
  };
}

function axes({ x, y, top, title, mark }: Panel): string {
  const bottom = top + height;
  const vertical = x.ticks.map(({ at, text }) => {
    const px = round(left + inner * x.place(at));
    return (
      `<line class="grid" x1="${px}" y1="${top}" x2="${px}" y2="${bottom}"/>` +
      `<text x="${px}" y="${bottom + 19}" text-anchor="middle">${escape(text)}</text>`
    );
  });
  const horizontal = y.ticks.map(({ at, text }) => {
    const py = bottom - height * y.place(at);
    return (
      `<line class="grid" x1="${left}" y1="${round(py)}" x2="${left + inner}" y2="${round(py)}"/>` +
      `<text x="${left - 8}" y="${round(py + 4.5)}" text-anchor="end">${escape(text)}</text>`
    );
  });
  const place = x.place(mark.at);
  const mx = round(left + inner * place);
  const words =
    place < 0 || place > 1
      ? ""
      : `<line class="mark" x1="${mx}" y1="${top}" x2="${mx}" y2="${bottom}"/>` +
        `<text x="${mx}" y="${top - 6}" text-anchor="middle">${escape(mark.text)}</text>`;
  const middle = top + height / 2;
  return [
    `<text class="title" x="${left}" y="${top - 24}">${escape(title)}</text>`,
    ...vertical,
    ...horizontal,
    words,
    `<text x="${left + inner / 2}" y="${bottom + 40}" text-anchor="middle">${escape(x.label)}</text>`,
    `<text transform="translate(18 ${middle}) rotate(-90)" text-anchor="middle">${escape(y.label)}</text>`,
  ].join("\n");
}

function curvesOf({ x, y, top, curves }: Panel, legend: number): string {
  const bottom = top + height;
  return curves
    .map(({ name, points }, i) => {
      const look = `class="curve c${i % light.length}" stroke-dasharray="${dashes[i % dashes.length] ?? "none"}"`;
      const path = points
        .map(([px, py]) => [left + inner * x.place(px), bottom - height * y.place(py)] as const)
        .map(([px, py], at) => `${at === 0 ? "M" : "L"}${round(px)} ${round(py)}`)
        .join("");
      const row = legend + 22 * i;
      const key = left + inner + 12;
      const none = points.length === 0 ? " (never)" : "";
      return (
        `<path ${look} d="${path === "" ? "M0 0" : path}"><title>${escape(name)}</title></path>` +
        `<line ${look} x1="${key}" y1="${row}" x2="${key + 24}" y2="${row}"/>` +
        `<text x="${key + 30}" y="${row + 4.5}">${escape(name + none)}</text>`
      );
    })
    .join("\n");
}

/** The whole file: chance against time, and epsilon needed against the forged share. */
export function coveragePlot(question: Question): string {
  const panels = [chancePanel(question), needPanel(question)];
  const total = 48 + 2 * height + 92 + 60;
  const body = panels.map((panel) => `${axes(panel)}\n${curvesOf(panel, panel.top + 12)}`);
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${total}" width="${width}" height="${total}" role="img">
<title>weir coverage</title>
<style>${style}</style>
<rect class="page" width="${width}" height="${total}"/>
${body.join("\n")}
</svg>
`;
}
