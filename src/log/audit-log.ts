/**
 * The audit's checks of the log itself: checkpoints and cosignatures, earlier checkpoints against the entries, the root,
 * and the rules that entries keep. One pass over the entries; of each rule the first breach is told.
 */
import { InvalidError } from "../base/assert.ts";
import { leafHash, MerkleFrontier } from "../base/merkle.ts";
import { openCheckpoint, parseCheckpoint, type SignedCheckpoint } from "../format/checkpoint.ts";
import { cosignatureOf } from "../format/cosignature.ts";
import { evidencePaths, isNumbered } from "../format/evidence.ts";
import { decodeLogEntry, leafBytes, type BootEntry, type LogEntry } from "../format/leaf.ts";
import { parseNote, signaturesOf, type NoteKey } from "../format/note.ts";
import { tagEpoch } from "../format/tag.ts";
import { held, unsound } from "./audit-failure.ts";
import { AuditRounds, roundCodes } from "./audit-rounds.ts";
import { fileOf, type AuditedWhitelist, type Files, type Parties } from "./audit-trust.ts";

function readCheckpoint(files: Files, path: string, log: NoteKey): SignedCheckpoint {
  const bytes = fileOf(files, path);
  const note = held("checkpoint.format", path, () => parseNote(bytes));
  const { origin } = held("checkpoint.format", path, () => parseCheckpoint(note.text));
  if (origin !== log.name) {
    unsound("checkpoint.origin", path, `it is of the log ${origin}, not of ${log.name}`);
  }
  const own = held("checkpoint.signature", path, () => signaturesOf(note, log));
  if (own.length === 0) unsound("checkpoint.signature", path, "the log's key did not sign it");
  return openCheckpoint(bytes, log);
}

/** Step 5: the checkpoint with the cosignatures of both parties, and earlier ones, which the log's key signed. */
export function auditCheckpoints(
  files: Files,
  log: NoteKey,
  { a, b }: Parties,
): { readonly last: SignedCheckpoint; readonly earlier: Map<string, SignedCheckpoint> } {
  const path = evidencePaths.checkpoint;
  const last = readCheckpoint(files, path, log);
  for (const { party, witness } of [a, b]) {
    const found = witness.map((key) =>
      held("checkpoint.cosignature", path, () => cosignatureOf(last.note, key)),
    );
    if (found.some((cosignature) => cosignature !== null)) continue;
    const why = `the witness of party ${party.toUpperCase()} did not cosign it`;
    unsound("checkpoint.cosignature", path, why);
  }
  const earlier = new Map<string, SignedCheckpoint>();
  for (const one of files.keys()) {
    if (isNumbered("earlier", one)) earlier.set(one, readCheckpoint(files, one, log));
  }
  return { last, earlier };
}

/** What the entries say, once their rules hold. */
export interface AuditedLog {
  readonly size: number;
  readonly entries: Buffer;
  /** Entries behind the checkpoint, which nobody cosigned. */
  readonly tail: number;
  readonly pairs: number;
  readonly boots: readonly (BootEntry & { readonly index: number })[];
  readonly rounds: AuditRounds;
  /** When each pair was completed, in the order of the log; and where it stands. */
  readonly completed: Float64Array;
  readonly indices: Uint32Array;
  /** Starts whose whitelist the bundle does not hold, or that name none. */
  readonly unlisted: number;
}

/** The bytes of one entry. */
export function entryAt(entries: Buffer, index: number): Buffer {
  return entries.subarray(index * leafBytes, (index + 1) * leafBytes);
}

const path = evidencePaths.entries;
const at = (index: number): string => `${path}, entry ${index}`;

class Walk {
  readonly #lists: readonly AuditedWhitelist[];
  readonly #known: ReadonlySet<string>;
  readonly rounds: AuditRounds;
  readonly boots: (BootEntry & { readonly index: number })[] = [];
  readonly tags: BigUint64Array;
  readonly indices: Uint32Array;
  readonly completed: Float64Array;
  pairs = 0;
  unlisted = 0;
  #list: AuditedWhitelist | null = null;
  #models: ReadonlySet<string>;
  readonly #faults = new Map<string, { readonly index: number; readonly why: string }>();

  constructor(size: number, lists: readonly AuditedWhitelist[], epsilonMin: number) {
    this.#lists = lists;
    this.#known = new Set(lists.flatMap(modelsOf));
    this.#models = this.#known;
    this.rounds = new AuditRounds(epsilonMin);
    this.tags = new BigUint64Array(size);
    this.indices = new Uint32Array(size);
    this.completed = new Float64Array(size);
  }

