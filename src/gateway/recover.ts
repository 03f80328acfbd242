/**
 * After a crash: what the ring still holds is joined to the leaf log and the outbox, so that every
 * pair that was begun gets its leaf, every leaf its coin, and every kept pair its place in the outbox.
 *
 *   no leaf             the pair is logged: complete if its END was recorded, else cut off
 *   leaf, no coin       the coin is drawn now (it was never known to anybody)
 *   leaf, coin "kept"   the pair goes into the outbox, unless the outbox knows it
 *   coin, no leaf       impossible by the order of writes: the leaf log was put back; refused
 *
 * Running it twice changes nothing, so a crash in the middle of it is harmless.
 */
import { InvalidError } from "../base/assert.ts";
import type { Clock } from "../base/clock.ts";
import { encodeLeaf, inputDigestOf, outputDigestOf } from "../format/leaf.ts";
import { decodeInput, encodeOutput, type Output } from "../format/pair.ts";
import { encodeProofRequest } from "../format/proof-request.ts";
import type { RingRecord } from "../format/ring-block.ts";
import type { Tag } from "../format/tag.ts";
import { PairAssembler } from "./pair.ts";
import type { GatewayStore, LeafLog, OutboxItem } from "./store.port.ts";
import type { SaltOf } from "./tag.ts";

/** What the ring has of one pair. */
export interface RecordedPair {
  readonly tag: Tag;
  readonly seed: bigint;
  /** The encoded Input, as admitted. */
  readonly input: Buffer;
  /** `finish` is what END said, or `cut-off` where no END was recorded. */
  readonly output: Output;
}

/** What is left to do; each list by rising tag. */
export interface Recovery {
  /** Begun, without a leaf. */
  readonly unlogged: readonly RecordedPair[];
  /** With a leaf, without a coin, and unknown to the outbox. */
  readonly undrawn: readonly RecordedPair[];
  /** With a leaf and a coin that says kept, but unknown to the outbox. */
  readonly unsent: readonly RecordedPair[];
  /** Records without their beginning, which the ring has forgotten, and not settled. */
  readonly forgotten: readonly Tag[];
}

/** One pair while the ring is read. */
export class Recorded {
  readonly tag: Tag;
  readonly seed: bigint;
  readonly input: Buffer;
  readonly #assembler: PairAssembler;
  #finish: Output["finish"] = "cut-off";
  #faulty = false;
  kept = false;

  /** `payload` = u64 seed + encoded Input. Throws InvalidError `pair.*`, `recover.input`. */
  constructor(tag: Tag, payload: Buffer) {
    if (payload.length < 8) throw new InvalidError("recover.input", "an input record is too short");
    this.tag = tag;
    this.seed = payload.readBigUInt64BE(0);
    this.input = Buffer.from(payload.subarray(8));
    this.#assembler = new PairAssembler(decodeInput(this.input).params.maxTokens);
  }

