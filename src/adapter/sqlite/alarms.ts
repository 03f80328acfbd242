/** Alarms and orders of a recomputer, in the file that verdicts.ts opens. */
import type { DatabaseSync } from "node:sqlite";
import { assert } from "../../base/assert.ts";
import type { Alarm } from "../../format/status.ts";
import type { AlarmStore, KeptAlarm, KeptOrder } from "../../alarm/alarm.port.ts";
import { blobOf, numberOf, textOf, type Row } from "./row.ts";

const orderTable = `
  CREATE TABLE gateway_order (
    seq INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE, gateway TEXT NOT NULL,
    issued_ms INTEGER NOT NULL, sealed BLOB NOT NULL, settled_ms INTEGER,
    action TEXT NOT NULL, cause TEXT NOT NULL UNIQUE
  ) STRICT;
  CREATE INDEX order_gateway ON gateway_order (gateway, seq);
`;

export const alarmSchema = `
  CREATE TABLE alarm (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, at_ms INTEGER NOT NULL,
    severity TEXT NOT NULL, kind TEXT NOT NULL, subject TEXT NOT NULL, text TEXT NOT NULL,
    repeats INTEGER NOT NULL DEFAULT 0, open INTEGER NOT NULL DEFAULT 1
  ) STRICT;
  CREATE INDEX alarm_open ON alarm (kind, subject) WHERE open = 1;
  ${orderTable}
`;

/** Schema 1 knew shutdown orders only. */
export const alarmsFrom1 = `
  DROP INDEX order_gateway;
  ALTER TABLE shutdown_order RENAME TO old_order;
  ${orderTable}
  INSERT INTO gateway_order (seq, digest, gateway, issued_ms, sealed, settled_ms, action, cause)
    SELECT seq, digest, gateway, issued_ms, sealed, settled_ms, 'shutdown', 'fail:' || digest
    FROM old_order;
  DROP TABLE old_order;
`;

function alarmOf(row: Row): KeptAlarm {
  const severity = textOf(row, "severity");
  assert(severity === "warning" || severity === "critical", "a severity is known");
  return {
    id: textOf(row, "id"),
    atMs: numberOf(row, "at_ms"),
    severity,
    kind: textOf(row, "kind"),
    subject: textOf(row, "subject"),
    text: textOf(row, "text"),
    repeats: numberOf(row, "repeats"),
    open: numberOf(row, "open") === 1,
  };
}

const actions = ["shutdown", "sample", "recheck", "quarantine"] as const;

function orderOf(row: Row): KeptOrder {
  const digest = textOf(row, "digest");
  const action = actions.find((known) => known === textOf(row, "action"));
  assert(action !== undefined, "an action is known");
  return {
    id: BigInt(`0x${digest.slice(0, 16)}`),
    digest,
    gateway: textOf(row, "gateway"),
    action,
    cause: textOf(row, "cause"),
    issuedMs: numberOf(row, "issued_ms"),
    sealed: blobOf(row, "sealed"),
    settledMs: row["settled_ms"] === null ? null : numberOf(row, "settled_ms"),
  };
}

export class SqliteAlarms implements AlarmStore {
  readonly #db: DatabaseSync;

  constructor(db: DatabaseSync) {
    this.#db = db;
  }

  openAlarm(kind: string, subject: string): KeptAlarm | null {
    const row: Row | undefined = this.#db
      .prepare("SELECT * FROM alarm WHERE open = 1 AND kind = ? AND subject = ?")
      .get(kind, subject);
    return row === undefined ? null : alarmOf(row);
  }

  putAlarm(alarm: Alarm): void {
    this.#db
      .prepare(
        "INSERT INTO alarm (id, at_ms, severity, kind, subject, text) VALUES (?, ?, ?, ?, ?, ?)",
      )
      .run(alarm.id, alarm.atMs, alarm.severity, alarm.kind, alarm.subject, alarm.text);
  }

  repeatAlarm(id: string): void {
    this.#db.prepare("UPDATE alarm SET repeats = repeats + 1 WHERE id = ?").run(id);
  }

  closeAlarm(kind: string, subject: string): void {
    this.#db
      .prepare("UPDATE alarm SET open = 0 WHERE open = 1 AND kind = ? AND subject = ?")
      .run(kind, subject);
  }

  alarms(max: number): KeptAlarm[] {
    const rows: Row[] = this.#db.prepare("SELECT * FROM alarm ORDER BY seq DESC LIMIT ?").all(max);
    return rows.reverse().map(alarmOf);
  }

  putOrder(order: KeptOrder): void {
    const { digest, gateway, issuedMs, sealed, action, cause } = order;
    this.#db
      .prepare(
        `INSERT INTO gateway_order (digest, gateway, issued_ms, sealed, action, cause)
          VALUES (?, ?, ?, ?, ?, ?)`,
      )
      .run(digest, gateway, issuedMs, sealed, action, cause);
  }

  #order(where: string, value: string): KeptOrder | null {
    const row: Row | undefined = this.#db
      .prepare(`SELECT * FROM gateway_order WHERE ${where} ORDER BY seq DESC LIMIT 1`)
      .get(value);
    return row === undefined ? null : orderOf(row);
  }

  orderOf(cause: string): KeptOrder | null {
    return this.#order("cause = ?", cause);
  }

  orderNamed(digest: string): KeptOrder | null {
    return this.#order("digest = ?", digest);
  }

  lastShutdown(gateway: string): KeptOrder | null {
    return this.#order("action = 'shutdown' AND gateway = ?", gateway);
  }

  outstanding(gateway: string): KeptOrder[] {
    const rows: Row[] = this.#db
      .prepare("SELECT * FROM gateway_order WHERE gateway = ? AND settled_ms IS NULL ORDER BY seq")
      .all(gateway);
    return rows.map(orderOf);
  }

  settleOrder(digest: string, atMs: number): void {
    this.#db.prepare("UPDATE gateway_order SET settled_ms = ? WHERE digest = ?").run(atMs, digest);
  }

  knowsRelease(digest: string): boolean {
    return this.#db.prepare("SELECT 1 FROM release WHERE digest = ?").get(digest) !== undefined;
  }
}
