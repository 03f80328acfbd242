/**
 * SIMULATED tamper sensors: one file per sensor in a folder, looked at several times a second. What a file says is what
 * the sensor says: `lid` and `mesh` 0 or 1, `temperature` degrees, `voltage` volts; `heartbeat` anything that changes,
 * or `stopped`. No file: all is well, or no such sensor. `weir tamper` writes them, for trials.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Clock, Timer } from "../base/clock.ts";
import type { TamperInputs, TamperKind, TamperReading } from "../gateway/tamper.port.ts";

const periodMs = 100;
const kinds: readonly TamperKind[] = ["lid", "mesh", "temperature", "voltage", "heartbeat"];

const simulated = "tamper sensors: files in a folder; nothing feels a lid, a mesh, heat or voltage";

/** The first 64 characters of a sensor's file, or null when there is none. */
function readSensor(dir: string, kind: TamperKind): string | null {
  try {
    return readFileSync(join(dir, kind), "latin1").slice(0, 64).trim();
  } catch (error) {
    // A sensor that is there and cannot be read is no reading: NaN, which is tampering.
    const absent = error instanceof Error && "code" in error && error.code === "ENOENT";
    return absent ? null : "unreadable";
  }
}

class FileSensors implements TamperInputs {
  readonly simulated = simulated;
  readonly #dir: string;
  readonly #clock: Clock;
  #timer: Timer | null = null;
  #beat = "";
  #beatMs: number;

  constructor(dir: string, clock: Clock) {
    this.#dir = dir;
    this.#clock = clock;
    this.#beatMs = clock.monotonicMs();
    mkdirSync(dir, { recursive: true, mode: 0o700 });
  }

  /** Milliseconds since the heartbeat changed; infinite once it says that it stopped. */
  #silence(text: string): number {
    if (text === "stopped") return Infinity;
    if (text !== this.#beat) {
      this.#beat = text;
      this.#beatMs = this.#clock.monotonicMs();
    }
    return this.#clock.monotonicMs() - this.#beatMs;
  }

  #readings(): TamperReading[] {
    const readings: TamperReading[] = [];
    for (const kind of kinds) {
      const text = readSensor(this.#dir, kind);
      // A heartbeat that was there and is gone has stopped.
      if (text === null && !(kind === "heartbeat" && this.#beat !== "")) continue;
      const value = kind === "heartbeat" ? this.#silence(text ?? this.#beat) : numberOf(text ?? "");
      readings.push({ kind, value });
    }
    return readings;
  }

  watch(onReading: (reading: TamperReading) => void): void {
    const look = (): void => {
      for (const reading of this.#readings()) onReading(reading);
    };
    look();
    this.#timer = this.#clock.every(periodMs, look);
  }

  close(): void {
    this.#timer?.cancel();
  }
}

function numberOf(text: string): number {
  return text === "" ? NaN : Number(text);
}

/** The sensors in `dir`, which is made. */
export function fileSensors(dir: string, clock: Clock): TamperInputs {
  return new FileSensors(dir, clock);
}

/** Makes a sensor say `text`: for trials. */
export function setSensor(dir: string, kind: TamperKind, text: string): void {
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  writeFileSync(join(dir, kind), `${text}\n`, { mode: 0o600 });
}
