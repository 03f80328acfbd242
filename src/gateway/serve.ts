/**
 * The pair path, in the order in which a pair is processed:
 *
 *   1. admit    parse the input, check it against the whitelist entry          admit.ts
 *   2. tag      a strictly increasing tag, and with it the seed                tag.ts
 *   3. forward  GENERATE to the server; the same bytes go into the ring
 *   4. pair     PROMPT, TOKENS, END of the server are joined to the input      pair.ts
 *   5. commit   before the tick and at it: everything that came is in the ring, durable     tick.ts
 *   6. release  only then, and only at the tick: bytes to the router                     release.ts
 *   7. log      the leaves of complete pairs, durable, some ticks at once              unlogged.ts
 *   8. sample   the coin, after the leaf is in the log; kept pairs go out  sample.ts, keep.ts, prove.ts
 *
 * Time: replies leave only on the grid of the release tick, so no byte leaves unrecorded and
 * timing carries at most one symbol per tick and pair; what it may carry is counted (carriers.ts). A tick with nothing to do is not armed.
 */
import { assert, InvalidError } from "../base/assert.ts";
import type { Clock } from "../base/clock.ts";
import { limits } from "../base/limits.ts";
import type { Logger } from "../base/report.ts";
import type { CarrierCounts } from "../format/carriers.ts";
import { frameHeaderBytes, frameType, writeFrameHeader, type Frame } from "../format/link.ts";
import type { FinishReason } from "../format/pair.ts";
import { encodeRefused, type Abort } from "../format/router-link.ts";
import { decodeFailed } from "../format/server-link.ts";
import { asTag, type Tag } from "../format/tag.ts";
import type { WhitelistEntry } from "../format/whitelist.ts";
import type { Wire } from "../format/wire.ts";
import { admit } from "./admit.ts";
import { Carriers } from "./carriers.ts";
import { KeptPairs } from "./keep.ts";
import { leafOf, type LoggedLeaf, type OpenPair, type Part } from "./open-pair.ts";
import { PairAssembler } from "./pair.ts";
import { wholeOnly, type Quarantine } from "./quarantine.ts";
import { release } from "./release.ts";
import type { Sampler } from "./sample.ts";
import { EndedTags, FailureWindow, type FailedShare } from "./server-record.ts";
import type { GatewayStore, RingKind } from "./store.port.ts";
import type { Tagger } from "./tag.ts";
import { ReleaseTick } from "./tick.ts";
import { UnloggedPairs } from "./unlogged.ts";

export interface PairPathOptions {
  readonly entry: WhitelistEntry;
  readonly store: GatewayStore;
  readonly tagger: Tagger;
  readonly sampler: Sampler;
  /** Holds complete replies back while an order says so; without it none ever is. */
  readonly quarantine?: Quarantine;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly tickMs: number;
  /** Nothing of a reply leaves before all of it is there, and nothing of one that failed. */
  readonly wholeReplies?: boolean;
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
  readonly #unlogged: UnloggedPairs;
  /** Pairs that ended here while the server may still be sending: its frames for them are dropped. */
  readonly #ended = new EndedTags();
  /** What the server made of its last pairs. */
  readonly #failures = new FailureWindow();
  /** Bytes added to the ring since its last commit, and how many may be. */
  #batchBytes = 0;
  readonly #batchBytesMax: number;
  /** Pairs with news that no commit has taken; pairs with something durable to release. */
  #dirty: OpenPair[] = [];
  #ready: OpenPair[] = [];
  /** The early commit of this tick, while it is under way. */
  #early: Promise<void> | null = null;
  #server: Wire | null = null;
  readonly #tick: ReleaseTick;
  readonly #carriers: Carriers;
  readonly #sinceMs: number;
  /** Storage or the generator failed: nothing leaves any more, not even in an orderly stop. */
  #dead = false;

