/**
 * The audit of an evidence bundle, spec/evidence.md: offline, with the public keys of the two parties and nothing else.
 * Thirteen steps in a fixed order; the first thing that is wrong is named, and what could not be checked is said. Pure:
 * bytes in, a report out.
 *
 *   1 manifest   2 trust root   3 whitelists   4 device   5 checkpoint   6 log   7 entries   8 rounds
 *   9 boots      10 pairs       11 commitments 12 verdicts  13 orders
 *
 * Recomputing the disclosed pairs on a model is the caller's (bin/audit.ts), with what `pairs` gives.
 */
import { sha256Hex } from "../base/hash.ts";
import { epsilonOf } from "../format/draw.ts";
import {
  manifestPath,
  missingFile,
  parseEvidenceManifest,
  type EvidenceManifest,
  type RecordedVerdict,
} from "../format/evidence.ts";
import type { VerifiedOrder } from "../format/order.ts";
import type { NoteKey } from "../format/note.ts";
import {
  auditBoots,
  auditCommits,
  auditPairs,
  type AuditedBoots,
  type AuditedPair,
} from "./audit-claims.ts";
import { held, Unsound, unsound } from "./audit-failure.ts";
import { auditCheckpoints, auditEntries, type AuditedLog } from "./audit-log.ts";
import { auditOrders, auditRecord, type AuditedRecord } from "./audit-record.ts";
import {
  auditDevice,
  auditRoots,
  auditWhitelists,
  fileOf,
  type AuditedDevice,
  type AuditedWhitelist,
  type Files,
  type Parties,
} from "./audit-trust.ts";

export interface AuditOptions {
  /** The key of the gateway's log, when the inspector has it from elsewhere. */
  readonly log?: NoteKey | null;
  /** Smallest epsilon that the parties agreed to; 0 to 1. */
  readonly epsilonMin?: number;
  readonly progress?: (done: number, of: number) => void;
}

export interface AuditFailure {
  /** Stable and dotted: `round.secret`. */
  readonly code: string;
  readonly where: string;
  readonly why: string;
}

export interface AuditReport {
  /** Null: nothing is wrong with what could be checked. */
  readonly failure: AuditFailure | null;
  /** What held, a line a step, in words. */
  readonly held: readonly string[];
  /** What could not be checked, and why. */
  readonly unchecked: readonly string[];
  /** Disclosed pairs that are in the log: what a model can be asked about. Empty after a failure. */
  readonly pairs: readonly AuditedPair[];
  /** Verdicts by where their pairs stand. Empty after a failure, or without a record. */
  readonly verdicts: ReadonlyMap<number, RecordedVerdict>;
  readonly figures: {
    readonly gateway: string;
    readonly entries: number;
    readonly pairs: number;
    readonly rounds: number;
    readonly kept: number;
    readonly verdicts: number;
    readonly fails: number;
  };
}

/** Collects what held and what could not be checked while the steps go by. */
class Findings {
  readonly held: string[] = [];
  readonly unchecked: string[] = [];
  pairs: readonly AuditedPair[] = [];
  verdicts: readonly RecordedVerdict[] = [];
  figures = { gateway: "", entries: 0, pairs: 0, rounds: 0, kept: 0, verdicts: 0, fails: 0 };

  not(condition: boolean, words: string): void {
    if (condition) this.unchecked.push(words);
  }
}

function auditManifest(files: Files): EvidenceManifest {
  const bytes = fileOf(files, manifestPath);
  const manifest = held("manifest.format", manifestPath, () => parseEvidenceManifest(bytes));
  const missing = missingFile(manifest);
  if (missing !== null) unsound("manifest.missing", missing, "the manifest does not name it");
  for (const { path, bytes: size, sha256 } of manifest.files) {
    const content = fileOf(files, path);
    if (content.length !== size) {
      unsound("manifest.size", path, `it has ${content.length} bytes, the manifest says ${size}`);
    }
    if (sha256Hex(content) !== sha256) {
      unsound("manifest.digest", path, "it is not the file that the manifest names");
    }
  }
  const named = new Set([manifestPath, ...manifest.files.map(({ path }) => path)]);
  const stray = [...files.keys()].sort().find((path) => !named.has(path));
  if (stray !== undefined) unsound("manifest.unlisted", stray, "the manifest does not name it");
  return manifest;
}

function count(n: number, one: string, many = `${one}s`): string {
  return `${n} ${n === 1 ? one : many}`;
}

/** Steps 5 to 8. */
function stepLog(
  files: Files,
  device: AuditedDevice,
  lists: readonly AuditedWhitelist[],
  parties: Parties,
  options: AuditOptions,
  to: Findings,
): AuditedLog {
  const checkpoints = auditCheckpoints(files, device.log, parties);
  const { last, earlier } = checkpoints;
  const size = count(last.size, "entry", "entries");
  to.held.push(
    `checkpoint: ${size}, signed by ${last.origin} and cosigned by both parties' witnesses`,
  );
  const { epsilonMin = 0, progress } = options;
  const log = auditEntries(files, checkpoints, lists, {
    epsilonMin,
    ...(progress === undefined ? {} : { progress }),
  });
  const { rounds, tail, unlisted, boots } = log;
  const before =
    earlier.size === 0 ? "" : `, and to that of ${count(earlier.size, "earlier checkpoint")}`;
  to.held.push(`log: all entries hash to its root${before}`);
  to.held.push(
    `entries: ${count(log.pairs, "pair")} of whitelisted models, no tag twice, ${count(boots.length, "start")}`,
  );
  to.not(tail > 0, `${count(tail, "entry", "entries")} behind the checkpoint: not cosigned`);
  to.not(
    unlisted > 0,
    `the whitelist that was in force after ${count(unlisted, "start")}: not named in the log, or not in the bundle; every whitelist here was taken instead`,
  );
  const kept = rounds.kept.length;
  Object.assign(to.figures, { entries: log.size, pairs: log.pairs, rounds: rounds.revealed, kept });
  if (rounds.last === 0n) {
    to.not(log.pairs > 0, "the coins: this log has no rounds of the joint draw");
  } else {
    const lowest = Math.min(
      ...[...rounds.opens.values()].map(({ threshold }) => epsilonOf(threshold)),
    );
    to.held.push(
      `rounds: ${rounds.revealed} of ${rounds.last} revealed as committed, their coins kept ${count(kept, "pair")}; smallest epsilon ${lowest}`,
    );
    to.not(
      rounds.waiting > 0,
      `the coins of ${count(rounds.waiting, "pair")}: their round is not revealed yet`,
    );
    to.not(epsilonMin === 0, "whether epsilon is what was agreed: none was named (--epsilon-min)");
  }
  return log;
}

