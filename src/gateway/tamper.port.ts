/** Tamper inputs as a port: what the sensors of the enclosure say. In a rack: switches, a mesh, two comparators. */

export type TamperKind = "lid" | "mesh" | "temperature" | "voltage" | "heartbeat";

export interface TamperReading {
  readonly kind: TamperKind;
  /** lid, mesh: 1 open or cut, 0 closed. temperature: degrees Celsius. voltage: volts. heartbeat: ms since the last. */
  readonly value: number;
}

export interface TamperInputs {
  /** Whether these are stand-ins, in words; "" for real sensors. */
  readonly simulated: string;
  /** Calls `onReading` with what stands now, and with each reading from then on. */
  watch(onReading: (reading: TamperReading) => void): void;
  close(): void;
}
