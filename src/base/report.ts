/** What roles tell people: structured log lines and alarms. The sinks are chosen in bin/. */

export type LogLevel = "debug" | "info" | "warn" | "error";

/** Values that a log line may carry beside its event name. */
export type LogFields = Readonly<Record<string, string | number | boolean | null | undefined>>;

export interface Logger {
  /** `event` is dotted and stable: `gateway.mode`. */
  log(level: LogLevel, event: string, fields?: LogFields): void;
}
