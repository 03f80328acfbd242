/** `weir logs`: the logs of a site's roles, joined by time, and followed. */
import { closeSync, existsSync, fstatSync, openSync, readdirSync, readSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { InvalidError } from "../../base/assert.ts";
import { plain, styleFor, type Style } from "../site/screen.ts";
import { findSite } from "../site/site-file.ts";
import { stopSignals } from "../site/signals.ts";
import { UsageError } from "../site/arguments.ts";
import { commonHelp, print, runSiteCommand } from "./common.ts";

const help = `Usage: weir logs [OPTIONS]

Shows what the roles of a site have logged, oldest first. Works for a stopped site too.

  --role KEY    only this role, as in \`weir status\`: gateway-g1, router, site...; may be repeated
  --lines N     how many lines (default 100)
  --follow      go on as new lines come, until Ctrl-C
${commonHelp.replace("machine-readable output", "the lines as they were written, one JSON object each")}`;

/** Bytes read from the end of a file to find its last lines. */
const tailBytes = 1_048_576;

interface LogLine {
  readonly key: string;
  readonly at: string;
  readonly text: string;
}

/** Reads a log from an offset on; knows when the file was rotated away. */
class LogReader {
  readonly key: string;
  readonly #path: string;
  #offset = 0;
  #inode = 0;
  #rest = "";

  constructor(folder: string, key: string) {
    this.key = key;
    this.#path = join(folder, `${key}.log`);
  }

  /** Lines that are new since the last call; at the first call those near the end. */
  read(): LogLine[] {
    if (!existsSync(this.#path)) return [];
    const file = openSync(this.#path, "r");
    try {
      const { size, ino } = fstatSync(file);
      const first = this.#inode === 0;
      if (ino !== this.#inode || size < this.#offset) {
        this.#offset = first ? Math.max(0, size - tailBytes) : 0;
        this.#inode = ino;
        this.#rest = "";
      }
      const cut = first && this.#offset > 0;
      const bytes = Buffer.alloc(size - this.#offset);
      this.#offset += readSync(file, bytes, 0, bytes.length, this.#offset);
      const lines = (this.#rest + bytes.toString("utf8")).split("\n");
      this.#rest = lines.pop() ?? "";
      return (cut ? lines.slice(1) : lines).map((text) => this.#line(text));
    } finally {
      closeSync(file);
    }
  }

  #line(text: string): LogLine {
    return { key: this.key, at: field(text, "at"), text };
  }
}

function parsed(text: string): Record<string, unknown> | null {
  if (!text.startsWith("{")) return null;
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch {
    return null;
  }
}

function field(text: string, name: string): string {
  const value = parsed(text)?.[name];
  return typeof value === "string" ? value : "";
}

/** By time; lines without one stay behind the line before them. */
function joined(lines: readonly LogLine[]): LogLine[] {
  const last = new Map<string, string>();
  const dated = lines.map((line) => {
    const at = line.at === "" ? (last.get(line.key) ?? "") : line.at;
    last.set(line.key, at);
    return { line, at };
  });
  return dated.sort((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : 0)).map(({ line }) => line);
}

function readable({ key, text }: LogLine, style: Style): string {
  const entry = parsed(text);
  const name = style.cyan(key.padEnd(11));
  if (entry === null) return `${" ".repeat(12)} ${name} ${plain(text)}`;
  const { at, level, event, ...rest } = entry;
  const time = typeof at === "string" ? at.slice(11, 23) : " ".repeat(12);
  const word = (typeof level === "string" ? level : "").padEnd(5);
  const what = typeof event === "string" ? event : "";
  const paint = level === "error" ? style.red : level === "warn" ? style.yellow : style.dim;
  const fields = Object.entries(rest)
    .filter(([one]) => one !== "role" && one !== "name")
    .map(([one, value]) => `${one}=${typeof value === "string" ? value : JSON.stringify(value)}`);
  return `${time} ${name} ${paint(word)} ${plain(what)} ${plain(fields.join(" "))}`;
}

function readersOf(folder: string, wanted: readonly string[]): LogReader[] {
  const names = existsSync(folder) ? readdirSync(folder) : [];
  const keys = names
    .filter((name) => name.endsWith(".log"))
    .map((name) => name.slice(0, -".log".length))
    .sort();
  const unknown = wanted.find((key) => !keys.includes(key));
  if (unknown !== undefined) {
    throw new InvalidError(
      "logs.role",
      `there is no log of "${unknown}"; there is ${keys.join(", ")}`,
    );
  }
  return (wanted.length > 0 ? wanted : keys).map((key) => new LogReader(folder, key));
}

/** `weir logs`. */
export function runLogs(argv: string[]): Promise<number> {
  return runSiteCommand(argv, {
    help,
    options: {
      role: { type: "string", multiple: true },
      lines: { type: "string" },
      follow: { type: "boolean", short: "f" },
    },
    run: async (args, folder) => {
      const count = args.number("lines", 0, 1_000_000) ?? 100;
      if (!Number.isInteger(count)) throw new UsageError("--lines must be a whole number");
      const { paths } = findSite(folder);
      const style = styleFor(process.stdout);
      const readers = readersOf(paths.logs, args.list("role"));
      const show = (lines: readonly LogLine[]): void => {
        const one = (line: LogLine): string =>
          args.flag("json") ? line.text : readable(line, style);
        print(lines.map((line) => `${one(line)}\n`).join(""));
      };
      const first = joined(readers.flatMap((reader) => reader.read()));
      show(count === 0 ? [] : first.slice(-count));
      if (!args.flag("follow")) return 0;
      const stop = stopSignals();
      while (!stop.wasAsked) {
        await Promise.race([sleep(250), stop.asked]);
        show(joined(readers.flatMap((reader) => reader.read())));
      }
      stop.close();
      return 0;
    },
  });
}
