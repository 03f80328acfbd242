/** Structured logs: one JSON object per line on standard error (or wherever `write` puts it). */
import type { Logger, LogFields, LogLevel } from "../base/report.ts";

const order: readonly LogLevel[] = ["debug", "info", "warn", "error"];

/** A logger whose lines carry `role` and `name`; below `level` nothing is written. */
export function jsonLogger(
  role: string,
  name: string,
  level: LogLevel,
  write: (line: string) => void = (line) => process.stderr.write(line),
): Logger {
  const floor = order.indexOf(level);
  return {
    log(at: LogLevel, event: string, fields: LogFields = {}): void {
      if (order.indexOf(at) < floor) return;
      const fixed = { at: new Date().toISOString(), level: at, role, name, event };
      // Once for the order, once more so that no field stands in for a fixed one.
      const line = { ...fixed, ...fields, ...fixed };
      write(`${JSON.stringify(line)}\n`);
    },
  };
}
