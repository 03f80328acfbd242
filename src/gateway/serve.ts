/**
 * The pair path, in the order in which a pair is processed:
 *
 *   1. admit    parse the input, check it against the whitelist entry          admit.ts
 *   2. tag      a strictly increasing tag, and with it the seed                tag.ts
 *   3. forward  GENERATE to the server; the same bytes go into the ring
 *   4. pair     PROMPT, TOKENS, END of the server are joined to the input      pair.ts
 *   5. commit   at the tick: everything that came is in the ring, durable
 *   6. release  only then: bytes to the router; then the leaves of complete pairs  release.ts
 *   7. sample   the coin, after the leaf is in the log; kept pairs go out  sample.ts, keep.ts, prove.ts
 *
 * Time: replies leave only on the grid of the release tick, so no byte leaves unrecorded and
 * timing carries at most one symbol per tick. A tick with nothing to do is not armed.
 */
import { assert, InvalidError } from "../base/assert.ts";
import type { Clock, Timer } from "../base/clock.ts";
import { limits } from "../base/limits.ts";
import type { Logger } from "../base/report.ts";
import { frameType, type Frame } from "../format/link.ts";
import type { FinishReason } from "../format/pair.ts";
import { encodeRefused, type Abort } from "../format/router-link.ts";
import { decodeFailed } from "../format/server-link.ts";
import { asTag, type Tag } from "../format/tag.ts";
import type { WhitelistEntry } from "../format/whitelist.ts";
import type { Wire } from "../format/wire.ts";
import { admit } from "./admit.ts";
import { KeptPairs } from "./keep.ts";
import { leafOf, requestOf, type LoggedLeaf, type OpenPair, type Part } from "./open-pair.ts";
import { PairAssembler } from "./pair.ts";
import { release } from "./release.ts";
import type { Sampler } from "./sample.ts";
import { EndedTags, FailureWindow, type FailedShare } from "./server-record.ts";
import type { GatewayStore, OutboxItem, RingKind } from "./store.port.ts";
import type { Tagger } from "./tag.ts";

export interface PairPathOptions {
  readonly entry: WhitelistEntry;
  readonly store: GatewayStore;
  readonly tagger: Tagger;
  readonly sampler: Sampler;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly tickMs: number;
  /** Longest life of a pair; milliseconds. */
  readonly pairDeadlineMs: number;
  /** The server broke protocol: the caller cuts its power. */
  readonly onMisbehaviour: (why: string) => void;
  /** The share of its last pairs that the server failed went over a half (or back under it). */
  readonly onServerFails: (share: FailedShare) => void;
  /** Storage or the generator failed: the caller cuts power and stops. */
  readonly onFatal: (error: Error) => void;
  /** The outbox has new items. */
  readonly onKept: () => void;
}

export interface PairCounts {
  logged: number;
  sampled: number;
  cutOff: number;
  tokens: number;
}

export class PairPath {
  readonly counts: PairCounts = { logged: 0, sampled: 0, cutOff: 0, tokens: 0 };
  readonly #o: PairPathOptions;
  readonly #kept: KeptPairs;
  readonly #open = new Map<Tag, OpenPair>();
  readonly #byRequest = new Map<Wire, Map<bigint, OpenPair>>();
  /** Released, leaf and coin still due: they may yet want a place in the outbox. */
  readonly #undrawn = new Set<Tag>();
  /** Pairs that ended here while the server may still be sending: its frames for them are dropped. */
  readonly #ended = new EndedTags();
  /** What the server made of its last pairs. */
  readonly #failures = new FailureWindow();
  /** Bytes added to the ring since its last commit, and how many may be. */
  #batchBytes = 0;
  readonly #batchBytesMax: number;
  #dirty: OpenPair[] = [];
  #server: Wire | null = null;
  #tick: Timer | null = null;
  #committing = false;
  /** Storage or the generator failed: nothing leaves any more, not even in an orderly stop. */
  #dead = false;
  /** Something arrived during a commit: another tick is due. */
  #again = false;
  #lastTickMs = 0;

