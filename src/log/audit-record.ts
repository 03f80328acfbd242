/**
 * The audit's checks of what a recomputer says it did: its record is signed, its verdicts are about pairs of this log, every
 * pair that a coin kept has one, every FAIL was ordered to stop, and what was ordered was obeyed.
 */
import { sha256Hex } from "../base/hash.ts";
import { signersOf } from "../format/dsse.ts";
import {
  auditRules,
  evidencePaths,
  linesOf,
  parseRecord,
  recordType,
  type RecomputerRecord,
} from "../format/evidence.ts";
import { decodeLogEntry } from "../format/leaf.ts";
import { openOrder, orderType, type VerifiedOrder } from "../format/order.ts";
import { encodeProofRequest } from "../format/proof-request.ts";
import type { AuditedPair } from "./audit-claims.ts";
import { held, unsound } from "./audit-failure.ts";
import { entryAt, type AuditedLog } from "./audit-log.ts";
import type { KeptPair } from "./audit-rounds.ts";
import { envelopeOf, type Files, type Parties } from "./audit-trust.ts";

const { graceMs, crashPairs, crashEntries } = auditRules;

export interface AuditedRecord extends RecomputerRecord {
  /** Kept pairs without a verdict: too new to have one; and explained by crashes. */
  readonly pending: number;
  readonly excused: number;
  /** Verdicts about entries behind the checkpoint. */
  readonly beyond: number;
  /** Verdicts without any order; checked later. */
  readonly fails: readonly {
    readonly index: number;
    readonly completedMs: number;
    readonly atMs: number;
  }[];
}

/** Step 12. Null when the bundle holds no record. */
export function auditRecord(
  files: Files,
  gateway: string,
  origin: string,
  { a, b }: Parties,
  log: AuditedLog,
  pairs: readonly AuditedPair[],
): AuditedRecord | null {
  const path = evidencePaths.record;
  const bytes = files.get(path);
  if (bytes === undefined) return null;
  const envelope = envelopeOf("record.format", path, bytes, recordType);
  if (signersOf(envelope, recordType, [...a.recomputer, ...b.recomputer]).size === 0) {
    unsound("record.signature", path, "no recomputer that a party names signed it");
  }
  const record = held("record.format", path, () => parseRecord(envelope.payload));
  if (record.gateway !== gateway || record.origin !== origin) {
    unsound("record.gateway", path, `it is about ${record.gateway} and the log ${record.origin}`);
  }
  const fails: { index: number; completedMs: number; atMs: number }[] = [];
  const judged = new Map<number, string>();
  let beyond = 0;
  record.verdicts.forEach((verdict, i) => {
    const where = `${path}, verdict ${i + 1}`;
    const { index } = verdict;
    if (judged.has(index)) unsound("verdict.twice", where, `entry ${index} has a second verdict`);
    judged.set(index, verdict.request);
    if (index >= log.size) {
      beyond++;
      return;
    }
    const leaf = decodeLogEntry(entryAt(log.entries, index));
    if (leaf.kind !== "pair" || leaf.tag.toString(16).padStart(16, "0") !== verdict.tag) {
      return unsound("verdict.pair", where, `entry ${index} is not the pair ${verdict.tag}`);
    }
    if (verdict.kind === "fail") {
      fails.push({ index, completedMs: leaf.completedMs, atMs: verdict.atMs });
    }
  });
  checkRequests(log, pairs, judged);
  return { ...record, fails, beyond, ...checkKept(log, record.atMs, judged) };
}

/** A disclosed pair that was judged is the one that was judged. */
function checkRequests(
  log: AuditedLog,
  pairs: readonly AuditedPair[],
  judged: ReadonlyMap<number, string>,
): void {
  for (const { index, input, output, where } of pairs) {
    const wanted = judged.get(index);
    if (wanted === undefined) continue;
    const request = { leafIndex: BigInt(index), leaf: entryAt(log.entries, index), input, output };
    const digests = [request, { ...request, rechecked: true as const }].map((one) =>
      sha256Hex(encodeProofRequest(one)),
    );
    if (digests.includes(wanted)) continue;
    unsound(
      "verdict.request",
      where,
      `entry ${index} was judged by another proof request than this`,
    );
  }
}

