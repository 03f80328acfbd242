/**
 * Raising alarms: store, then log, then the sinks. An alarm is never lost to a sink that is down:
 * it is in the store before anything is sent, and sending is tried a bounded number of times.
 */
import { UnavailableError } from "../base/assert.ts";
import { toHex } from "../base/bytes.ts";
import type { Clock } from "../base/clock.ts";
import { randomBytes, type RandomSource } from "../base/random.ts";
import type { Logger } from "../base/report.ts";
import type { Alarm } from "../format/status.ts";
import type { AlarmSink, AlarmStore } from "./alarm.port.ts";

export interface RaiseParts {
  readonly store: AlarmStore;
  readonly sinks: readonly AlarmSink[];
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly log: Logger;
  /** Waits before the second, third ... attempt at a sink. */
  readonly retriesMs?: readonly number[];
}

const defaultRetriesMs = [1000, 5000, 30_000, 120_000];
/** Alarms on their way to sinks at once; beyond it a new one is stored and logged, not sent. */
const sendingMax = 256;

export class Alarms {
  readonly #parts: RaiseParts;
  #sending = 0;
  #stopped = false;

  constructor(parts: RaiseParts) {
    this.#parts = parts;
  }

  /**
   * Raises an alarm. While one of the same kind and subject is open, it only repeats: counted,
   * logged, not sent again. Durable when this returns.
   */
  raise(severity: Alarm["severity"], kind: string, subject: string, text: string): void {
    const { store, log, clock, random } = this.#parts;
    const open = store.openAlarm(kind, subject);
    if (open !== null) {
      store.repeatAlarm(open.id);
      log.log("warn", "alarm.repeated", { kind, subject, text });
      return;
    }
    const id = toHex(randomBytes(random, 8));
    const alarm: Alarm = { id, atMs: clock.wallMs(), severity, kind, subject, text };
    store.putAlarm(alarm);
    log.log(severity === "critical" ? "error" : "warn", "alarm.raised", { ...alarm });
    for (const sink of this.#parts.sinks) {
      if (this.#sending >= sendingMax) {
        log.log("error", "alarm.not-sent", {
          id,
          sink: sink.name,
          reason: "too many on their way",
        });
        continue;
      }
      this.#sending++;
      void this.#send(sink, alarm, 0);
    }
  }

  /** The cause is gone: the next raise of this kind and subject is a new alarm. */
  clear(kind: string, subject: string): void {
    this.#parts.store.closeAlarm(kind, subject);
  }

  /** The newest `max` alarms for people to see, newest last; repeats are in the text. */
  shown(max: number): Alarm[] {
    return this.#parts.store.alarms(max).map(({ repeats, open: _open, ...alarm }) => ({
      ...alarm,
      text: repeats === 0 ? alarm.text : `${alarm.text} (and ${repeats} more like it)`,
    }));
  }

  async #send(sink: AlarmSink, alarm: Alarm, attempt: number): Promise<void> {
    const { clock, log, retriesMs = defaultRetriesMs } = this.#parts;
    try {
      await sink.send(alarm);
      this.#sending--;
    } catch (error) {
      if (!(error instanceof UnavailableError)) throw error;
      const waitMs = retriesMs[attempt];
      const fields = { id: alarm.id, sink: sink.name, attempt: attempt + 1, reason: error.message };
      if (waitMs === undefined || this.#stopped) {
        this.#sending--;
        log.log("error", "alarm.not-sent", fields);
        return;
      }
      log.log("warn", "alarm.send-failed", fields);
      clock.after(waitMs, () => {
        if (this.#stopped) this.#sending--;
        else void this.#send(sink, alarm, attempt + 1);
      });
    }
  }

  /** No further attempts at sinks. */
  stop(): void {
    this.#stopped = true;
  }
}
