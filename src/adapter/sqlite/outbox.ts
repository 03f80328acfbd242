/**
 * The outbox: kept pairs on their way to a recomputer, in SQLite (WAL, synchronous = FULL, so a
 * transaction is durable when it returns). Payloads are sealed with AES-256-GCM under a key of the
 * outbox's own, a fresh random 96-bit nonce for each row, and the tag as additional data, so that a
 * row cannot be passed off as another's. A settled row keeps its tag and verdict for ever: no pair is
 * judged twice.
 *
 * The database is opened in exclusive mode: one process at a time, also after a crash, because the
 * lock belongs to the process. The other files of the store are guarded by it too.
 *
 * Trust: whoever holds the file without the key learns which tags were kept and their verdicts (the
 * coins become public anyway), and can delete rows; a recomputer sees that when a kept coin has no
 * proof request. A thief of the key reads the kept pairs that are not yet judged.
 */
import { createCipheriv, createDecipheriv, type KeyObject } from "node:crypto";
import { DatabaseSync, type StatementSync } from "node:sqlite";
import { assert, InvalidError, UnavailableError } from "../../base/assert.ts";
import { randomBytes, type RandomSource } from "../../base/random.ts";
import { asTag, type Tag } from "../../format/tag.ts";
import type { Outbox, OutboxItem, SettledItem } from "../../gateway/store.port.ts";

export interface OutboxOptions {
  readonly path: string;
  readonly key: KeyObject;
  readonly random: RandomSource;
  /** Most unsettled items, and most bytes of their payloads. */
  readonly capacity: number;
  readonly capacityBytes: number;
}

const nonceBytes = 12;
const tagBytes = 16;
const half = 2n ** 63n;

/** SQLite's integers are signed: tags are shifted so that their order stays. */
const toRow = (tag: Tag): bigint => tag - half;
const fromRow = (row: bigint): Tag => asTag(row + half);

function additionalData(tag: Tag): Buffer {
  const aad = Buffer.alloc(21);
  aad.write("weir outbox/1", "latin1");
  aad.writeBigUInt64BE(tag, 13);
  return aad;
}

function seal(key: KeyObject, random: RandomSource, tag: Tag, plaintext: Uint8Array): Buffer {
  const nonce = randomBytes(random, nonceBytes);
  const cipher = createCipheriv("aes-256-gcm", key, nonce, { authTagLength: tagBytes });
  cipher.setAAD(additionalData(tag));
  const ciphertext = cipher.update(plaintext);
  cipher.final();
  return Buffer.concat([nonce, ciphertext, cipher.getAuthTag()]);
}

function unseal(key: KeyObject, tag: Tag, sealed: Uint8Array): Buffer {
  const bad = (): never => {
    throw new InvalidError(
      "outbox.sealed",
      `the outbox entry of tag ${tag.toString(16)} is damaged`,
    );
  };
  if (sealed.length < nonceBytes + tagBytes) return bad();
  const nonce = sealed.subarray(0, nonceBytes);
  const decipher = createDecipheriv("aes-256-gcm", key, nonce, { authTagLength: tagBytes });
  decipher.setAAD(additionalData(tag));
  decipher.setAuthTag(sealed.subarray(sealed.length - tagBytes));
  const plaintext = decipher.update(sealed.subarray(nonceBytes, sealed.length - tagBytes));
  try {
    decipher.final();
  } catch {
    return bad();
  }
  return plaintext;
}

const schema = `
  CREATE TABLE IF NOT EXISTS items (
    tag INTEGER PRIMARY KEY,
    sealed BLOB,
    bytes INTEGER NOT NULL,
    verdict TEXT,
    CHECK ((sealed IS NULL) = (verdict IS NOT NULL))
  ) STRICT;
  CREATE INDEX IF NOT EXISTS waiting ON items (tag) WHERE verdict IS NULL;
`;

interface Statements {
  readonly insert: StatementSync;
  readonly find: StatementSync;
  readonly one: StatementSync;
  readonly list: StatementSync;
  readonly settle: StatementSync;
}

class SqliteOutbox implements Outbox {
  readonly capacity: number;
  readonly #capacityBytes: number;
  readonly #db: DatabaseSync;
  readonly #key: KeyObject;
  readonly #random: RandomSource;
  readonly #sql: Statements;
  #waiting: number;
  #bytes: number;

