/**
 * What a recomputer keeps, in one SQLite file: verdicts, the evidence per server, alarms, orders and
 * their releases, epoch keys. Every write is durable when its call returns (WAL, synchronous = FULL).
 *
 * Trust: the file holds epoch keys, with which a reader can compute the seeds of an epoch that is
 * still running, and so the noise that its servers draw with, ahead of time; and the users' text of
 * every pair that FAILed. A writer can forget or forge verdicts; it cannot sign orders. Only the
 * recomputer's user may read it: it is created with mode 0600.
 */
import { closeSync, openSync } from "node:fs";
import { DatabaseSync, type StatementSync } from "node:sqlite";
import { assert, InvalidError, UnavailableError } from "../../base/assert.ts";
import { toHex } from "../../base/bytes.ts";
import type { EpochNotice } from "../../format/proof-request.ts";
import type { VerdictInfo, VerdictSummary } from "../../format/status.ts";
import { asTag, formatTag, type Tag } from "../../format/tag.ts";
import type { Finding, Scores } from "../../format/verdict.ts";
import type { AlarmStore } from "../../alarm/alarm.port.ts";
import type {
  EvidenceChange,
  JudgedPair,
  KnownVerdict,
  NotedRelease,
  StoredEvidence,
  UnactedFail,
  UnactedStep,
  VerdictCounts,
  VerdictStore,
} from "../../recomputer/store.port.ts";
import { SqliteAlarms, alarmSchema, alarmsFrom1 } from "./alarms.ts";
import { EvidenceTables, evidenceSchema } from "./evidence.ts";
import { blobOf, numberOf, textOf, type Row } from "./row.ts";
import { SqliteTrust, type TrustTable } from "./trust.ts";

const schemaVersion = 2;
const schema = `
  CREATE TABLE epoch (
    gateway TEXT NOT NULL, epoch INTEGER NOT NULL, key BLOB NOT NULL,
    PRIMARY KEY (gateway, epoch)
  ) STRICT;
  CREATE TABLE verdict (
    seq INTEGER PRIMARY KEY,
    gateway TEXT NOT NULL, tag TEXT NOT NULL, kind TEXT NOT NULL,
    model TEXT NOT NULL, leaf_index TEXT NOT NULL, request_digest BLOB NOT NULL,
    completed_ms INTEGER NOT NULL, judged_ms INTEGER NOT NULL,
    findings TEXT NOT NULL,
    tokens INTEGER, mismatches INTEGER, mean_margin REAL, max_margin REAL,
    margins BLOB NOT NULL, ms_per_token REAL NOT NULL,
    request BLOB, acted INTEGER NOT NULL,
    entry TEXT, life INTEGER,
    UNIQUE (gateway, tag)
  ) STRICT;
  CREATE INDEX verdict_unacted ON verdict (seq) WHERE acted = 0;
  ${alarmSchema}
  ${evidenceSchema}
  PRAGMA user_version = ${schemaVersion};
`;

/**
 * Schema 1 had no evidence: it begins with the next pair. Its verdicts, alarms and orders stay. A
 * verdict's `life` says in which life of the evidence it counts; null: in none.
 */
const from1 = `
  ALTER TABLE verdict ADD COLUMN entry TEXT;
  ALTER TABLE verdict ADD COLUMN life INTEGER;
  ${alarmsFrom1}
  ${evidenceSchema}
  PRAGMA user_version = ${schemaVersion};
`;

const tagText = (tag: Tag): string => tag.toString(16).padStart(16, "0");

/** Sparse margins: for each that is not 0, u32 position and f32 margin, little-endian. */
export function packMargins(margins: Float64Array): Buffer {
  const at: number[] = [];
  margins.forEach((margin, position) => {
    if (margin !== 0) at.push(position);
  });
  const packed = Buffer.alloc(8 * at.length);
  at.forEach((position, i) => {
    packed.writeUInt32LE(position, 8 * i);
    packed.writeFloatLE(margins[position] ?? 0, 8 * i + 4);
  });
  return packed;
}

/** The non-zero margins by position. Throws InvalidError `margins.length`. */
export function unpackMargins(packed: Buffer): { position: number; margin: number }[] {
  if (packed.length % 8 !== 0) throw new InvalidError("margins.length", "a margin takes 8 bytes");
  const margins: { position: number; margin: number }[] = [];
  for (let at = 0; at < packed.length; at += 8) {
    margins.push({ position: packed.readUInt32LE(at), margin: packed.readFloatLE(at + 4) });
  }
  return margins;
}

function scoresOf(row: Row): Scores | null {
  if (row["tokens"] === null) return null;
  return {
    tokens: numberOf(row, "tokens"),
    mismatches: numberOf(row, "mismatches"),
    meanMargin: numberOf(row, "mean_margin"),
    maxMargin: numberOf(row, "max_margin"),
  };
}

const findingsOf = (row: Row): Finding[] => JSON.parse(textOf(row, "findings")) as Finding[];