function tellBoots(
  boots: AuditedBoots,
  device: AuditedDevice,
  log: AuditedLog,
  to: Findings,
): void {
  const whose =
    device.device === null ? "one device key" : "the device that both parties' ceremony made";
  to.held.push(`boots: ${count(log.boots.length, "start")} of ${whose}`);
  to.not(
    device.device === null,
    "that the log's key is this gateway's: no ceremony is in the bundle",
  );
  to.not(boots.unmeasured > 0, `what ran after ${count(boots.unmeasured, "start")}: not measured`);
  to.not(
    boots.unknown > 0,
    `what ran after ${count(boots.unknown, "start")}: its boot manifest is not in the bundle`,
  );
  to.not(!boots.chain, "the boot chain of the newest start: not in the bundle");
}

function tellRecord(
  record: AuditedRecord | null,
  orders: readonly VerifiedOrder[],
  rounds: AuditedLog["rounds"],
  to: Findings,
): void {
  if (record === null) {
    to.not(true, "verdicts: the bundle holds no record of a recomputer");
    return;
  }
  const { verdicts, fails, pending, excused, beyond } = record;
  Object.assign(to.figures, { verdicts: verdicts.length, fails: fails.length });
  to.held.push(
    `verdicts: ${verdicts.length}, ${fails.length} of them FAIL; no pair that a coin kept lacks one${
      excused === 0 ? "" : ` but ${excused}, which crashes may explain`
    }`,
  );
  to.held.push(
    `orders: ${count(orders.length, "order or release", "orders and releases")}, each signed by who may give it`,
  );
  to.not(pending > 0, `verdicts of ${count(pending, "kept pair")}: too new to have one`);
  to.not(beyond > 0, `${count(beyond, "verdict")} about entries behind the checkpoint`);
  to.not(
    rounds.last > 0n && excused > 0,
    `${count(excused, "kept pair")} lost in crashes: nobody recomputed them`,
  );
}

function audit(files: Files, parties: Parties, options: AuditOptions, to: Findings): void {
  const manifest = auditManifest(files);
  const { gateway } = manifest;
  to.figures.gateway = gateway;
  to.held.push(
    `manifest: ${count(manifest.files.length, "file")} of gateway ${gateway}, each as named`,
  );
  const roots = auditRoots(files, parties);
  to.held.push(`trust root: ${count(roots.length, "version")}, from keys of both parties on`);
  const lists = auditWhitelists(files, roots);
  to.held.push(`whitelist: ${count(lists.length, "list")}, signed by enough keys of both parties`);
  const device = auditDevice(files, gateway, parties, options.log ?? null);
  const log = stepLog(files, device, lists, parties, options, to);
  tellBoots(auditBoots(files, gateway, parties, log, device), device, log, to);
  const pairs = auditPairs(files, log, lists);
  if (pairs.length > 0)
    to.held.push(`pairs: ${count(pairs.length, "disclosed pair")}, each as its leaf commits to it`);
  const signed = auditCommits(files, gateway, parties, log);
  if (signed > 0) to.held.push(`commitments: of ${count(signed, "round")}, signed by both parties`);
  const lacking = log.rounds.opens.size - signed;
  to.not(
    lacking > 0,
    `the parties' own signatures on the commitments of ${count(lacking, "round")}: not in the bundle; each witness refuses to cosign a commitment that is not its party's`,
  );
  const record = auditRecord(files, gateway, device.log.name, parties, log, pairs);
  const orders = auditOrders(files, gateway, parties, log, record);
  tellRecord(record, orders, log.rounds, to);
  to.pairs = pairs;
  to.verdicts = record?.verdicts ?? [];
}

/**
 * Audits a bundle: its files by their paths, `manifest.json` among them. Never throws for bad bytes. The parties' key
 * files must have been checked (`checkParties`).
 */
export function auditBundle(
  files: Files,
  parties: Parties,
  options: AuditOptions = {},
): AuditReport {
  const to = new Findings();
  try {
    audit(files, parties, options, to);
    const { held: lines, unchecked, pairs, figures } = to;
    const verdicts = new Map(to.verdicts.map((verdict) => [verdict.index, verdict]));
    return { failure: null, held: lines, unchecked, pairs, verdicts, figures };
  } catch (error) {
    if (!(error instanceof Unsound)) throw error;
    const { code, where, message } = error;
    const { held: lines, unchecked, figures } = to;
    const failure = { code, where, why: message };
    return { failure, held: lines, unchecked, pairs: [], verdicts: new Map(), figures };
  }
}
