/** Margins over time, drawn by uPlot; marks differ in shape as well as in colour. */
import type { SiteStatus } from "../document.ts";
import { byId, List, make, say, setAttribute, show, svg } from "./dom.ts";
import { nats, plural, time } from "./say.ts";
import uPlot from "./uplot.js";

type Margins = SiteStatus["margins"];

/** Colours and mark shapes repeat after this many servers. */
const paletteSize = 8;
const shapes = ["circle", "square", "diamond", "triangle"] as const;
type Shape = (typeof shapes)[number];

function shapeOf(index: number): Shape {
  return shapes[index % shapes.length] ?? "circle";
}

function cssColour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function seriesColour(index: number): string {
  return cssColour(`--series-${(index % paletteSize) + 1}`);
}

/** Traces a mark around (x, y). */
function trace(path: Path2D, shape: Shape, x: number, y: number, r: number): void {
  if (shape === "circle") {
    path.moveTo(x + r, y);
    path.arc(x, y, r, 0, 2 * Math.PI);
  } else if (shape === "square") {
    path.rect(x - 0.88 * r, y - 0.88 * r, 1.76 * r, 1.76 * r);
  } else {
    const corners = shape === "diamond" ? [0, 90, 180, 270] : [30, 150, 270];
    corners.forEach((degrees, i) => {
      const angle = (degrees * Math.PI) / 180;
      const [px, py] = [x + 1.25 * r * Math.cos(angle), y + 1.25 * r * Math.sin(angle)];
      if (i === 0) path.moveTo(px, py);
      else path.lineTo(px, py);
    });
    path.closePath();
  }
}

/** Joins the servers' points on one time axis: uPlot's aligned data, seconds and nats. */
function alignedData(margins: Margins): uPlot.AlignedData {
  const times = new Set<number>();
  for (const { points } of margins.series) for (const { atMs } of points) times.add(atMs);
  const xs = [...times].sort((a, b) => a - b);
  const columns = margins.series.map(({ points }) => {
    const at = new Map(points.map((point) => [point.atMs, point.nats]));
    return xs.map((atMs) => at.get(atMs) ?? null);
  });
  return [xs.map((atMs) => atMs / 1000), ...columns];
}

interface LegendEntry {
  readonly server: string;
  readonly index: number;
  readonly last: number | null;
}

interface LegendView {
  readonly root: HTMLLIElement;
  readonly mark: SVGPathElement;
  readonly text: HTMLElement;
  readonly value: HTMLElement;
}

const legendShapes: Readonly<Record<Shape, string>> = {
  circle: "M8 3.5a4.5 4.5 0 1 0 0 9a4.5 4.5 0 1 0 0-9z",
  square: "M4 4h8v8H4z",
  diamond: "M8 2.4L13.6 8L8 13.6L2.4 8z",
  triangle: "M8 2.6L13.4 12.4H2.6z",
};

function makeLegendEntry(): LegendView {
  const root = make("li");
  const shape = svg("svg", { viewBox: "0 0 16 16", class: "swatch", "aria-hidden": "true" });
  const mark = svg("path", {});
  shape.append(mark);
  const text = make("span", "untrusted");
  const value = make("span", "legend-value");
  root.append(shape, text, value);
  return { root, mark, text, value };
}

export class MarginChart {
  readonly #box = byId("chart");
  readonly #readout = byId("readout");
  readonly #legend: List<LegendEntry, LegendView>;
  #plot: uPlot | null = null;
  /** What the plot was built for: the servers' names. */
  #built = "";
  #margins: Margins = { limit: null, series: [] };

