/** Evidence over time against the ladder, drawn by uPlot on a logarithmic scale of odds. */
import type { EvidenceView, SiteStatus } from "../document.ts";
import { byId, say, setAttribute, show } from "./dom.ts";
import { evidenceOf, evidenceText, natsMax, odds, powerOfTen } from "./evidence-words.ts";
import { chartSize, legendList, lineAcross, seriesColour, timeAxes, trace } from "./plot.ts";
import { count, plural, time } from "./say.ts";
import uPlot from "./uplot.js";

/** A line: a server as one recomputer sees it. */
interface Line {
  readonly name: string;
  /** Of the server: gives colour and mark. */
  readonly index: number;
  readonly evidence: EvidenceView;
}

const lineLabels = {
  "raise-epsilon": "keep more",
  "recheck-ring": "recheck",
  quarantine: "quarantine",
  shutdown: "shut down",
} as const;

/** Powers of ten of the odds, about five of them. */
const splits = (_plot: uPlot, _axis: number, _low: number, high: number): number[] => {
  const step = Math.max(1, Math.ceil(high / Math.LN10 / 5));
  return [0, 1, 2, 3, 4, 5].map((i) => i * step * Math.LN10).filter((nats) => nats <= high);
};

function axisName(nats: number): string {
  const exponent = Math.round(nats / Math.LN10);
  return exponent < 4 ? count(10 ** exponent) : powerOfTen(exponent);
}

function linesOf(site: SiteStatus): Line[] {
  const several = site.recomputers.length > 1;
  return site.evidence
    .filter(({ history }) => history.length > 0)
    .map((evidence) => {
      const { server, recomputer } = evidence;
      const index = site.servers.findIndex(({ name }) => name === server);
      return { name: several ? `${server} (${recomputer})` : server, index, evidence };
    });
}

export class EvidenceChart {
  readonly #panel = byId("trail");
  readonly #box = byId("trail-chart");
  readonly #readout = byId("trail-readout");
  readonly #legend = legendList(byId("trail-legend"));
  #plot: uPlot | null = null;
  /** What the plot was built for, and what it shows. */
  #built = "";
  #shown = "";
  #lines: readonly Line[] = [];

  constructor() {
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      this.#built = "";
      this.#draw();
    });
    new ResizeObserver(() => {
      this.#plot?.setSize(chartSize(this.#box));
    }).observe(this.#box);
  }

  show(site: SiteStatus): void {
    this.#lines = linesOf(site);
    show(this.#panel, this.#lines.length > 0);
    if (this.#lines.length > 0) this.#draw();
  }

  #draw(): void {
    if (this.#lines.length === 0) return;
    const entries = this.#lines.map(({ name, index, evidence }) => {
      return { name, index, last: evidenceText(evidenceOf(evidence)) };
    });
    this.#legend.show(entries);
    const words = entries.map(({ name, last }) => `${name} ${last}`).join(", ");
    const label = `Evidence over time against ${plural(entries.length, "server")}, now: ${words}`;
    setAttribute(this.#box, "aria-label", label);
    if ((this.#plot?.cursor.idx ?? null) === null) this.#rest();
    const rungs = JSON.stringify(this.#lines.map(({ name, evidence }) => [name, evidence.ladder]));
    const points = JSON.stringify(this.#lines.map(({ evidence }) => evidence.history));
    if (this.#plot === null || rungs !== this.#built) {
      this.#plot?.destroy();
      this.#plot = new uPlot(this.#options(), this.#data(), this.#box);
      this.#built = rungs;
    } else if (points !== this.#shown) {
      this.#plot.setData(this.#data());
    }
    this.#shown = points;
  }

  #top(): number {
    const thresholds = this.#lines.map(({ evidence }) => evidence.logEThreshold);
    return 1.15 * Math.min(natsMax, Math.max(1, ...thresholds));
  }

  /** What is beyond the chart is drawn at its edge. */
  #clamp(nats: number): number {
    return Math.min(this.#top(), Math.max(-2.5, nats));
  }

  #data(): uPlot.AlignedData {
    const times = new Set<number>();
    for (const { evidence } of this.#lines)
      for (const { atMs } of evidence.history) times.add(atMs);
    const xs = [...times].sort((a, b) => a - b);
    const columns = this.#lines.map(({ evidence }) => {
      const at = new Map(evidence.history.map((point) => [point.atMs, evidenceOf(point)]));
      return xs.map((atMs) => {
        const nats = at.get(atMs);
        return nats === undefined ? null : this.#clamp(nats);
      });
    });
    return [xs.map((atMs) => atMs / 1000), ...columns];
  }

  #rest(): void {
    say(
      this.#readout,
      "Odds that one unit bet against each server's honesty would have become, since this page's server started. Dashed: the steps of the parties' ladder.",
    );
  }

  #options(): uPlot.Options {
    const size = chartSize(this.#box);
    return {
      ...size,
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
      scales: { y: { range: () => [-2.5, this.#top()] } },
      axes: timeAxes(size.width < 520, {
        splits,
        values: (_plot, ticks) => ticks.map(axisName),
      }),
      series: [
        {},
        ...this.#lines.map(({ name, index }) => ({
          label: name,
          stroke: seriesColour(index),
          width: 2,
          spanGaps: true,
          points: { show: false },
        })),
      ],
      hooks: {
        draw: [
          (plot) => {
            this.#drawLadder(plot);
            this.#drawEnds(plot);
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

  #drawLadder(plot: uPlot): void {
    for (const { step, logE } of this.#lines[0]?.evidence.ladder ?? []) {
      if (logE > this.#top()) continue;
      lineAcross(plot, logE, lineLabels[step], step === "shutdown" ? "--bad" : "--warn");
    }
  }

  /** The newest point of each line, with the server's own mark. */
  #drawEnds(plot: uPlot): void {
    const { ctx } = plot;
    ctx.save();
    for (const { index, evidence } of this.#lines) {
      const last = evidence.history.at(-1);
      if (last === undefined) continue;
      const mark = new Path2D();
      const x = plot.valToPos(last.atMs / 1000, "x", true);
      const y = plot.valToPos(this.#clamp(evidenceOf(last)), "y", true);
      trace(mark, index, x, y, 4.5 * devicePixelRatio);
      ctx.fillStyle = seriesColour(index);
      ctx.fill(mark);
    }
    ctx.restore();
  }

  /** Says what stood at one place of the time axis. */
  #point(index: number | null): void {
    const seconds = index === null ? undefined : this.#plot?.data[0][index];
    if (seconds === undefined) {
      this.#rest();
      return;
    }
    const found = this.#lines.flatMap(({ name, evidence }) => {
      const point = evidence.history.findLast(({ atMs }) => atMs / 1000 <= seconds + 5e-4);
      if (point === undefined) return [];
      return [`${name} ${odds(evidenceOf(point))} after ${plural(point.pairs, "pair")}`];
    });
    say(this.#readout, `${time(1000 * seconds)}: ${found.join(", ")}`);
  }
}
