/** Numbers and times in words. Pure, but for the reader's own time zone. */

const whole = new Intl.NumberFormat("en");
const clock = new Intl.DateTimeFormat("en-GB", {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
});
const dated = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });

/** 12,345 */
export function count(value: number): string {
  return whole.format(Math.round(value));
}

/** Three significant digits at most: 0.0123, 1.5, 182. */
export function figure(value: number): string {
  if (Math.abs(value) >= 100) return count(value);
  return String(Number(value.toPrecision(3)));
}

/** Nats with three decimals, so that columns line up. */
export function nats(value: number): string {
  return value !== 0 && Math.abs(value) < 0.001 ? value.toExponential(0) : value.toFixed(3);
}

const units = ["B", "kB", "MB", "GB", "TB"] as const;

/** Decimal units: 16.2 MB. */
export function bytes(value: number): string {
  let scaled = value;
  let unit = 0;
  while (scaled >= 999.5 && unit < units.length - 1) {
    scaled /= 1000;
    unit++;
  }
  const digits = unit === 0 || scaled >= 100 ? 0 : 1;
  return `${scaled.toFixed(digits)} ${units[unit] ?? ""}`;
}

/** A share as a percentage, 0 when there is no whole. */
export function percent(part: number, total: number): number {
  return total <= 0 ? 0 : Math.min(100, Math.max(0, (100 * part) / total));
}

/** How long ago `atMs` was, seen from `nowMs`. */
export function ago(atMs: number, nowMs: number): string {
  const seconds = Math.max(0, Math.floor((nowMs - atMs) / 1000));
  if (seconds < 2) return "just now";
  if (seconds < 90) return `${seconds} s ago`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 172_800) return `${Math.round(seconds / 3600)} h ago`;
  return `${Math.round(seconds / 86_400)} days ago`;
}

/** 14:03:27 in the reader's time zone. */
export function time(atMs: number): string {
  return inRange(atMs) ? clock.format(atMs) : "unknown time";
}

/** The same with its date. */
export function moment(atMs: number): string {
  return inRange(atMs) ? dated.format(atMs) : "unknown time";
}

/** Times that a Date can hold; roles could say anything. */
function inRange(atMs: number): boolean {
  return Math.abs(atMs) <= 8.64e15;
}

/** 1 pair, 2 pairs; `many` where an s does not do. */
export function plural(value: number, noun: string, many = `${noun}s`): string {
  return `${count(value)} ${value === 1 ? noun : many}`;
}

/** "g1", "g1 and g2", "g1, g2 and g3" */
export function series(words: readonly string[]): string {
  const last = words.at(-1) ?? "";
  return words.length < 2 ? last : `${words.slice(0, -1).join(", ")} and ${last}`;
}

/** The text with one full stop at its end. */
export function sentence(text: string): string {
  return /[.!?…]$/.test(text) ? text : `${text}.`;
}