  constructor() {
    this.#legend = new List(
      byId("legend"),
      ({ server }) => server,
      makeLegendEntry,
      ({ mark, text, value }, { server, index, last }) => {
        setAttribute(mark, "d", legendShapes[shapeOf(index)]);
        setAttribute(mark, "class", `swatch-${(index % paletteSize) + 1}`);
        say(text, server);
        say(value, last === null ? "no scores" : nats(last));
      },
    );
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      this.#built = "";
      this.show(this.#margins);
    });
    new ResizeObserver(() => {
      this.#plot?.setSize(this.#size());
    }).observe(this.#box);
  }

  #size(): { width: number; height: number } {
    const width = Math.max(200, this.#box.clientWidth);
    return { width, height: width < 520 ? 220 : 280 };
  }

  /** Draws these margins; rebuilds the plot only when the servers change. */
  show(margins: Margins): void {
    const before = this.#margins;
    this.#margins = margins;
    const entries = margins.series.map(({ server, points }, index) => ({
      server,
      index,
      last: points.at(-1)?.nats ?? null,
    }));
    this.#legend.show(entries);
    const scored = margins.series.reduce((sum, { points }) => sum + points.length, 0);
    show(byId("margins-empty"), scored === 0);
    show(this.#box, scored > 0);
    show(this.#readout, scored > 0);
    if (scored === 0) return;
    this.#describe(scored);
    const names = JSON.stringify(margins.series.map(({ server }) => server));
    if (this.#plot === null || names !== this.#built) {
      this.#plot?.destroy();
      this.#plot = new uPlot(this.#options(), alignedData(margins), this.#box);
      this.#built = names;
    } else if (JSON.stringify(before) !== JSON.stringify(margins)) {
      this.#plot.setData(alignedData(margins));
    }
  }

  #describe(scored: number): void {
    const { limit, series } = this.#margins;
    const fails = series.flatMap(({ points }) => points.filter(({ kind }) => kind === "fail"));
    const bound = limit === null ? "limit not known" : `limit ${nats(limit.nats)} nats`;
    const label = `Mean margin of ${plural(scored, "checked pair")}, ${bound}, ${fails.length} failed`;
    setAttribute(this.#box, "aria-label", `${label}. The verdict table below has the figures.`);
    if ((this.#plot?.cursor.idx ?? null) === null) this.#rest();
  }

  /** What the readout says while nobody points at the chart. */
  #rest(): void {
    const { limit } = this.#margins;
    say(
      this.#readout,
      limit === null
        ? "The recomputer has not said what the limit is."
        : `Dashed: the limit for an output of ${plural(limit.tokens, "token")}, ${nats(limit.nats)} nats. Shorter outputs may vary more.`,
    );
  }

  #options(): uPlot.Options {
    const ink = cssColour("--muted");
    const grid = { stroke: cssColour("--line"), width: 1 };
    const font = `12px ${cssColour("--sans")}`;
    const axis = { stroke: ink, grid, ticks: { ...grid, size: 4 }, font };
    const columns = this.#margins.series.map(({ server }, index) => ({
      label: server,
      stroke: seriesColour(index),
      width: 1.25,
      alpha: 0.45,
      spanGaps: true,
      points: { show: false },
    }));
    return {
      ...this.#size(),
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
      scales: { y: { range: (_plot, _min, max) => [0, this.#top(max)] } },
      axes: [
        {
          ...axis,
          space: this.#size().width < 520 ? 68 : 90,
          values: (_plot, ticks) => ticks.map((at) => time(1000 * at)),
        },
        {
          ...axis,
          size: 52,
          values: (_plot, ticks) => ticks.map((tick) => String(+tick.toFixed(4))),
        },
      ],
      series: [{}, ...columns],
      hooks: {
        draw: [
          (plot) => {
            this.#drawLimit(plot);
            this.#drawMarks(plot);
          },
        ],
        setCursor: [
          (plot) => {
            this.#point(plot.cursor.idx ?? null);
          },
        ],
      },
    };
  }

  #top(max: number): number {
    return 1.15 * Math.max(max, this.#margins.limit?.nats ?? 0, 0.001);
  }

  #drawLimit(plot: uPlot): void {
    const { limit } = this.#margins;
    if (limit === null) return;
    const { ctx } = plot;
    const y = Math.round(plot.valToPos(limit.nats, "y", true));
    ctx.save();
    ctx.strokeStyle = cssColour("--bad");
    ctx.fillStyle = ctx.strokeStyle;
    ctx.lineWidth = 1.5 * devicePixelRatio;
    ctx.setLineDash([6 * devicePixelRatio, 4 * devicePixelRatio]);
    ctx.beginPath();
    ctx.moveTo(plot.bbox.left, y);
    ctx.lineTo(plot.bbox.left + plot.bbox.width, y);
    ctx.stroke();
    ctx.font = `600 ${11 * devicePixelRatio}px ${cssColour("--sans")}`;
    ctx.textAlign = "right";
    const edge = plot.bbox.left + plot.bbox.width - 4 * devicePixelRatio;
    ctx.fillText("limit", edge, y - 5 * devicePixelRatio);
    ctx.restore();
  }

  #drawMarks(plot: uPlot): void {
    const { ctx } = plot;
    const r = 3.2 * devicePixelRatio;
    ctx.save();
    this.#margins.series.forEach(({ points }, index) => {
      const marks = new Path2D();
      const crosses = new Path2D();
      for (const { atMs, nats: value, kind } of points) {
        const x = plot.valToPos(atMs / 1000, "x", true);
        const y = plot.valToPos(value, "y", true);
        trace(marks, shapeOf(index), x, y, r);
        if (kind !== "fail") continue;
        for (const side of [-1, 1]) {
          crosses.moveTo(x - 2.3 * r, y - side * 2.3 * r);
          crosses.lineTo(x + 2.3 * r, y + side * 2.3 * r);
        }
      }
      ctx.fillStyle = seriesColour(index);
      ctx.fill(marks);
      ctx.strokeStyle = cssColour("--bad");
      ctx.lineWidth = 2 * devicePixelRatio;
      ctx.stroke(crosses);
    });
    ctx.restore();
  }

  /** Says what stands at one place of the time axis. */
  #point(index: number | null): void {
    const atMs = index === null ? undefined : this.#plot?.data[0][index];
    if (atMs === undefined) {
      this.#rest();
      return;
    }
    const found = this.#margins.series.flatMap(({ server, points }) =>
      points
        .filter((point) => Math.abs(point.atMs / 1000 - atMs) < 5e-4)
        .map((point) => `${server} ${nats(point.nats)} nats (${point.kind})`),
    );
    say(this.#readout, `${time(1000 * atMs)}: ${found.join(", ")}`);
  }
}