  constructor(db: DatabaseSync, options: OutboxOptions) {
    this.capacity = options.capacity;
    this.#capacityBytes = options.capacityBytes;
    this.#db = db;
    this.#key = options.key;
    this.#random = options.random;
    this.#sql = {
      insert: db.prepare("INSERT INTO items (tag, sealed, bytes) VALUES (?, ?, ?)"),
      find: db.prepare("SELECT verdict, bytes FROM items WHERE tag = ?"),
      one: db.prepare("SELECT sealed FROM items WHERE tag = ? AND verdict IS NULL"),
      list: db.prepare(
        "SELECT tag, sealed FROM items WHERE verdict IS NULL AND tag > ? ORDER BY tag LIMIT ?",
      ),
      settle: db.prepare("UPDATE items SET sealed = NULL, verdict = ? WHERE tag = ?"),
    };
    this.#sql.list.setReadBigInts(true);
    const total = db
      .prepare(
        "SELECT count(*) AS n, coalesce(sum(bytes), 0) AS b FROM items WHERE verdict IS NULL",
      )
      .get();
    this.#waiting = Number(total?.["n"]);
    this.#bytes = Number(total?.["b"]);
  }

  get waiting(): number {
    return this.#waiting;
  }

  put(items: readonly OutboxItem[], overfull = false): void {
    const fresh = new Map<Tag, Buffer>();
    for (const { tag, request } of items) {
      if (!fresh.has(tag) && !this.knows(tag)) fresh.set(tag, request);
    }
    if (fresh.size === 0) return;
    let bytes = 0;
    for (const request of fresh.values()) bytes += request.length;
    if (!overfull && !this.roomFor(fresh.size, bytes)) {
      throw new UnavailableError("outbox.full", "the outbox is full", "none");
    }
    this.#run("put", () => {
      for (const [tag, request] of fresh) {
        const sealed = seal(this.#key, this.#random, tag, request);
        this.#sql.insert.run(toRow(tag), sealed, request.length);
      }
    });
    this.#waiting += fresh.size;
    this.#bytes += bytes;
  }

  /** One transaction. Throws UnavailableError `outbox.<what>`; then nothing of it is kept, or all. */
  #run(what: string, action: () => void): void {
    try {
      this.#db.exec("BEGIN IMMEDIATE");
      action();
      this.#db.exec("COMMIT");
    } catch (error) {
      if (this.#db.isTransaction) this.#db.exec("ROLLBACK");
      const why = error instanceof Error ? error.message : String(error);
      throw new UnavailableError(`outbox.${what}`, `the outbox cannot ${what}: ${why}`, "unknown");
    }
  }

  roomFor(pairs: number, bytes: number): boolean {
    return this.#waiting + pairs <= this.capacity && this.#bytes + bytes <= this.#capacityBytes;
  }

  knows(tag: Tag): boolean {
    return this.#sql.find.get(toRow(tag)) !== undefined;
  }

  find(tag: Tag): OutboxItem | null {
    const sealed = this.#sql.one.get(toRow(tag))?.["sealed"];
    return sealed instanceof Uint8Array ? { tag, request: unseal(this.#key, tag, sealed) } : null;
  }

  list(after: Tag | null, max: number): OutboxItem[] {
    const from = after === null ? -half : toRow(after);
    return this.#sql.list.all(from, max).map((row) => {
      const { tag: number, sealed } = row;
      assert(typeof number === "bigint" && sealed instanceof Uint8Array, "a waiting row has both");
      const tag = fromRow(number);
      return { tag, request: unseal(this.#key, tag, sealed) };
    });
  }

  settle(verdicts: readonly SettledItem[]): void {
    const fresh = verdicts.filter(({ tag, verdict }) => this.#unsettled(tag, verdict));
    if (fresh.length === 0) return;
    let bytes = 0;
    this.#run("settle", () => {
      for (const { tag, verdict } of fresh) {
        bytes += Number(this.#sql.find.get(toRow(tag))?.["bytes"]);
        this.#sql.settle.run(verdict, toRow(tag));
      }
    });
    this.#waiting -= fresh.length;
    this.#bytes -= bytes;
  }

  /** Whether this verdict is news. Throws InvalidError when it cannot be right. */
  #unsettled(tag: Tag, verdict: string): boolean {
    const row = this.#sql.find.get(toRow(tag));
    if (row === undefined) {
      throw new InvalidError("outbox.unknown", `tag ${tag.toString(16)} was never kept`);
    }
    if (row["verdict"] === null) return true;
    if (row["verdict"] === verdict) return false;
    throw new InvalidError(
      "outbox.settled",
      `tag ${tag.toString(16)} was settled otherwise before`,
    );
  }

  verdictOf(tag: Tag): string | null {
    const verdict = this.#sql.find.get(toRow(tag))?.["verdict"];
    return typeof verdict === "string" ? verdict : null;
  }

  close(): void {
    this.#db.close();
  }
}

/**
 * Opens the outbox, making it where there is none. Throws UnavailableError `outbox.locked` when
 * another process has it, `outbox.open` when it cannot be opened or is no database of ours.
 */
export function openOutbox(options: OutboxOptions): Outbox {
  let db: DatabaseSync | undefined;
  try {
    db = new DatabaseSync(options.path);
    db.exec("PRAGMA locking_mode = EXCLUSIVE");
    db.exec("PRAGMA journal_mode = WAL");
    db.exec("PRAGMA synchronous = FULL");
    db.exec("PRAGMA secure_delete = ON");
    db.exec("BEGIN EXCLUSIVE; COMMIT");
    db.exec(schema);
    return new SqliteOutbox(db, options);
  } catch (error) {
    db?.close();
    const why = error instanceof Error ? error.message : String(error);
    if (/locked|busy/.test(why)) {
      throw new UnavailableError("outbox.locked", "another process has this store open", "none");
    }
    throw new UnavailableError("outbox.open", `the outbox cannot be opened: ${why}`, "none");
  }
}