  constructor(options: PairPathOptions) {
    this.#o = options;
    const { store, clock, onKept, wholeReplies = false } = options;
    this.#carriers = new Carriers(wholeReplies);
    this.#sinceMs = clock.monotonicMs();
    this.#batchBytesMax = Math.floor(store.ring.status().capacity / ringShare);
    this.#kept = new KeptPairs(store.outbox, clock, onKept, (error) => {
      this.#fail(error);
    });
    this.#unlogged = new UnloggedPairs({
      store,
      clock,
      sampler: options.sampler,
      ringBytesMax: this.#batchBytesMax,
      onDue: () => {
        this.#arm();
      },
    });
    this.#tick = new ReleaseTick({
      clock,
      tickMs: options.tickMs,
      onEarly: () => {
        this.#onEarly();
      },
      onDue: (point) => this.#onTick(point),
    });
  }

  #fail(error: unknown): void {
    this.#dead = true;
    this.#tick.stop();
    this.#unlogged.stop();
    this.#o.onFatal(error instanceof Error ? error : new Error(String(error)));
  }

  get inflight(): number {
    return this.#open.size + (this.#o.quarantine?.counts.held ?? 0);
  }

  /** What left beside the tokens, counted since the start. */
  get carriers(): CarrierCounts {
    return this.#carriers.counts(this.#o.clock.monotonicMs() - this.#sinceMs);
  }

  /** How releases are shaped. */
  get shaping(): { readonly tickMs: number; readonly wholeReplies: boolean } {
    const { tickMs, wholeReplies = false } = this.#o;
    return { tickMs, wholeReplies };
  }

  isOpen(tag: Tag): boolean {
    return this.#open.has(tag) || this.#unlogged.has(tag);
  }

  /** Whether it is released and has its coin still to come: a matter of milliseconds. */
  isUndrawn(tag: Tag): boolean {
    return this.#unlogged.has(tag);
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
      this.inflight < limits.gatewayInflight &&
      outbox.waiting + this.#kept.size + this.#unlogged.size + this.#open.size < outbox.capacity
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
    const nowMs = this.#o.clock.monotonicMs();
    const { tag, seed } = this.#o.tagger.next();
    const generate = Buffer.allocUnsafe(frameHeaderBytes + 8 + frame.payload.length);
    const payload = generate.subarray(frameHeaderBytes);
    writeFrameHeader(generate, 0, frameType.generate, tag, payload.length);
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
      deadlineMs: nowMs + this.#o.pairDeadlineMs,
      signTick: Math.floor(nowMs / this.#o.tickMs),
      announced: false,
      durable: 0,
      released: 0,
      over: null,
      leaf: null,
      complete: false,
      dirty: false,
      ready: false,
    };
    this.#open.set(tag, pair);
    requests.set(frame.id, pair);
    this.#record("input", tag, payload);
    server.sendRaw(generate);
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
        const count = pair.assembler.tokens(frame.payload);
        this.#record("tokens", tag, frame.payload);
        this.counts.tokens += count;
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

  /** A verdict came: it may decide over a reply in quarantine. */
  onVerdict(tag: Tag, verdict: string): void {
    if (this.#o.quarantine?.judged(tag, verdict) === true) this.#arm();
  }

  /** Ends pairs that outlived their deadline. Called about once a second. */
  sweep(): void {
    if (this.#o.quarantine?.sweep() === true) this.#arm();
    const now = this.#o.clock.monotonicMs();
    for (const pair of this.#open.values()) {
      if (pair.deadlineMs >= now || pair.over !== null) continue;
      this.#cut(pair, "deadline");
      this.#noteEnd(true);
    }
  }

  #arm(): void {
    if (!this.#dead) this.#tick.arm();
  }

  /** A quiet tick's news become durable before it, so that it can let them out on time. */
  #onEarly(): void {
    if (this.#dirty.length === 0) return;
    this.#early = this.#commit().then(
      () => {
        this.#early = null;
      },
      (error: unknown) => {
        this.#fail(error);
      },
    );
  }

  /**
   * Step 5. The ring, before any leaf: a leaf must never commit to an output that the ring does not
   * hold. What is in the ring may leave; a leaf that a crash takes is made again from it (recover.ts).
   */
  async #commit(): Promise<void> {
    const parts = this.#dirty.map((pair) => this.#take(pair));
    this.#dirty = [];
    this.#unlogged.noteRing(this.#batchBytes);
    this.#batchBytes = 0;
    await this.#o.store.ring.commit();
    for (const { pair, text, complete } of parts) {
      pair.durable = text;
      pair.complete = complete;
      if (pair.ready) continue;
      pair.ready = true;
      this.#ready.push(pair);
    }
  }

  /** What the next commit will make durable; what arrives meanwhile is not in it. */
  #take(pair: OpenPair): Part {
    pair.dirty = false;
    const complete = pair.over !== null;
    if (pair.over !== null) pair.leaf = this.#appendLeaf(pair, pair.over.finish);
    return { pair, text: pair.assembler.textBytes, complete };
  }

  #appendLeaf(pair: OpenPair, finish: FinishReason): LoggedLeaf {
    const { clock, entry, store, tagger } = this.#o;
    const salt = tagger.saltOf(pair.tag);
    const leaf = leafOf(pair, finish, salt, entry.digest, clock.wallMs());
    const index = store.log.append(leaf);
    this.counts.logged++;
    if (finish === "cut-off") this.counts.cutOff++;
    return { index, leaf, finish };
  }

  async #onTick(point: number): Promise<void> {
    try {
      await this.#early;
      if (this.#dead) return;
      if (this.#dirty.length > 0) await this.#commit();
      this.#release(point);
      // Inputs and prompts alone keep nobody waiting.
      if (this.#batchBytes > 0) await this.#commit();
      if (this.#unlogged.mustLog(this.#kept.size)) {
        const kept = await this.#unlogged.log();
        this.counts.sampled += kept.length;
        this.#kept.add(kept);
      }
    } catch (error) {
      this.#fail(error);
    }
    // Coins alone arm no tick: lost in a crash, they are drawn again (gateway/recover.ts).
  }

  /** Step 6. Everything in `#ready` is durable. */
  #release(point: number): void {
    const pairs = this.#ready;
    this.#ready = [];
    this.#tick.note(pairs.length);
    for (const pair of pairs) {
      pair.ready = false;
      if (!pair.complete) continue;
      this.#open.delete(pair.tag);
      this.#unlogged.add(pair);
      this.#byRequest.get(pair.router)?.delete(pair.requestId);
    }
    const { quarantine, wholeReplies = false } = this.#o;
    const leaving = wholeReplies ? wholeOnly(pairs) : pairs;
    // What a slow disk delays leaves later than its point, and is counted as that.
    const tick = Math.max(point, Math.floor(this.#o.clock.monotonicMs() / this.#o.tickMs));
    release(quarantine?.filter(leaving) ?? leaving, tick, this.#carriers);
  }

  /** Resolves when everything that was appended to the log before this call is durable. */
  durable(): Promise<void> {
    return this.#unlogged.durable();
  }

  /** Resolves when nothing is open, nothing waits for a tick, and kept pairs are in the outbox. */
  async settled(): Promise<void> {
    while (!this.#dead && (this.#open.size > 0 || this.#unlogged.size > 0 || this.#tick.pending)) {
      if (this.#unlogged.size > 0) this.#unlogged.logNow();
      await new Promise<void>((resolve) => {
        this.#o.clock.after(this.#o.tickMs, resolve);
      });
    }
    if (!this.#dead) this.#kept.flush();
  }
}

/** One batch may take this part of the ring: below what the ring itself would refuse. */
const ringShare = 5;
