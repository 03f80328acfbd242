/** The alarms of one gateway: raised once per condition, kept until the condition clears. */
import type { Clock } from "../base/clock.ts";
import type { Alarm } from "../format/status.ts";

/** Past conditions that stay visible. */
const clearedMax = 20;

/** Raises an alarm; `kind` names the condition, so that it can be cleared. */
export interface AlarmBoard {
  raise(severity: "warning" | "critical", kind: string, text: string): void;
  clear(kind: string): void;
  list(): readonly Alarm[];
}

export class Alarms implements AlarmBoard {
  readonly #subject: string;
  readonly #clock: Clock;
  readonly #sink: (alarm: Alarm) => void;
  readonly #standing = new Map<string, Alarm>();
  #cleared: Alarm[] = [];
  #count = 0;

  /** `sink` hears of each alarm once, when it is raised: log, webhook. */
  constructor(subject: string, clock: Clock, sink: (alarm: Alarm) => void) {
    this.#subject = subject;
    this.#clock = clock;
    this.#sink = sink;
  }

  /** A condition that already stands is not raised again unless its words change. */
  raise(severity: Alarm["severity"], kind: string, text: string): void {
    if (this.#standing.get(kind)?.text === text) return;
    this.#count++;
    const atMs = this.#clock.wallMs();
    const id = `${this.#subject}-${atMs}-${this.#count}`;
    const alarm = { id, atMs, severity, kind, subject: this.#subject, text };
    this.#standing.set(kind, alarm);
    this.#sink(alarm);
  }

  clear(kind: string): void {
    const alarm = this.#standing.get(kind);
    if (alarm === undefined) return;
    this.#standing.delete(kind);
    const over = { ...alarm, severity: "warning" as const, text: `${alarm.text} (over)` };
    this.#cleared = [...this.#cleared, over].slice(-clearedMax);
  }

  list(): readonly Alarm[] {
    return [...this.#cleared, ...this.#standing.values()].sort((a, b) => a.atMs - b.atMs);
  }
}