  constructor(options: PairPathOptions) {
    this.#o = options;
    const { store, clock, onKept } = options;
    this.#batchBytesMax = Math.floor(store.ring.status().capacity / ringShare);
    this.#kept = new KeptPairs(store.outbox, clock, onKept, (error) => {
      this.#fail(error);
    });
  }

  #fail(error: unknown): void {
    this.#dead = true;
    this.#o.onFatal(error instanceof Error ? error : new Error(String(error)));
  }

  get inflight(): number {
    return this.#open.size;
  }

  isOpen(tag: Tag): boolean {
    return this.#open.has(tag) || this.#undrawn.has(tag);
  }

  /** Whether it is released and has its coin still to come: a matter of milliseconds. */
  isUndrawn(tag: Tag): boolean {
    return this.#undrawn.has(tag);
  }

  /** Whether it was kept and is not in the outbox yet. */
  isKept(tag: Tag): boolean {
    return this.#kept.has(tag);
  }

  /** The outbox must have room for every pair that is open: none may ever be dropped. */
  get hasRoom(): boolean {
    const { outbox } = this.#o.store;
    return (
      !this.#dead &&
      this.#open.size < limits.gatewayInflight &&
      outbox.waiting + this.#kept.size + this.#undrawn.size + this.#open.size < outbox.capacity
    );
  }

  /** The server is loaded: pairs may be forwarded to it. */
  attach(server: Wire): void {
    assert(this.#server === null, "one server at a time");
    this.#server = server;
    this.#ended.clear();
  }

  /** The server is gone: every open pair is cut off, recorded as such, and its router told. */
  detach(abort: Abort): void {
    this.#server = null;
    for (const pair of this.#open.values()) this.#finish(pair, "cut-off", abort);
  }

  /** Steps 1 to 3. `accepting` is the gateway's word on mode and draining. */
  onInput(router: Wire, frame: Frame, accepting: "yes" | "not-serving" | "draining"): void {
    const refuse = (code: Parameters<typeof encodeRefused>[0], detail = ""): void => {
      router.send(frameType.refused, frame.id, encodeRefused(code, detail));
    };
    const server = this.#server;
    if (accepting === "draining") {
      refuse("draining");
      return;
    }
    if (accepting === "not-serving" || server === null) {
      refuse("not-serving");
      return;
    }
    if (!this.hasRoom || !this.#batchTakes(8 + frame.payload.length)) {
      refuse("full");
      return;
    }
    const admission = admit(frame.payload, this.#o.entry);
    if (admission.kind === "refused") {
      refuse(admission.code, admission.detail);
      return;
    }
    const requests = this.#requestsOf(router);
    if (requests.has(frame.id)) {
      router.close(`request ${frame.id} is already open`);
      return;
    }
    const { tag, seed } = this.#o.tagger.next();
    const payload = Buffer.allocUnsafe(8 + frame.payload.length);
    payload.writeBigUInt64BE(seed);
    payload.set(frame.payload, 8);
    const pair: OpenPair = {
      tag,
      seed,
      requestId: frame.id,
      router,
      input: payload.subarray(8),
      assembler: new PairAssembler(
        admission.input.params.maxTokens,
        this.#o.entry.generation.contextTokens,
      ),
      deadlineMs: this.#o.clock.monotonicMs() + this.#o.pairDeadlineMs,
      announced: false,
      text: "",
      over: null,
      dirty: false,
    };
    this.#open.set(tag, pair);
    requests.set(frame.id, pair);
    this.#record("input", tag, payload);
    server.send(frameType.generate, tag, payload);
    this.#arm();
  }

  /** Whether the ring's open batch, made durable as a whole at the next tick, still takes this much. */
  #batchTakes(bytes: number): boolean {
    return this.#batchBytes === 0 || this.#batchBytes + bytes <= this.#batchBytesMax;
  }

  #record(kind: RingKind, tag: Tag, payload: Uint8Array): void {
    this.#o.store.ring.add(kind, tag, payload);
    this.#batchBytes += payload.length;
  }

  #requestsOf(router: Wire): Map<bigint, OpenPair> {
    let requests = this.#byRequest.get(router);
    if (requests === undefined) {
      requests = new Map();
      this.#byRequest.set(router, requests);
    }
    return requests;
  }

  /** The client left: the pair ends here as it stands. */
  onWithdraw(router: Wire, requestId: bigint): void {
    const pair = this.#byRequest.get(router)?.get(requestId);
    if (pair !== undefined) this.#cut(pair, null);
  }

  /** A router's link closed: all that it asked for is withdrawn. */
  onRouterLost(router: Wire): void {
    const pairs = this.#byRequest.get(router);
    this.#byRequest.delete(router);
    for (const pair of pairs?.values() ?? []) this.#cut(pair, null);
  }

  #cut(pair: OpenPair, abort: Abort | null): void {
    if (pair.over !== null) return;
    this.#server?.send(frameType.cancel, pair.tag);
    this.#ended.add(pair.tag);
    this.#finish(pair, "cut-off", abort);
  }

  /** Step 4. Anything but the frames that are due is misbehaviour, and costs the server its power. */
  onServerFrame(frame: Frame): void {
    try {
      this.#pairFrame(frame);
    } catch (error) {
      if (!(error instanceof InvalidError)) throw error;
      this.#o.onMisbehaviour(`${error.code}: ${error.message}`);
    }
  }

  #pairFrame(frame: Frame): void {
    const tag = asTag(frame.id);
    const pair = this.#open.get(tag);
    if (pair?.over !== null) {
      if (!this.#ended.has(tag)) throw new InvalidError("pair.unknown", "a frame for no open pair");
      if (frame.type === frameType.end || frame.type === frameType.failed) this.#ended.delete(tag);
      return;
    }
    if (!this.#batchTakes(frame.payload.length)) {
      throw new InvalidError("pair.flood", "more came between two ticks than the ring can take");
    }
    switch (frame.type) {
      case frameType.prompt:
        pair.assembler.prompt(frame.payload);
        this.#record("prompt", tag, frame.payload);
        break;
      case frameType.tokens: {
        const tokens = pair.assembler.tokens(frame.payload);
        this.#record("tokens", tag, frame.payload);
        this.counts.tokens += tokens.ids.length;
        pair.text += tokens.text;
        this.#touch(pair);
        break;
      }
      case frameType.end: {
        const finish = pair.assembler.end(frame.payload);
        this.#record("end", tag, frame.payload);
        this.#finish(pair, finish, null);
        this.#noteEnd(false);
        break;
      }
      case frameType.failed:
        this.#finish(pair, "cut-off", decodeFailed(frame.payload));
        this.#noteEnd(true);
        break;
      default:
        throw new InvalidError("pair.frame", `a server may not send frame type ${frame.type}`);
    }
    this.#arm();
  }

  /** A pair ended by the server's doing: well, or failed. */
  #noteEnd(failed: boolean): void {
    const share = this.#failures.note(failed);
    if (share !== null) this.#o.onServerFails(share);
  }

  #touch(pair: OpenPair): void {
    if (pair.dirty) return;
    pair.dirty = true;
    this.#dirty.push(pair);
  }

  #finish(pair: OpenPair, finish: FinishReason, abort: Abort | null): void {
    if (pair.over !== null) return;
    pair.over = { finish, abort };
    this.#touch(pair);
    this.#arm();
  }

  /** Ends pairs that outlived their deadline. Called about once a second. */
  sweep(): void {
    const now = this.#o.clock.monotonicMs();
    for (const pair of this.#open.values()) {
      if (pair.deadlineMs >= now || pair.over !== null) continue;
      this.#cut(pair, "deadline");
      this.#noteEnd(true);
    }
  }

  #arm(): void {
    if (this.#dead) return;
    if (this.#committing) {
      this.#again = true;
      return;
    }
    if (this.#tick !== null) return;
    const { clock, tickMs } = this.#o;
    const now = clock.monotonicMs();
    // On the grid, and never twice on the same point of it.
    const next =
      Math.max(Math.ceil(now / tickMs), Math.round(this.#lastTickMs / tickMs) + 1) * tickMs;
    this.#tick = clock.after(next - now, () => {
      this.#tick = null;
      this.#lastTickMs = next;
      void this.#onTick();
    });
  }

  async #onTick(): Promise<void> {
    this.#committing = true;
    try {
      const batch = this.#dirty;
      this.#dirty = [];
      const released = this.#prepare(batch);
      const { ring, log } = this.#o.store;
      this.#batchBytes = 0;
      // The ring first: a leaf must never commit to an output that the ring does not hold. What is
      // in the ring may leave; a leaf that a crash takes is made again from the ring (recover.ts).
      await ring.commit();
      this.#release(released);
      await log.commit();
      this.#sample(released.filter((part) => part.leaf !== null));
    } catch (error) {
      this.#fail(error);
      return;
    } finally {
      this.#committing = false;
    }
    // Coins alone arm no tick: lost in a crash, they are drawn again (gateway/recover.ts).
    if (this.#again) {
      this.#again = false;
      this.#arm();
    }
  }

  /** Step 5, first half: takes what will be released and appends the leaves of pairs that ended. */
  #prepare(batch: readonly OpenPair[]): Part[] {
    const parts: Part[] = [];
    for (const pair of batch) {
      pair.dirty = false;
      const text = pair.text;
      pair.text = "";
      // Taken now: what arrives during the commit is not durable and waits for the next tick.
      const over = pair.over;
      const leaf = over === null ? null : this.#appendLeaf(pair, over);
      parts.push({ pair, text, over, leaf });
    }
    return parts;
  }

  #appendLeaf(pair: OpenPair, over: { finish: FinishReason }): LoggedLeaf {
    const { clock, entry, store } = this.#o;
    const { leaf, output } = leafOf(pair, over.finish, entry.digest, clock.wallMs());
    const index = store.log.append(leaf);
    this.counts.logged++;
    if (over.finish === "cut-off") this.counts.cutOff++;
    return { index, leaf, output };
  }

  /** Step 6. Everything in `parts` is durable. */
  #release(parts: readonly Part[]): void {
    for (const { pair, leaf } of parts) {
      if (leaf === null) continue;
      this.#open.delete(pair.tag);
      this.#undrawn.add(pair.tag);
      this.#byRequest.get(pair.router)?.delete(pair.requestId);
    }
    release(parts);
  }

  /** Step 7. The leaves of `parts` are in the log. */
  #sample(parts: readonly Part[]): void {
    const kept: OutboxItem[] = [];
    const coins: { tag: Tag; keep: boolean }[] = [];
    for (const { pair, leaf } of parts) {
      if (leaf === null) continue;
      const keep = this.#o.sampler.keep();
      coins.push({ tag: pair.tag, keep });
      this.#undrawn.delete(pair.tag);
      if (keep) kept.push({ tag: pair.tag, request: requestOf(pair, leaf) });
    }
    // The coins first, with the next tick's ring commit: a pair whose coin says kept is put into the
    // outbox by recovery if we do not live to do it (keep.ts).
    for (const { tag, keep } of coins) {
      this.#o.store.ring.add("coin", tag, keep ? coinKept : coinDeleted);
    }
    this.counts.sampled += kept.length;
    this.#kept.add(kept);
  }

  /** Resolves when nothing is open, nothing waits for a tick, and kept pairs are in the outbox. */
  async settled(): Promise<void> {
    while (!this.#dead && (this.#open.size > 0 || this.#committing || this.#tick !== null)) {
      await new Promise<void>((resolve) => {
        this.#o.clock.after(this.#o.tickMs, resolve);
      });
    }
    if (!this.#dead) this.#kept.flush();
  }
}

/** One batch may take this part of the ring: below what the ring itself would refuse. */
const ringShare = 5;

const coinKept = Buffer.of(1);
const coinDeleted = Buffer.of(0);