/** Every kept pair has a verdict, is too new for one, or may have been lost in a crash. */
function checkKept(
  log: AuditedLog,
  atMs: number,
  judged: ReadonlyMap<number, string>,
): { readonly pending: number; readonly excused: number } {
  let [pending, excused] = [0, 0];
  const lost = new Map<number, number>();
  const mayBeLost = ({ index }: KeptPair): boolean => {
    const start = log.boots.find((boot) => boot.index > index)?.index;
    if (start === undefined || start - index > crashEntries) return false;
    const before = lost.get(start) ?? 0;
    lost.set(start, before + 1);
    return before < crashPairs;
  };
  for (const pair of log.rounds.kept) {
    if (judged.has(pair.index)) continue;
    if (pair.revealedMs > atMs - graceMs) pending++;
    else if (mayBeLost(pair)) excused++;
    else {
      const tag = pair.tag.toString(16).padStart(16, "0");
      const why = `the coin of round ${pair.round} kept the pair ${tag}, and it has no verdict`;
      unsound("verdict.missing", `${evidencePaths.entries}, entry ${pair.index}`, why);
    }
  }
  return { pending, excused };
}

interface PlacedOrder extends VerifiedOrder {
  readonly where: string;
}

function readOrders(files: Files, gateway: string, { a, b }: Parties): PlacedOrder[] {
  const path = evidencePaths.orders;
  const lines = held("order.format", path, () => linesOf(files.get(path) ?? Buffer.alloc(0)));
  const keys = {
    shutdown: [...a.recomputer, ...b.recomputer],
    release: [...a.operator, ...b.operator],
  };
  return lines.map((line, i) => {
    const where = `${path}, line ${i + 1}`;
    const bytes = Buffer.from(line);
    const envelope = envelopeOf("order.format", where, bytes, orderType);
    const signers = signersOf(envelope, orderType, [...keys.shutdown, ...keys.release]);
    if (signers.size === 0) {
      unsound("order.signature", where, "nobody whom a party names signed it");
    }
    // Parsed before it is known that this signer may give this order: the action stands in it.
    const opened = held("order.entitled", where, () => openOrder(bytes, keys));
    if (opened.order.gateway !== gateway) {
      unsound("order.gateway", where, `it is for the gateway ${opened.order.gateway}`);
    }
    return { ...opened, where };
  });
}

/** Step 13: orders and releases, against the record and the log. Returns them. */
export function auditOrders(
  files: Files,
  gateway: string,
  parties: Parties,
  log: AuditedLog,
  record: AuditedRecord | null,
): readonly VerifiedOrder[] {
  const orders = readOrders(files, gateway, parties);
  const digests = new Set(orders.map(({ digest }) => digest));
  for (const { order, where } of orders) {
    if (order.action !== "release" || digests.has(order.halt)) continue;
    unsound("order.release", where, `it releases ${order.halt}, and no such order is here`);
  }
  if (record === null) return orders;
  for (const digest of [...record.orders.map((one) => one.digest), ...record.releases]) {
    if (digests.has(digest)) continue;
    const why = `the record names the order ${digest}, which is not here`;
    unsound("order.absent", evidencePaths.orders, why);
  }
  checkFails(orders, record);
  checkObeyed(orders, log, record);
  return orders;
}

function settledOf(record: AuditedRecord, digest: string): number {
  return record.orders.find((one) => one.digest === digest)?.settledMs ?? 0;
}

/** Each FAIL that is old enough was followed by an order to stop, or one stood already. */
function checkFails(orders: readonly PlacedOrder[], record: AuditedRecord): void {
  for (const { index, completedMs, atMs } of record.fails) {
    if (atMs > record.atMs - graceMs) continue;
    const stopped = orders.some(({ order, digest }) => {
      if (order.action !== "shutdown" || order.issuedMs > atMs + graceMs) return false;
      const settledMs = settledOf(record, digest);
      return settledMs === 0 || completedMs <= settledMs + graceMs;
    });
    if (stopped) continue;
    const why = `the pair at entry ${index} failed, and no order to shut down followed`;
    unsound("order.missing", evidencePaths.record, why);
  }
}

/** No pair is completed between a shutdown that was obeyed and its release. */
function checkObeyed(orders: readonly PlacedOrder[], log: AuditedLog, record: AuditedRecord): void {
  for (const { order, digest, where } of orders) {
    const settledMs = settledOf(record, digest);
    if (order.action !== "shutdown" || settledMs === 0) continue;
    const released = orders
      .map((one) => one.order)
      .filter((one) => one.action === "release" && one.halt === digest);
    const untilMs = Math.min(...released.map(({ issuedMs }) => issuedMs - graceMs), Infinity);
    const at = log.completed.findIndex((ms) => ms > settledMs + graceMs && ms < untilMs);
    if (at < 0) continue;
    const why = `it was obeyed, and the pair at entry ${log.indices[at] ?? 0} was completed after it`;
    unsound("order.ignored", where, why);
  }
}
