/** Text for terminals: colours where wanted, tables, durations. Plain text where not. */

export interface Style {
  readonly bold: (text: string) => string;
  readonly dim: (text: string) => string;
  readonly red: (text: string) => string;
  readonly green: (text: string) => string;
  readonly yellow: (text: string) => string;
  readonly cyan: (text: string) => string;
  /** White on red: nobody misses it. */
  readonly alarm: (text: string) => string;
}

/** ANSI styles for a terminal; identity elsewhere and under NO_COLOR (no-color.org). */
export function styleFor(stream: { readonly isTTY?: boolean | undefined }): Style {
  const { env } = process;
  const forced = (env["FORCE_COLOR"] ?? "") !== "";
  const refused = (env["NO_COLOR"] ?? "") !== "";
  const on = !refused && (forced || stream.isTTY === true);
  const paint =
    (code: string) =>
    (text: string): string =>
      on ? `\u001b[${code}m${text}\u001b[0m` : text;
  return {
    bold: paint("1"),
    dim: paint("2"),
    red: paint("31"),
    green: paint("32"),
    yellow: paint("33"),
    cyan: paint("36"),
    alarm: paint("1;97;41"),
  };
}

/** Length on the screen, colour codes not counted. */
function width(text: string): number {
  // eslint-disable-next-line no-control-regex -- colour codes start with the escape character
  return text.replace(/\u001b\[[0-9;]*m/g, "").length;
}

/** Columns padded to their widest cell, two spaces between them; no trailing spaces. */
export function table(rows: readonly (readonly string[])[], indent = ""): string {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, width(cell));
  }
  const line = (row: readonly string[]): string =>
    row.map((cell, i) => cell + " ".repeat((widths[i] ?? 0) - width(cell))).join("  ");
  return rows.map((row) => `${indent}${line(row).trimEnd()}\n`).join("");
}

/** `95 s`, `12 min`, `3 h 5 min`, `4 d`. */
export function duration(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 120) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 120) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${minutes % 60} min`;
  return `${Math.floor(hours / 24)} d`;
}

/** `8.4 MB`, decimal units. */
export function size(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 ? String(value) : value.toFixed(1)} ${units[unit] ?? ""}`;
}

/**
 * Text from elsewhere made safe for a terminal: control characters, which could move the cursor or
 * hide lines, become spaces.
 */
export function plain(text: string): string {
  // eslint-disable-next-line no-control-regex -- that is what it removes
  return text.replace(/[\u0000-\u001f\u007f-\u009f]/g, " ");
}