  /** A frame that the server should not have sent ends the pair there, as it did when it came. */
  add(record: RingRecord): void {
    if (this.#faulty) return;
    try {
      if (record.kind === "prompt") this.#assembler.prompt(record.payload);
      else if (record.kind === "tokens") this.#assembler.tokens(record.payload);
      else if (record.kind === "end") this.#finish = this.#assembler.end(record.payload);
    } catch (error) {
      if (!(error instanceof InvalidError)) throw error;
      this.#faulty = true;
    }
  }

  done(): RecordedPair {
    const output = this.#assembler.output(this.#finish);
    return { tag: this.tag, seed: this.seed, input: this.input, output };
  }
}

const byTag = (a: { readonly tag: Tag }, b: { readonly tag: Tag }): number =>
  a.tag < b.tag ? -1 : Number(a.tag > b.tag);

/**
 * Reads the ring's records, oldest first, and says what is left to do. Keeps in memory only pairs
 * that are not settled. Throws InvalidError `recover.log-behind` when a coin has no leaf,
 * `recover.*` and `pair.*` for an input record that no gateway of ours wrote.
 */
export async function recoverPairs(
  records: AsyncIterable<RingRecord> | Iterable<RingRecord>,
  hasLeaf: (tag: Tag) => boolean,
  outboxKnows: (tag: Tag) => boolean,
): Promise<Recovery> {
  const pairs = new Map<Tag, Recorded>();
  const headless = new Set<Tag>();
  for await (const record of records) {
    const { kind, tag } = record;
    if (kind === "coin") {
      if (!hasLeaf(tag)) {
        throw new InvalidError(
          "recover.log-behind",
          `the ring has a coin for tag ${tag.toString(16)}, but the leaf log has no such leaf`,
        );
      }
      const pair = pairs.get(tag);
      if (pair !== undefined && record.payload[0] === 1) pair.kept = true;
      else pairs.delete(tag);
      headless.delete(tag);
    } else if (hasLeaf(tag) && outboxKnows(tag)) {
      continue;
    } else if (kind === "input") {
      if (pairs.has(tag)) throw new InvalidError("recover.twice", "a tag has two input records");
      pairs.set(tag, new Recorded(tag, record.payload));
    } else {
      const pair = pairs.get(tag);
      if (pair === undefined) headless.add(tag);
      else pair.add(record);
    }
  }
  const all = [...pairs.values()].sort(byTag);
  const pick = (wanted: (pair: Recorded) => boolean): RecordedPair[] =>
    all.filter(wanted).map((pair) => pair.done());
  return {
    unlogged: pick(({ tag }) => !hasLeaf(tag)),
    undrawn: pick(({ tag, kept }) => hasLeaf(tag) && !kept),
    unsent: pick(({ tag, kept }) => hasLeaf(tag) && kept),
    forgotten: [...headless].sort((a, b) => (a < b ? -1 : 1)),
  };
}

export interface RecoverOptions {
  readonly store: GatewayStore;
  /** Digest of the whitelist entry under which unlogged pairs were served. */
  readonly entryDigest: Buffer;
  readonly clock: Clock;
  readonly saltOf: SaltOf;
  /** The coin of the pair whose leaf stands at `index`: true keeps it. */
  readonly keep: (tag: Tag, index: bigint) => boolean;
}

/** What recovery did, in numbers; `forgotten` and `unprovable` name pairs that nobody can prove. */
export interface Recovered {
  readonly completed: number;
  readonly cutOff: number;
  readonly drawn: number;
  readonly kept: number;
  readonly forgotten: readonly Tag[];
  /** Pairs with a leaf that the ring does not hold whole: their leaf went to disk, the rest did not. */
  readonly unprovable: readonly Tag[];
}

async function appendLeaves(
  options: RecoverOptions,
  pairs: readonly RecordedPair[],
): Promise<void> {
  const { log } = options.store;
  for (const { tag, seed, input, output } of pairs) {
    const leaf = encodeLeaf({
      tag,
      completedMs: options.clock.wallMs(),
      seed,
      entryDigest: options.entryDigest,
      inputDigest: inputDigestOf(options.saltOf(tag), input),
      outputDigest: outputDigestOf(options.saltOf(tag), encodeOutput(output)),
      finish: output.finish,
      tokens: output.tokenIds.length,
    });
    log.append(leaf);
  }
  await log.commit();
}

/**
 * The proof request of a logged pair; null when its leaf does not commit to what the ring holds.
 * `rechecked`: it is sent by a recheck order, not by its coin.
 */
export async function proofOf(
  log: LeafLog,
  pair: RecordedPair,
  saltOf: SaltOf,
  rechecked = false,
): Promise<OutboxItem | null> {
  const { tag, input } = pair;
  const leafIndex = log.find(tag);
  if (leafIndex === null) return null;
  const leaf = await log.read(leafIndex);
  const output = encodeOutput({ ...pair.output, finish: leaf.finish });
  const salt = saltOf(tag);
  if (!inputDigestOf(salt, input).equals(leaf.inputDigest)) return null;
  if (!outputDigestOf(salt, output).equals(leaf.outputDigest)) return null;
  const request = { leafIndex, leaf: encodeLeaf(leaf), input, output };
  const marked = rechecked ? { ...request, rechecked } : request;
  return { tag, request: encodeProofRequest(marked) };
}

/**
 * Brings ring, log and outbox into step after a start, in the order of the live path: leaves
 * durable, coins drawn, kept pairs into the outbox, coins into the ring. To be called before the first
 * pair is admitted. Throws what `recoverPairs`, the store and `keep` throw; then nothing may be served.
 */
export async function recoverStore(options: RecoverOptions): Promise<Recovered> {
  const { ring, log, outbox } = options.store;
  const found = await recoverPairs(
    ring.read(),
    (tag) => log.find(tag) !== null,
    (tag) => outbox.knows(tag),
  );
  await appendLeaves(options, found.unlogged);
  const kept: OutboxItem[] = [];
  const unprovable: Tag[] = [];
  const coins: { tag: Tag; keep: boolean }[] = [];
  for (const pair of [...found.unlogged, ...found.undrawn].sort(byTag)) {
    const item = await proofOf(log, pair, options.saltOf);
    const index = log.find(pair.tag);
    const keep = item !== null && index !== null && options.keep(pair.tag, index);
    if (item === null) unprovable.push(pair.tag);
    else if (keep) kept.push(item);
    coins.push({ tag: pair.tag, keep });
  }
  for (const pair of found.unsent) {
    const item = await proofOf(log, pair, options.saltOf);
    if (item === null) unprovable.push(pair.tag);
    else kept.push(item);
  }
  if (kept.length > 0) outbox.put(kept, true);
  for (const { tag, keep } of coins) ring.add("coin", tag, Buffer.of(keep ? 1 : 0));
  await ring.commit();
  const cutOff = found.unlogged.filter((pair) => pair.output.finish === "cut-off").length;
  return {
    completed: found.unlogged.length - cutOff,
    cutOff,
    drawn: coins.length,
    kept: kept.length,
    forgotten: found.forgotten,
    unprovable,
  };
}