function kindOf(row: Row): "pass" | "fail" {
  const kind = textOf(row, "kind");
  assert(kind === "pass" || kind === "fail", "a stored verdict is pass or fail");
  return kind;
}

function summaryOf(row: Row): VerdictSummary {
  const gateway = textOf(row, "gateway");
  return {
    tag: formatTag(gateway, asTag(BigInt(`0x${textOf(row, "tag")}`))),
    gateway,
    atMs: numberOf(row, "judged_ms"),
    kind: kindOf(row),
    findings: findingsOf(row).map((finding) => finding.id),
    scores: scoresOf(row),
  };
}

function evidenceOf(row: Row): string[] {
  const margins = unpackMargins(blobOf(row, "margins"));
  const largest = [...margins].sort((a, b) => b.margin - a.margin).slice(0, 16);
  return [
    ...findingsOf(row).map((finding) => `${finding.id}: ${finding.evidence}`),
    `model ${textOf(row, "model")}, leaf ${textOf(row, "leaf_index")}, completed ${new Date(numberOf(row, "completed_ms")).toISOString()}`,
    `proof request SHA-256 ${toHex(blobOf(row, "request_digest"))}`,
    `replayed at ${numberOf(row, "ms_per_token").toFixed(3)} ms per token; ${margins.length} tokens with a margin`,
    ...largest.map(
      ({ position, margin }) => `position ${position}: margin ${margin.toFixed(5)} nats`,
    ),
  ];
}

const noVerdicts: VerdictCounts = { pass: 0, fail: 0, tokens: 0 };

class SqliteVerdicts implements VerdictStore {
  readonly #db: DatabaseSync;
  readonly #find: StatementSync;
  readonly #put: StatementSync;
  readonly #key: StatementSync;
  readonly #recent: StatementSync;
  readonly #counts = new Map<string, VerdictCounts>();
  readonly #evidence: EvidenceTables;

