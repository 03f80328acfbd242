/** Margins over time, drawn by uPlot; marks differ in shape as well as in colour. */
import type { SiteStatus } from "../document.ts";
import { byId, say, setAttribute, show } from "./dom.ts";
import {
  chartSize,
  cssColour,
  legendList,
  lineAcross,
  seriesColour,
  timeAxes,
  trace,
} from "./plot.ts";
import { nats, plural, time } from "./say.ts";
import uPlot from "./uplot.js";

type Margins = SiteStatus["margins"];

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

function lastNats(point: Margins["series"][number]["points"][number] | undefined): string {
  return point === undefined ? "no scores" : nats(point.nats);
}

export class MarginChart {
  readonly #box = byId("chart");
  readonly #readout = byId("readout");
  readonly #legend = legendList(byId("legend"));
  #plot: uPlot | null = null;
  /** What the plot was built for: the servers' names. */
  #built = "";
  #margins: Margins = { limit: null, series: [] };

  constructor() {
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      this.#built = "";
      this.show(this.#margins);
    });
    new ResizeObserver(() => {
      this.#plot?.setSize(chartSize(this.#box));
    }).observe(this.#box);
  }

  /** Draws these margins; rebuilds the plot only when the servers change. */
  show(margins: Margins): void {
    const before = this.#margins;
    this.#margins = margins;
    const entries = margins.series.map(({ server, points }, index) => ({
      name: server,
      index,
      last: lastNats(points.at(-1)),
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
    const bound =
      limit === null ? "nothing said of what to expect" : `expected below ${nats(limit.nats)} nats`;
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
        ? "The recomputer has not said what it expects."
        : `Dashed: what an honest output of ${plural(limit.tokens, "token")} is expected to stay below, ${nats(limit.nats)} nats; shorter ones may vary more. One pair above it decides nothing: what comes together does.`,
    );
  }

  #options(): uPlot.Options {
    const columns = this.#margins.series.map(({ server }, index) => ({
      label: server,
      stroke: seriesColour(index),
      width: 1.25,
      alpha: 0.45,
      spanGaps: true,
      points: { show: false },
    }));
    return {
      ...chartSize(this.#box),
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
      scales: { y: { range: (_plot, _min, max) => [0, this.#top(max)] } },
      axes: timeAxes(chartSize(this.#box).width < 520, {
        values: (_plot, ticks) => ticks.map((tick) => String(+tick.toFixed(4))),
      }),
      series: [{}, ...columns],
      hooks: {
        draw: [
          (plot) => {
            const { limit } = this.#margins;
            if (limit !== null) lineAcross(plot, limit.nats, "expected below", "--warn");
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
        trace(marks, index, x, y, r);
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
