/**
 * What an untrusted program says on its standard output and error, made fit for our log: whole
 * lines, printable ASCII, bounded in length and in number.
 */
import type { Readable } from "node:stream";
import type { Clock } from "../../base/clock.ts";
import type { Logger } from "../../base/report.ts";

export const saysLimits = {
  /** Longest line kept; the rest of it is dropped. */
  lineBytes: 1024,
  /** Lines per window; more are counted and dropped. */
  lines: 50,
  windowMs: 1000,
} as const;

/** Cuts a byte stream into lines of at most `max` characters, each free of control characters. */
export class LineCutter {
  #line = "";
  #cut = false;

  /** Feeds bytes; calls `onLine` for each line that they complete. */
  push(bytes: Buffer, onLine: (line: string) => void): void {
    let from = 0;
    for (;;) {
      const end = bytes.indexOf(0x0a, from);
      this.#keep(bytes.subarray(from, end === -1 ? bytes.length : end));
      if (end === -1) return;
      this.flush(onLine);
      from = end + 1;
    }
  }

  /** Hands on what there is of the last line. */
  flush(onLine: (line: string) => void): void {
    if (this.#line !== "") onLine(this.#cut ? `${this.#line}...` : this.#line);
    this.#line = "";
    this.#cut = false;
  }

  #keep(part: Buffer): void {
    const room = saysLimits.lineBytes - this.#line.length;
    if (part.length > room) this.#cut = true;
    // latin1 gives one character per byte; whatever is not printable ASCII is not shown.
    this.#line += part
      .subarray(0, room)
      .toString("latin1")
      .replaceAll(/[^\x20-\x7e]/g, "?");
  }
}

/** Passes what `streams` say to `logger` as `server.says`, with `line` as the program's own words. */
export function logSays(streams: readonly Readable[], logger: Logger, clock: Clock): void {
  let windowStart = clock.monotonicMs();
  let [lines, dropped] = [0, 0];
  const report = (): void => {
    if (dropped > 0) logger.log("warn", "server.says-too-much", { linesDropped: dropped });
    dropped = 0;
  };
  const onLine = (line: string): void => {
    const now = clock.monotonicMs();
    if (now - windowStart >= saysLimits.windowMs) {
      windowStart = now;
      lines = 0;
      report();
    }
    lines += 1;
    if (lines > saysLimits.lines) dropped += 1;
    else logger.log("info", "server.says", { line });
  };
  for (const stream of streams) {
    const cutter = new LineCutter();
    stream.on("data", (bytes: Buffer) => {
      cutter.push(bytes, onLine);
    });
    stream.on("error", () => undefined);
    stream.once("close", () => {
      cutter.flush(onLine);
      report();
    });
    // A stream that somebody paused does not flow by being listened to: box.ts hands them over so.
    stream.resume();
  }
}
