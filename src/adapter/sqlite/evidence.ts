/** Evidence per server, steps of the ladder and releases, in the file that verdicts.ts opens. */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { assert } from "../../base/assert.ts";
import { ladderSteps, type LadderStep } from "../../format/policy.ts";
import type {
  EvidenceChange,
  NotedRelease,
  StoredEvidence,
  UnactedStep,
} from "../../recomputer/store.port.ts";
import { numberOf, textOf, type Row } from "./row.ts";

export const evidenceSchema = `
  CREATE TABLE evidence (
    gateway TEXT NOT NULL, entry TEXT NOT NULL, model TEXT NOT NULL,
    life INTEGER NOT NULL, since_ms INTEGER NOT NULL,
    pairs INTEGER NOT NULL, tokens INTEGER NOT NULL,
    taken TEXT NOT NULL, undone TEXT NOT NULL, state TEXT NOT NULL,
    PRIMARY KEY (gateway, entry)
  ) STRICT;
  CREATE TABLE ended_evidence (
    seq INTEGER PRIMARY KEY, release TEXT NOT NULL,
    gateway TEXT NOT NULL, entry TEXT NOT NULL, life INTEGER NOT NULL,
    pairs INTEGER NOT NULL, tokens INTEGER NOT NULL, taken TEXT NOT NULL, state TEXT NOT NULL
  ) STRICT;
  CREATE TABLE ladder_step (
    seq INTEGER PRIMARY KEY, cause TEXT NOT NULL UNIQUE, gateway TEXT NOT NULL,
    step TEXT NOT NULL, epsilon REAL, reason TEXT NOT NULL, at_ms INTEGER NOT NULL,
    acted INTEGER NOT NULL
  ) STRICT;
  CREATE TABLE release (
    digest TEXT PRIMARY KEY, gateway TEXT NOT NULL, ended TEXT NOT NULL, signer TEXT NOT NULL,
    reason TEXT NOT NULL, at_ms INTEGER NOT NULL, sealed BLOB NOT NULL
  ) STRICT;
`;

const stepsOf = (row: Row, column: string): LadderStep[] => {
  const words = textOf(row, column).split(" ");
  return ladderSteps.filter((step) => words.includes(step));
};

function evidenceOf(row: Row): StoredEvidence {
  return {
    gateway: textOf(row, "gateway"),
    entry: textOf(row, "entry"),
    modelId: textOf(row, "model"),
    life: numberOf(row, "life"),
    sinceMs: numberOf(row, "since_ms"),
    pairs: numberOf(row, "pairs"),
    tokens: numberOf(row, "tokens"),
    taken: stepsOf(row, "taken"),
    undone: stepsOf(row, "undone"),
    state: textOf(row, "state"),
  };
}

/** Reads and writes the evidence tables. Writes are part of the caller's transaction. */
export class EvidenceTables {
  readonly #db: DatabaseSync;
  readonly #put: StatementSync;

  constructor(db: DatabaseSync) {
    this.#db = db;
    this.#put = db.prepare(
      `INSERT OR REPLACE INTO evidence (gateway, entry, model, life, since_ms, pairs, tokens,
        taken, undone, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    );
  }

  all(): StoredEvidence[] {
    const rows: Row[] = this.#db.prepare("SELECT * FROM evidence ORDER BY gateway, entry").all();
    return rows.map(evidenceOf);
  }

  write(evidence: StoredEvidence): void {
    const { gateway, entry, modelId, life, sinceMs, pairs, tokens } = evidence;
    const { taken, undone, state } = evidence;
    this.#put.run(
      ...[gateway, entry, modelId, life, sinceMs, pairs, tokens],
      ...[taken.join(" "), undone.join(" "), state],
    );
  }

  writeChange({ evidence, steps }: EvidenceChange, atMs: number): void {
    this.write(evidence);
    for (const { cause, gateway, step, epsilon, reason } of steps) {
      this.#db
        .prepare(
          `INSERT INTO ladder_step (cause, gateway, step, epsilon, reason, at_ms, acted)
            VALUES (?, ?, ?, ?, ?, ?, 0)`,
        )
        .run(cause, gateway, step, epsilon, reason, atMs);
    }
  }

  unactedSteps(): UnactedStep[] {
    const rows: Row[] = this.#db
      .prepare("SELECT * FROM ladder_step WHERE acted = 0 ORDER BY seq")
      .all();
    return rows.map((row) => {
      const step = ladderSteps.find((known) => known === textOf(row, "step"));
      assert(step !== undefined && step !== "shutdown", "a step of the ladder is known");
      return {
        cause: textOf(row, "cause"),
        gateway: textOf(row, "gateway"),
        step,
        epsilon: row["epsilon"] === null ? null : numberOf(row, "epsilon"),
        reason: textOf(row, "reason"),
      };
    });
  }

  stepActed(cause: string): void {
    this.#db.prepare("UPDATE ladder_step SET acted = 1 WHERE cause = ?").run(cause);
  }

  writeRelease(release: NotedRelease, after: readonly StoredEvidence[]): void {
    const { digest, gateway, ended, signer, reason, atMs, sealed } = release;
    this.#db
      .prepare(
        `INSERT INTO release (digest, gateway, ended, signer, reason, at_ms, sealed)
          VALUES (?, ?, ?, ?, ?, ?, ?)`,
      )
      .run(digest, gateway, ended, signer, reason, atMs, sealed);
    for (const evidence of after) {
      this.#db
        .prepare(
          `INSERT INTO ended_evidence (release, gateway, entry, life, pairs, tokens, taken, state)
            SELECT ?, gateway, entry, life, pairs, tokens, taken, state FROM evidence
            WHERE gateway = ? AND entry = ? AND life < ?`,
        )
        .run(digest, gateway, evidence.entry, evidence.life);
      this.write(evidence);
    }
  }
}
