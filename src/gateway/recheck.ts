/**
 * A recheck order: every complete pair that the ring still holds and that was not sent goes to the
 * recomputer, oldest first. Paced by the outbox, of which it takes at most half, so that serving goes
 * on; what the outbox knows is passed over, so a restart in the middle loses and repeats nothing.
 *
 * The ring is read as a stream: a pair is whole at its coin, which comes after its leaf. A pair whose
 * coin is still to come is drawn as ever. What the ring forgets before it is read cannot be sent, and
 * is counted: `lost`.
 */
import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/report.ts";
import type { RingRecord } from "../format/ring-block.ts";
import type { Tag } from "../format/tag.ts";
import { proofOf, Recorded } from "./recover.ts";
import type { GatewayStore, OutboxItem, StoredRecheck } from "./store.port.ts";
import type { SaltOf } from "./tag.ts";

/** Put into the outbox at one time: pairs, and bytes beyond which no further one is added. */
const batchPairs = 32;
const batchBytes = 1_048_576;
/** How long to wait for room in the outbox before looking again; milliseconds. */
const waitMs = 200;

interface Pass {
  readonly sent: number;
  readonly lost: number;
  readonly undrawn: boolean;
}

export interface RecheckOptions {
  readonly store: GatewayStore;
  readonly saltOf: SaltOf;
  readonly clock: Clock;
  readonly logger: Logger;
  /** The outbox has new items. */
  readonly onSent: () => void;
  /** Storage failed: nothing may go on. */
  readonly onFatal: (error: Error) => void;
}

export class Recheck {
  readonly #o: RecheckOptions;
  #running: Promise<void> | null = null;
  /** A newer order came while one was being carried out. */
  #again = false;
  #stopped = false;

  constructor(options: RecheckOptions) {
    this.#o = options;
  }

  /** Carries out the order that stands, if it is not done. To be called at start and at each order. */
  start(): void {
    if (this.#running !== null) {
      this.#again = true;
      return;
    }
    const order = this.#o.store.state.recheck;
    if (order === null || order.done || this.#stopped) return;
    this.#running = this.#run(order).then(
      () => {
        this.#running = null;
        if (!this.#again) return;
        this.#again = false;
        this.start();
      },
      (error: unknown) => {
        this.#o.onFatal(error instanceof Error ? error : new Error(String(error)));
      },
    );
  }

  /** Stops where it is; the next start goes on. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
  }

  #superseded(order: StoredRecheck): boolean {
    return this.#stopped || this.#o.store.state.recheck?.digest !== order.digest;
  }

  async #run(order: StoredRecheck): Promise<void> {
    const { store, logger, clock } = this.#o;
    const { ring, state } = store;
    for (let undrawn = order.of === null; ;) {
      // Coins wait in memory for the next commit, and there may be none for long.
      await ring.commit();
      const known = state.recheck ?? order;
      // A coin that came meanwhile may have kept its pair: then it is not for this order to send.
      const progress = undrawn ? await this.#counted(known) : known;
      if (progress === null) return;
      const pass = await this.#pass(progress);
      if (pass === null || this.#superseded(order)) return;
      const { sent, lost } = pass;
      undrawn = pass.undrawn;
      if (!undrawn) {
        await state.change({ recheck: { ...progress, sent, lost, done: true } });
        const forgotten = ring.status().pairsForgotten;
        logger.log("warn", "gateway.rechecked", { sent, lost, forgotten });
        return;
      }
      await new Promise<void>((resolve) => void clock.after(waitMs, resolve));
    }
  }

  /**
   * How much there is to send, those whose coin is still to come among it. null: no longer the order that
   * stands.
   */
  async #counted(order: StoredRecheck): Promise<StoredRecheck | null> {
    const { ring, log, state, outbox } = this.#o.store;
    const undrawn = new Set<Tag>();
    let of = order.sent;
    for await (const { kind, tag, payload } of ring.read()) {
      if (this.#superseded(order)) return null;
      if (tag > order.through || outbox.knows(tag)) continue;
      if (kind === "input") undrawn.add(tag);
      if (kind !== "coin") continue;
      undrawn.delete(tag);
      if (payload[0] !== 1) of++;
    }
    if (this.#superseded(order)) return null;
    for (const tag of undrawn) if (log.find(tag) !== null) of++;
    const counted = { ...order, of };
    await state.change({ recheck: counted });
    return counted;
  }

  /** Reads the ring once. null: no longer the order that stands. `undrawn`: a logged pair has no coin yet. */
  async #pass(order: StoredRecheck): Promise<Pass | null> {
    const { ring, log, state, outbox } = this.#o.store;
    const pairs = new Map<Tag, Recorded>();
    let [sent, lost] = [order.sent, 0];
    let batch: OutboxItem[] = [];
    let bytes = 0;
    const flush = async (): Promise<boolean> => {
      if (!(await this.#put(order, batch, bytes))) return false;
      sent += batch.length;
      [batch, bytes] = [[], 0];
      await state.change({ recheck: { ...order, sent, lost } });
      return true;
    };
    for await (const record of ring.read()) {
      if (this.#superseded(order)) return null;
      const done = take(pairs, record);
      if (done === null || record.tag > order.through || outbox.knows(record.tag)) continue;
      const item =
        done === "headless" ? null : await proofOf(log, done.done(), this.#o.saltOf, true);
      if (item === null) {
        lost++;
        continue;
      }
      batch.push(item);
      bytes += item.request.length;
      if ((batch.length >= batchPairs || bytes >= batchBytes) && !(await flush())) return null;
    }
    if (!(await flush())) return null;
    const left = [...pairs.keys()].filter((tag) => tag <= order.through);
    return { sent, lost, undrawn: left.some((tag) => log.find(tag) !== null) };
  }

  /** Waits for room, then puts a batch. False when the order is no longer the one that stands. */
  async #put(order: StoredRecheck, batch: readonly OutboxItem[], bytes: number): Promise<boolean> {
    const { outbox } = this.#o.store;
    if (batch.length === 0) return !this.#superseded(order);
    const half = Math.max(batch.length, Math.floor(outbox.capacity / 2));
    // Twice the bytes: as much again has to be left for pairs that coins keep.
    while (outbox.waiting + batch.length > half || !outbox.roomFor(batch.length, 2 * bytes)) {
      if (this.#superseded(order)) return false;
      await new Promise<void>((resolve) => void this.#o.clock.after(waitMs, resolve));
    }
    if (this.#superseded(order)) return false;
    outbox.put(batch);
    this.#o.onSent();
    return true;
  }
}

/** The pair that a record makes whole: at its coin. `headless`: the ring has forgotten its beginning. */
function take(pairs: Map<Tag, Recorded>, record: RingRecord): Recorded | "headless" | null {
  const { kind, tag } = record;
  const pair = pairs.get(tag);
  if (kind === "input") pairs.set(tag, new Recorded(tag, record.payload));
  else if (kind !== "coin") pair?.add(record);
  else {
    pairs.delete(tag);
    // A coin that kept it sends it: now, soon, or at the next start (keep.ts, recover.ts).
    return record.payload[0] === 1 ? null : (pair ?? "headless");
  }
  return null;
}