  fault(code: string, index: number, why: string): void {
    if (!this.#faults.has(code)) this.#faults.set(code, { index, why });
  }

  entry(entry: LogEntry, index: number): void {
    switch (entry.kind) {
      case "pair":
        this.#pair(entry, index);
        return;
      case "boot":
        this.#boot(entry, index);
        return;
      case "round-open":
        this.rounds.opened(entry, index);
        return;
      case "round-reveal":
        this.rounds.reveal(entry, index);
        return;
    }
  }

  #boot(boot: BootEntry, index: number): void {
    const before = this.boots.at(-1);
    if (before !== undefined && boot.epoch <= before.epoch) {
      this.fault("entry.boot", index, `epoch ${boot.epoch} begins after epoch ${before.epoch}`);
    }
    const digest = boot.whitelist.toString("hex");
    this.#list = this.#lists.find(({ fileDigest }) => fileDigest === digest) ?? null;
    this.#models = this.#list === null ? this.#known : new Set(modelsOf(this.#list));
    if (this.#list === null) this.unlisted++;
    this.boots.push({ ...boot, index });
  }

  #pair(pair: Extract<LogEntry, { readonly kind: "pair" }>, index: number): void {
    const boot = this.boots.at(-1);
    const epoch = tagEpoch(pair.tag);
    if (boot === undefined) this.fault("entry.boot", index, "a pair stands before any start");
    else if (epoch !== boot.epoch) {
      const why = `a pair of epoch ${epoch} stands in epoch ${boot.epoch}`;
      this.fault("entry.boot", index, why);
    }
    const model = pair.entryDigest.toString("latin1");
    if (!this.#models.has(model)) {
      const digest = pair.entryDigest.toString("hex");
      const list = this.#list === null ? "no whitelist here" : this.#list.path;
      this.fault("entry.model", index, `the pair's model entry ${digest} stands in ${list}`);
    }
    if (boot !== undefined && this.#list !== null && boot.atMs >= this.#list.overMs) {
      this.fault(
        "entry.expired",
        index,
        `a pair was served after a start at ${boot.atMs} ms, and ${this.#list.path} was over at ${this.#list.overMs} ms`,
      );
    }
    this.tags[this.pairs] = pair.tag;
    this.indices[this.pairs] = index;
    this.completed[this.pairs] = pair.completedMs;
    this.pairs++;
    this.rounds.pair(pair.tag, index);
  }

  /** Tags name one pair for ever: the first entry whose tag another before it has. */
  #twice(): void {
    const tags = this.tags.subarray(0, this.pairs);
    const sorted = tags.slice().sort();
    const twice = new Set<bigint>();
    for (let i = 1; i < sorted.length; i++) {
      if (sorted[i] === sorted[i - 1]) twice.add(sorted[i] ?? 0n);
    }
    if (twice.size === 0) return;
    const seen = new Set<bigint>();
    const second = tags.findIndex((tag) => {
      if (!twice.has(tag)) return false;
      if (seen.has(tag)) return true;
      seen.add(tag);
      return false;
    });
    const tag = (tags[second] ?? 0n).toString(16).padStart(16, "0");
    this.fault("entry.tag", this.indices[second] ?? 0, `the tag ${tag} stands here a second time`);
  }

  /** Throws the first fault, by the order of the checks. */
  end(): void {
    this.#twice();
    this.rounds.end();
    for (const { code, index, why } of this.rounds.faults) this.fault(code, index, why);
    for (const code of [...entryCodes, ...roundCodes]) {
      const fault = this.#faults.get(code);
      if (fault !== undefined) unsound(code, at(fault.index), fault.why);
    }
  }
}

const entryCodes = ["entry.format", "entry.boot", "entry.tag", "entry.model", "entry.expired"];

function modelsOf({ entries }: AuditedWhitelist): string[] {
  return entries.map(({ digest }) => digest.toString("latin1"));
}

/** Roots that earlier checkpoints demand, by size. */
function demandsOf(
  last: SignedCheckpoint,
  earlier: Map<string, SignedCheckpoint>,
): Map<number, [string, Buffer][]> {
  const demands = new Map<number, [string, Buffer][]>();
  for (const [name, { size, root }] of earlier) {
    if (size > last.size) {
      unsound("log.earlier", name, `it has ${size} entries, more than ${evidencePaths.checkpoint}`);
    }
    demands.set(size, [...(demands.get(size) ?? []), [name, root]]);
  }
  return demands;
}

/** Steps 6 to 8: size, roots, entries, rounds. `progress`: told now and then how many entries are done. */
export function auditEntries(
  files: Files,
  checkpoints: ReturnType<typeof auditCheckpoints>,
  lists: readonly AuditedWhitelist[],
  options: { readonly epsilonMin: number; readonly progress?: (done: number, of: number) => void },
): AuditedLog {
  const { last, earlier } = checkpoints;
  const entries = fileOf(files, path);
  const count = Math.floor(entries.length / leafBytes);
  if (entries.length % leafBytes !== 0) unsound("log.size", path, "it does not end with an entry");
  if (count < last.size) {
    unsound("log.size", path, `it has ${count} entries, the checkpoint ${last.size}`);
  }
  const demands = demandsOf(last, earlier);
  const frontier = new MerkleFrontier();
  const walk = new Walk(last.size, lists, options.epsilonMin);
  let readable = true;
  for (let index = 0; index <= last.size; index++) {
    for (const [name, root] of demands.get(index) ?? []) {
      if (frontier.root().equals(root)) continue;
      const why = `the gateway signed another root over the first ${index} entries: its log forked`;
      unsound("log.earlier", name, why);
    }
    if (index === last.size) break;
    const bytes = entryAt(entries, index);
    frontier.append(leafHash(bytes));
    if (readable) readable = readEntry(walk, bytes, index);
    if (index % 65_536 === 0) options.progress?.(index, last.size);
  }
  if (!frontier.root().equals(last.root)) {
    const found = frontier.root().toString("hex");
    unsound(
      "log.root",
      path,
      `the entries hash to ${found}, the checkpoint says ${last.root.toString("hex")}`,
    );
  }
  walk.end();
  const { pairs, boots, rounds, unlisted } = walk;
  return {
    ...{ size: last.size, entries, tail: count - last.size, pairs, boots, rounds, unlisted },
    completed: walk.completed.subarray(0, pairs),
    indices: walk.indices.subarray(0, pairs),
  };
}

/** Whether the entry could be read. */
function readEntry(walk: Walk, bytes: Buffer, index: number): boolean {
  let entry: LogEntry;
  try {
    entry = decodeLogEntry(bytes);
  } catch (error) {
    if (!(error instanceof InvalidError)) throw error;
    walk.fault("entry.format", index, error.message);
    return false;
  }
  walk.entry(entry, index);
  return true;
}
