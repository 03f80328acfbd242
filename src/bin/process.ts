/** What every role process does alike: readiness, stopping, error reports. */
import { InvalidError, UnavailableError } from "../base/assert.ts";
import type { LogLevel } from "../base/report.ts";
import type { Options } from "./options.ts";

/** One JSON line on standard output: the role listens on `port`. */
export function announceReady(port: number, more: Record<string, unknown> = {}): void {
  process.stdout.write(`${JSON.stringify({ event: "ready", port, ...more })}\n`);
}

/** Resolves at the first SIGINT or SIGTERM; a second one ends the process at once. */
export function untilStopped(): Promise<void> {
  return new Promise((resolve) => {
    let asked = false;
    for (const signal of ["SIGINT", "SIGTERM"] as const) {
      process.on(signal, () => {
        if (asked) process.exit(130);
        asked = true;
        resolve();
      });
    }
  });
}

export function logLevelOf(options: Options): LogLevel {
  const text = options.text("logLevel");
  const levels: readonly LogLevel[] = ["debug", "info", "warn", "error"];
  const level = levels.find((candidate) => candidate === text);
  if (level === undefined) {
    throw new InvalidError("options.value", `--log-level must be one of ${levels.join(", ")}`);
  }
  return level;
}

/** Turns the errors that a person can act on into one line and an exit code (1, or 2 for usage). */
export async function withErrors(command: string, run: () => Promise<number>): Promise<number> {
  try {
    return await run();
  } catch (error) {
    if (error instanceof InvalidError || error instanceof UnavailableError) {
      process.stderr.write(`${command}: ${error.message}\n`);
      return error.code.startsWith("options.") ? 2 : 1;
    }
    if (error instanceof Error && "code" in error && "syscall" in error) {
      process.stderr.write(`${command}: ${error.message}\n`);
      return 1;
    }
    throw error;
  }
}
