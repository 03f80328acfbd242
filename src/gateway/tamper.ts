/** What a reading of a tamper sensor means. Pure. */
import type { TamperKind, TamperReading } from "./tamper.port.ts";

export interface TamperLimits {
  /** Degrees Celsius: cold keeps memories alive without power. */
  readonly temperature: readonly [number, number];
  /** Volts of the supply: glitches make processors skip checks. */
  readonly voltage: readonly [number, number];
  /** Longest time between two signs of life of the sensor board. */
  readonly heartbeatMs: number;
}

export const defaultTamperLimits: TamperLimits = {
  temperature: [0, 70],
  voltage: [11.4, 12.6],
  heartbeatMs: 5000,
};

export const tamperKinds: readonly TamperKind[] = [
  "lid",
  "mesh",
  "temperature",
  "voltage",
  "heartbeat",
];

/** The tampering that a reading shows, in words; null when all is well. A reading that is no number is tampering. */
export function tamperIn(reading: TamperReading, limits: TamperLimits): string | null {
  const { kind, value } = reading;
  if (Number.isNaN(value)) return `the ${kind} sensor gives no number`;
  const within = ([low, high]: readonly [number, number]): boolean => value >= low && value <= high;
  switch (kind) {
    case "lid":
      return value === 0 ? null : "the lid was opened";
    case "mesh":
      return value === 0 ? null : "the mesh was cut";
    case "temperature":
      return within(limits.temperature) ? null : `temperature ${value} C`;
    case "voltage":
      return within(limits.voltage) ? null : `supply at ${value} V`;
    case "heartbeat":
      return value <= limits.heartbeatMs ? null : "the sensor board is silent";
  }
}