  constructor(db: DatabaseSync) {
    this.#db = db;
    this.#evidence = new EvidenceTables(db);
    this.#find = db.prepare("SELECT * FROM verdict WHERE gateway = ? AND tag = ?");
    this.#put = db.prepare(
      `INSERT INTO verdict (gateway, tag, kind, model, leaf_index, request_digest, completed_ms,
        judged_ms, findings, tokens, mismatches, mean_margin, max_margin, margins, ms_per_token,
        request, acted, entry, life)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    );
    this.#key = db.prepare("SELECT key FROM epoch WHERE gateway = ? AND epoch = ?");
    this.#recent = db.prepare("SELECT * FROM verdict ORDER BY seq DESC LIMIT ?");
    const rows: Row[] = db
      .prepare(
        `SELECT gateway, count(*) FILTER (WHERE kind = 'pass') AS pass,
          count(*) FILTER (WHERE kind = 'fail') AS fail,
          coalesce(sum(tokens), 0) AS tokens FROM verdict GROUP BY gateway`,
      )
      .all();
    for (const row of rows) {
      this.#counts.set(textOf(row, "gateway"), {
        pass: numberOf(row, "pass"),
        fail: numberOf(row, "fail"),
        tokens: numberOf(row, "tokens"),
      });
    }
  }

  putEpoch(notice: EpochNotice): "new" | "known" | "conflict" {
    const { gateway, epoch, epochKey } = notice;
    const known = this.epochKey(gateway, epoch);
    if (known !== null) return known.equals(epochKey) ? "known" : "conflict";
    this.#db
      .prepare("INSERT INTO epoch (gateway, epoch, key) VALUES (?, ?, ?)")
      .run(gateway, epoch, epochKey);
    return "new";
  }

  epochKey(gateway: string, epoch: number): Buffer | null {
    const row: Row | undefined = this.#key.get(gateway, epoch);
    return row === undefined ? null : blobOf(row, "key");
  }

  gateways(): string[] {
    const rows: Row[] = this.#db
      .prepare("SELECT DISTINCT gateway FROM epoch ORDER BY gateway")
      .all();
    return rows.map((row) => textOf(row, "gateway"));
  }

  find(gateway: string, tag: Tag): KnownVerdict | null {
    const row: Row | undefined = this.#find.get(gateway, tagText(tag));
    if (row === undefined) return null;
    return { kind: kindOf(row), requestDigest: blobOf(row, "request_digest") };
  }

  put(pair: JudgedPair, change: EvidenceChange | null): void {
    this.#whole(() => {
      this.#putVerdict(pair, change);
      if (change !== null) this.#evidence.writeChange(change, pair.judgedMs);
    });
    const { gateway, verdict } = pair;
    const before = this.#counts.get(gateway) ?? noVerdicts;
    this.#counts.set(gateway, {
      pass: before.pass + (verdict.kind === "pass" ? 1 : 0),
      fail: before.fail + (verdict.kind === "fail" ? 1 : 0),
      tokens: before.tokens + (verdict.scores?.tokens ?? 0),
    });
  }

  /** One transaction: all of it or nothing. */
  #whole(action: () => void): void {
    this.#db.exec("BEGIN IMMEDIATE");
    try {
      action();
      this.#db.exec("COMMIT");
    } catch (error) {
      if (this.#db.isTransaction) this.#db.exec("ROLLBACK");
      throw error;
    }
  }

  evidence(): StoredEvidence[] {
    return this.#evidence.all();
  }

  unactedSteps(): UnactedStep[] {
    return this.#evidence.unactedSteps();
  }

  stepActed(cause: string): void {
    this.#evidence.stepActed(cause);
  }

  putRelease(release: NotedRelease, after: readonly StoredEvidence[]): void {
    this.#whole(() => {
      this.#evidence.writeRelease(release, after);
    });
  }

  #putVerdict(pair: JudgedPair, change: EvidenceChange | null): void {
    const { gateway, tag, verdict } = pair;
    const { kind, findings, scores } = verdict;
    assert(kind !== "unable", "unable is not a verdict to keep");
    this.#put.run(
      ...[gateway, tagText(tag), kind, pair.modelId, pair.leafIndex.toString()],
      ...[pair.requestDigest, pair.completedMs, pair.judgedMs, JSON.stringify(findings)],
      ...[scores?.tokens ?? null, scores?.mismatches ?? null],
      ...[scores?.meanMargin ?? null, scores?.maxMargin ?? null],
      ...[packMargins(pair.margins), pair.msPerToken, pair.request, kind === "pass" ? 1 : 0],
      ...[pair.entry === "" ? null : pair.entry],
      change?.counts === true ? change.evidence.life : null,
    );
  }

  unacted(): UnactedFail[] {
    const rows: Row[] = this.#db
      .prepare("SELECT * FROM verdict WHERE acted = 0 ORDER BY seq")
      .all();
    return rows.map((row) => ({
      gateway: textOf(row, "gateway"),
      tag: asTag(BigInt(`0x${textOf(row, "tag")}`)),
      completedMs: numberOf(row, "completed_ms"),
      findings: findingsOf(row),
    }));
  }

  acted(gateway: string, tag: Tag): void {
    this.#db
      .prepare("UPDATE verdict SET acted = 1 WHERE gateway = ? AND tag = ?")
      .run(gateway, tagText(tag));
  }

  counts(): VerdictCounts {
    let sum = noVerdicts;
    for (const { pass, fail, tokens } of this.#counts.values()) {
      sum = { pass: sum.pass + pass, fail: sum.fail + fail, tokens: sum.tokens + tokens };
    }
    return sum;
  }

  countsByGateway(): { gateway: string; pass: number; fail: number }[] {
    return [...this.#counts].map(([gateway, { pass, fail }]) => ({ gateway, pass, fail }));
  }

  recent(max: number): VerdictSummary[] {
    const rows: Row[] = this.#recent.all(max);
    return rows.reverse().map(summaryOf);
  }

  info(gateway: string, tag: Tag): VerdictInfo {
    const row: Row | undefined = this.#find.get(gateway, tagText(tag));
    const text = formatTag(gateway, tag);
    if (row === undefined) return { tag: text, verdict: null, evidence: [] };
    return { tag: text, verdict: summaryOf(row), evidence: evidenceOf(row) };
  }

  close(): void {
    this.#db.close();
  }
}

export interface RecomputerDb {
  readonly verdicts: VerdictStore;
  readonly alarms: AlarmStore;
  readonly trust: TrustTable;
  readonly close: () => void;
}

/**
 * Opens or creates the file; one of schema 1 is brought to schema 2, in one transaction. Throws UnavailableError `sqlite.open` when it cannot be opened, is
 * damaged, or is in use; InvalidError `sqlite.version` when another version of Weir wrote it.
 */
export function openRecomputerDb(file: string): RecomputerDb {
  let db: DatabaseSync;
  try {
    // Made private before anything is in it; SQLite gives its journal the same mode.
    if (file !== ":memory:") closeSync(openSync(file, "a", 0o600));
    db = new DatabaseSync(file, { timeout: 2000 });
    // One writer: a second recomputer on the same file would judge pairs twice.
    db.exec(
      "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL",
    );
    const version: Row | undefined = db.prepare("PRAGMA user_version").get();
    const found = version === undefined ? 0 : numberOf(version, "user_version");
    if (found === 0) {
      db.exec(`BEGIN; ${schema} COMMIT`);
    } else if (found === 1) {
      db.exec(`BEGIN; ${from1} COMMIT`);
    } else if (found !== schemaVersion) {
      db.close();
      const text = `${file} has schema ${found}, this Weir reads ${schemaVersion}`;
      throw new InvalidError("sqlite.version", text);
    }
  } catch (error) {
    if (error instanceof InvalidError) throw error;
    const why = error instanceof Error ? error.message : String(error);
    throw new UnavailableError("sqlite.open", `cannot open ${file}: ${why}`, "none");
  }
  const verdicts = new SqliteVerdicts(db);
  return {
    verdicts,
    alarms: new SqliteAlarms(db),
    trust: new SqliteTrust(db),
    close: () => {
      verdicts.close();
    },
  };
}
