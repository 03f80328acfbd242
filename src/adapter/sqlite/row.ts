/** Typed reading of SQLite rows. A value of the wrong type is a bug: the tables are STRICT. */
import type { SQLOutputValue } from "node:sqlite";
import { assert } from "../../base/assert.ts";

export type Row = Record<string, SQLOutputValue>;

export function textOf(row: Row, column: string): string {
  const value = row[column];
  assert(typeof value === "string", `column ${column} is text`);
  return value;
}

export function numberOf(row: Row, column: string): number {
  const value = row[column];
  assert(typeof value === "number", `column ${column} is a number`);
  return value;
}

/** A copy of the bytes. */
export function blobOf(row: Row, column: string): Buffer {
  const value = row[column];
  assert(value instanceof Uint8Array, `column ${column} is bytes`);
  return Buffer.from(value);
}
