/** Small parts of plots in SVG: scales, axes, text. Colours and fonts are the style sheet's. */

export function escaped(text: string): string {
  return text
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;");
}

/** A number as people read it, three digits that count. */
export function figure(value: number): string {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1000) return Math.round(value).toLocaleString("en");
  if (size < 0.0001) return value.toExponential(1);
  return String(Number(value.toPrecision(3)));
}

export type Scale = (value: number) => number;

export function linear(from: readonly [number, number], to: readonly [number, number]): Scale {
  const span = from[1] - from[0] || 1;
  return (value) => to[0] + ((value - from[0]) / span) * (to[1] - to[0]);
}

/** `from` above 0. Values below its start are drawn at its start. */
export function logarithmic(from: readonly [number, number], to: readonly [number, number]): Scale {
  const scale = linear([Math.log(from[0]), Math.log(from[1])], to);
  return (value) => scale(Math.log(Math.max(value, from[0])));
}

/** About `count` round numbers that cover a range. */
export function ticks(low: number, high: number, count: number): number[] {
  const rough = (high - low) / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(rough || 1));
  const step = [1, 2, 5, 10].map((by) => by * power).find((by) => by >= rough) ?? power;
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => (first + i) * step);
}

/** Powers of ten in a range. */
export function decades(low: number, high: number): number[] {
  const first = Math.ceil(Math.log10(low) - 1e-9);
  const last = Math.floor(Math.log10(high) + 1e-9);
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => 10 ** (first + i));
}

export interface Box {
  readonly width: number;
  readonly height: number;
  readonly left: number;
  readonly right: number;
  readonly top: number;
  readonly bottom: number;
}

const n = (value: number): string => value.toFixed(1);

export function line(x1: number, y1: number, x2: number, y2: number, kind: string): string {
  return `<line class="${kind}" x1="${n(x1)}" y1="${n(y1)}" x2="${n(x2)}" y2="${n(y2)}"/>`;
}

export function label(
  x: number,
  y: number,
  text: string,
  anchor: "start" | "middle" | "end" = "start",
  kind = "tick",
): string {
  return `<text class="${kind}" x="${n(x)}" y="${n(y)}" text-anchor="${anchor}">${escaped(text)}</text>`;
}

export function dot(x: number, y: number, radius: number, kind: string, title: string): string {
  const about = title === "" ? "" : `<title>${escaped(title)}</title>`;
  return `<circle class="${kind}" cx="${n(x)}" cy="${n(y)}" r="${radius}">${about}</circle>`;
}

export function cross(x: number, y: number, size: number, kind: string, title: string): string {
  const d = `M${n(x - size)} ${n(y - size)}l${2 * size} ${2 * size}m0 ${-2 * size}l${-2 * size} ${2 * size}`;
  return `<path class="${kind}" d="${d}"><title>${escaped(title)}</title></path>`;
}

export function polyline(points: readonly (readonly [number, number])[], kind: string): string {
  const text = points.map(([x, y]) => `${n(x)},${n(y)}`).join(" ");
  return `<polyline class="${kind}" points="${text}"/>`;
}

/** Gridlines and numbers along the bottom. */
export function bottomAxis(box: Box, x: Scale, at: readonly number[], title: string): string {
  const base = box.height - box.bottom;
  const marks = at.map(
    (value) =>
      line(x(value), box.top, x(value), base, "grid") +
      label(x(value), base + 16, figure(value), "middle"),
  );
  const middle = (box.left + box.width - box.right) / 2;
  return marks.join("") + label(middle, box.height - 4, title, "middle", "axis");
}

/** Gridlines and numbers along the left. */
export function leftAxis(box: Box, y: Scale, at: readonly number[], title: string): string {
  const marks = at.map(
    (value) =>
      line(box.left, y(value), box.width - box.right, y(value), "grid") +
      label(box.left - 6, y(value) + 4, figure(value), "end"),
  );
  return marks.join("") + label(2, box.top - 8, title, "start", "axis");
}

/** A figure that scales with the page. `about` is read aloud in its place. */
export function picture(box: Box, about: string, body: string): string {
  return `<svg viewBox="0 0 ${box.width} ${box.height}" role="img" aria-label="${escaped(about)}">${body}</svg>`;
}
