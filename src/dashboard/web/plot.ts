/** What the charts share: colours and marks of servers, legends, lines across, the time axis. */
import { List, make, say, setAttribute, svg } from "./dom.ts";
import { time } from "./say.ts";
import uPlot from "./uplot.js";

/** Colours and mark shapes repeat after this many servers. */
const paletteSize = 8;
const shapes = ["circle", "square", "diamond", "triangle"] as const;
type Shape = (typeof shapes)[number];

function shapeOf(index: number): Shape {
  return shapes[index % shapes.length] ?? "circle";
}

export function cssColour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

export function seriesColour(index: number): string {
  return cssColour(`--series-${(index % paletteSize) + 1}`);
}

/** Traces the mark of server `index` around (x, y). */
export function trace(path: Path2D, index: number, x: number, y: number, r: number): void {
  const shape = shapeOf(index);
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

export interface LegendEntry {
  readonly name: string;
  /** Of the server: gives colour and mark. */
  readonly index: number;
  /** The last value, in words. */
  readonly last: string;
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

/** A chart's legend inside `parent`. */
export function legendList(parent: Element): List<LegendEntry, LegendView> {
  return new List(
    parent,
    ({ name }) => name,
    makeLegendEntry,
    ({ mark, text, value }, { name, index, last }) => {
      setAttribute(mark, "d", legendShapes[shapeOf(index)]);
      setAttribute(mark, "class", `swatch-${(index % paletteSize) + 1}`);
      say(text, name);
      say(value, last);
    },
  );
}

export function chartSize(box: HTMLElement): { width: number; height: number } {
  const width = Math.max(200, box.clientWidth);
  return { width, height: width < 520 ? 220 : 280 };
}

/** Axes of a plot over time: seconds across, `y` upwards. */
export function timeAxes(narrow: boolean, y: uPlot.Axis): uPlot.Axis[] {
  const grid = { stroke: cssColour("--line"), width: 1 };
  const font = `12px ${cssColour("--sans")}`;
  const axis = { stroke: cssColour("--muted"), grid, ticks: { ...grid, size: 4 }, font };
  const across = (_plot: uPlot, ticks: number[]): string[] => ticks.map((at) => time(1000 * at));
  return [
    { ...axis, space: narrow ? 68 : 90, values: across },
    { ...axis, size: 52, ...y },
  ];
}

/** A dashed line across the plot with a label above its left end. */
export function lineAcross(plot: uPlot, value: number, label: string, colour: string): void {
  const { ctx, bbox } = plot;
  const y = Math.round(plot.valToPos(value, "y", true));
  ctx.save();
  ctx.strokeStyle = cssColour(colour);
  ctx.fillStyle = ctx.strokeStyle;
  ctx.lineWidth = 1.5 * devicePixelRatio;
  ctx.setLineDash([6 * devicePixelRatio, 4 * devicePixelRatio]);
  ctx.beginPath();
  ctx.moveTo(bbox.left, y);
  ctx.lineTo(bbox.left + bbox.width, y);
  ctx.stroke();
  ctx.font = `600 ${11 * devicePixelRatio}px ${cssColour("--sans")}`;
  ctx.textAlign = "left";
  ctx.textBaseline = "bottom";
  ctx.fillText(label, bbox.left + 6 * devicePixelRatio, y - 2 * devicePixelRatio);
  ctx.restore();
}
