/**
 * The newest root and whitelist that a recomputer has accepted: one row.
 *
 * Trust: as the whole file (verdicts.ts), it is not authenticated. Who can write it can make the recomputer
 * forget that it saw a newer whitelist; the gateways' memory is another.
 */
import type { DatabaseSync } from "node:sqlite";
import { parseJson } from "../../format/json.ts";
import { parseTrustSeen, type TrustSeen } from "../../format/trust-memory.ts";
import { textOf, type Row } from "./row.ts";

export interface TrustTable {
  /** The row; null before the first. Throws InvalidError when it is not what was written. */
  read(): TrustSeen | null;
  /** Durable when it returns. */
  write(seen: TrustSeen): void;
}

export class SqliteTrust implements TrustTable {
  readonly #db: DatabaseSync;

  constructor(db: DatabaseSync) {
    this.#db = db;
    db.exec(`CREATE TABLE IF NOT EXISTS trust (
      id INTEGER PRIMARY KEY CHECK (id = 1), seen TEXT NOT NULL
    ) STRICT`);
  }

  read(): TrustSeen | null {
    const row: Row | undefined = this.#db.prepare("SELECT seen FROM trust").get();
    return row === undefined ? null : parseTrustSeen(parseJson(textOf(row, "seen")));
  }

  write(seen: TrustSeen): void {
    this.#db
      .prepare(
        "INSERT INTO trust VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET seen = excluded.seen",
      )
      .run(JSON.stringify(seen));
  }
}
