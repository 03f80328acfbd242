/**
 * Reads what a recomputer's file says about one gateway, without disturbing a recomputer that runs: it holds the file alone,
 * so a copy of file and journal is read, taken while neither changed.
 */
import { copyFileSync, existsSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { UnavailableError } from "../../base/assert.ts";
import { blobOf, numberOf, textOf, type Row } from "./row.ts";

export interface KeptVerdict {
  /** 16 hex digits. */
  readonly tag: string;
  readonly index: number;
  readonly kind: string;
  readonly atMs: number;
  readonly requestDigest: Buffer;
  readonly findings: readonly { readonly id: string }[];
  /** The proof request as it came; kept of FAILs only. */
  readonly request: Buffer | null;
}

export interface KeptRecord {
  readonly verdicts: readonly KeptVerdict[];
  readonly orders: readonly {
    readonly digest: string;
    readonly sealed: Buffer;
    readonly settledMs: number;
  }[];
  readonly releases: readonly { readonly digest: string; readonly sealed: Buffer }[];
  /** Epoch keys by epoch: the salts of pairs derive from them. */
  readonly epochs: ReadonlyMap<number, Buffer>;
}

const attemptsMax = 50;

/** What tells one state of a file from the next. */
function stamp(path: string): string {
  const found = statSync(path, { bigint: true, throwIfNoEntry: false });
  return found === undefined ? "none" : `${found.ino} ${found.size} ${found.mtimeNs}`;
}

/** Copies file and journal as of one moment. A commit that is being written ends the journal and is not read. */
function snapshot(file: string, copy: string): void {
  const journal = `${file}-wal`;
  for (let attempt = 0; attempt < attemptsMax; attempt++) {
    const before = `${stamp(file)} ${stamp(journal)}`;
    rmSync(`${copy}-wal`, { force: true });
    copyFileSync(file, copy);
    if (existsSync(journal)) copyFileSync(journal, `${copy}-wal`);
    if (`${stamp(file)} ${stamp(journal)}` === before) return;
  }
  throw new UnavailableError("sqlite.busy", `${file} changes all the time: try again`, "none");
}

function verdictOf(row: Row): KeptVerdict {
  return {
    tag: textOf(row, "tag"),
    index: Number(textOf(row, "leaf_index")),
    kind: textOf(row, "kind"),
    atMs: numberOf(row, "judged_ms"),
    requestDigest: blobOf(row, "request_digest"),
    findings: JSON.parse(textOf(row, "findings")) as { readonly id: string }[],
    request: row["request"] === null ? null : blobOf(row, "request"),
  };
}

function readAll(db: DatabaseSync, gateway: string): KeptRecord {
  const rows = (sql: string): Row[] => db.prepare(sql).all(gateway);
  return {
    verdicts: rows("SELECT * FROM verdict WHERE gateway = ? ORDER BY seq").map(verdictOf),
    orders: rows("SELECT * FROM gateway_order WHERE gateway = ? ORDER BY seq").map((row) => ({
      digest: textOf(row, "digest"),
      sealed: blobOf(row, "sealed"),
      settledMs: row["settled_ms"] === null ? 0 : numberOf(row, "settled_ms"),
    })),
    releases: rows("SELECT * FROM release WHERE gateway = ? ORDER BY at_ms, digest").map((row) => ({
      digest: textOf(row, "digest"),
      sealed: blobOf(row, "sealed"),
    })),
    epochs: new Map(
      rows("SELECT * FROM epoch WHERE gateway = ?").map((row) => [
        numberOf(row, "epoch"),
        blobOf(row, "key"),
      ]),
    ),
  };
}

/** Throws UnavailableError `sqlite.*` when the file is not there, or never holds still. */
export function readRecomputerRecord(file: string, gateway: string): KeptRecord {
  if (!existsSync(file)) throw new UnavailableError("sqlite.open", `there is no ${file}`, "none");
  const folder = mkdtempSync(join(tmpdir(), "weir-record-"));
  try {
    const copy = join(folder, "copy.sqlite");
    snapshot(file, copy);
    const db = new DatabaseSync(copy, { timeout: 2000 });
    try {
      return readAll(db, gateway);
    } finally {
      db.close();
    }
  } catch (error) {
    if (error instanceof UnavailableError) throw error;
    const why = error instanceof Error ? error.message : String(error);
    throw new UnavailableError("sqlite.open", `cannot read ${file}: ${why}`, "none");
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
