/**
 * The recomputer: what happens to a kept pair.
 *
 *   1 receive   frames of a gateway become work, or the verdict that exists is repeated
 *   2 queue     one line per gateway, in turn; a full line pauses its wire
 *   3 check     digests, entry, policy, seed law, prompt ids, text, finish
 *   4 replay    teacher-forced, up to `parallel` pairs side by side
 *   5 score     a margin per token
 *   6 judge     findings and verdict
 *   7 weigh     what it adds to the evidence against its server; beyond the policy: FAIL
 *   8 store     durable: verdict and evidence in one transaction
 *   9 act       a FAIL orders a shutdown, a step of the ladder its own order; durable as well
 *  10 answer    only now does the gateway hear of it, and forgets the pair
 *
 * Unable (no engine, no epoch key) is no verdict: the pair waits, is tried again, and is alarmed on
 * past a deadline.
 */
import { assert, InvalidError, UnavailableError } from "../base/assert.ts";
import type { Clock, Timer } from "../base/clock.ts";
import type { Logger } from "../base/report.ts";
import { decodeCarriers } from "../format/carriers.ts";
import { frameType, type Frame } from "../format/link.ts";
import {
  encodeHeartbeat,
  encodeVerdictNotice,
  type VerdictNotice,
} from "../format/proof-request.ts";
import type { ProfileFile } from "../format/profile.ts";
import type { Ladder } from "../format/policy.ts";
import type { Alarm, RecomputerStatus } from "../format/status.ts";
import { formatTag, type Tag } from "../format/tag.ts";
import { isFatal, type Verdict } from "../format/verdict.ts";
import type { WhitelistEntry } from "../format/whitelist.ts";
import type { Wire } from "../format/wire.ts";
import { betting } from "../verification/detectors/index.ts";
import { fleetBudget } from "../verification/fleet.ts";
import { CarrierBook } from "./carriers.ts";
import type { OpenEngine } from "./engine.port.ts";
import { Engines } from "./engines.ts";
import { EvidenceBook, type DetectorsFor } from "./evidence.ts";
import { Examiner, type Examined } from "./examine.ts";
import { Gateways } from "./gateways.ts";
import { Omissions, type OmissionRules, type WatchedDraw } from "./omitted.ts";
import { failReason, judgeBeyond } from "./judge.ts";
import { Queue, type QueueLimits, type Waiting } from "./queue.ts";
import { receiveEpoch, receiveProofRequest } from "./receive.ts";
import { receiveRelease } from "./release.ts";
import type { ReplayDeadline } from "./replay.ts";
import type { AlarmPort, ShutdownPort } from "./shutdown.port.ts";
import type { EvidenceChange, UnactedFail, VerdictStore } from "./store.port.ts";

export interface RecomputerTiming {
  readonly heartbeatMs: number;
  /** First wait after an unable attempt; it doubles up to `retryMaxMs`. */
  readonly retryMs: number;
  readonly retryMaxMs: number;
  /** A pair that could not be judged for this long is alarmed on. */
  readonly unableDeadlineMs: number;
  /** A known gateway that stays away for this long is warned about. */
  readonly gatewayAwayMs: number;
  readonly replay: ReplayDeadline;
}

export const defaultTiming: RecomputerTiming = {
  heartbeatMs: 1000,
  retryMs: 1000,
  retryMaxMs: 30_000,
  unableDeadlineMs: 60_000,
  gatewayAwayMs: 60_000,
  replay: { baseMs: 60_000, perTokenMs: 100 },
};

/** Codes of an engine that failed at its work, rather than one that could not be opened. */
const broken: ReadonlySet<string> = new Set(["engine.down", "engine.timeout", "engine.broken"]);

/** Unread answers after which a gateway is taken to be stuck. */
const backlogMax = 1_048_576;

export const defaultQueue: QueueLimits = { items: 64, bytes: 16_777_216 };

export interface RecomputerParts {
  readonly name: string;
  readonly clock: Clock;
  readonly log: Logger;
  readonly store: VerdictStore;
  readonly entries: readonly WhitelistEntry[];
  /** Calibration profiles at hand; entries name theirs by digest. */
  readonly profiles: readonly ProfileFile[];
  readonly openEngine: OpenEngine;
  /** Pairs that are replayed at the same time; 1 unless given. */
  readonly parallel?: number;
  /** The parties' policy (alarm/ladder). */
  readonly ladder: Ladder;
  /** Those of verification/detectors unless given. */
  readonly detectors?: DetectorsFor;
  readonly alarms: AlarmPort;
  readonly shutdown: ShutdownPort;
  /** Alarms to show, newest last. */
  readonly shownAlarms: () => readonly Alarm[];
  readonly simulated: readonly string[];
  readonly timing?: Partial<RecomputerTiming>;
  readonly queue?: QueueLimits;
  /** Gateways whose joint draw is held to its log (omitted.ts); none unless given. */
  readonly draws?: {
    readonly gateways: ReadonlyMap<string, WatchedDraw>;
    readonly rules: OmissionRules;
  };
  /** Told after each verdict, for observers. */
  readonly onVerdict?: () => void;
}

export class Recomputer {
  readonly #parts: RecomputerParts;
  readonly #timing: RecomputerTiming;
  readonly #engines: Engines;
  readonly #examiner: Examiner;
  readonly #evidence: EvidenceBook;
  readonly #carriers: CarrierBook;
  readonly #queue: Queue;
  readonly #gateways: Gateways;
  readonly #omissions: Omissions | null;
  readonly #beat: Timer;
  #retry: Timer | null = null;
  readonly #working = new Set<Promise<void>>();
  /** A suspect is being tried. */
  #alone = false;
  #stopped = false;
  #replayedTokens = 0;
  #replayedMs = 0;

  /**
   * Starts: what an earlier run did not come to act on comes first. Throws InvalidError
   * `evidence.stored` for evidence that cannot be read.
   */
  constructor(parts: RecomputerParts) {
    this.#parts = parts;
    this.#timing = { ...defaultTiming, ...parts.timing };
    this.#engines = new Engines(parts.openEngine);
    this.#examiner = new Examiner({
      ...parts,
      engines: this.#engines,
      replay: this.#timing.replay,
    });
    const stored = parts.store.evidence();
    this.#evidence = new EvidenceBook(parts.ladder, parts.detectors ?? betting, stored);
    this.#carriers = new CarrierBook(parts.ladder.release, parts.alarms);
    this.#gateways = new Gateways(parts, this.#timing.gatewayAwayMs);
    this.#queue = new Queue(parts.queue ?? defaultQueue, (gateway, full) => {
      this.#gateways.setPaused(gateway, full);
    });
    this.#omissions = this.#watchDraws();
    this.#actOnAll();
    this.#beat = parts.clock.every(this.#timing.heartbeatMs, () => {
      const { pass, fail } = parts.store.counts();
      const beat = encodeHeartbeat({ queued: this.#queue.size, judged: BigInt(pass + fail) });
      this.#gateways.sendAll(frameType.heartbeat, beat);
      this.#gateways.checkAway();
      this.#omissions?.tick();
    });
  }

  #watchDraws(): Omissions | null {
    const { draws, clock, log, alarms, store, shutdown } = this.#parts;
    if (draws === undefined) return null;
    return new Omissions({
      ...{ ...draws, clock, log, alarms },
      received: (gateway, tag) =>
        store.find(gateway, tag) !== null || this.#queue.has(gateway, tag),
      connected: (gateway) => this.#gateways.isConnected(gateway),
      settled: (gateway) =>
        this.#gateways.isConnected(gateway) && this.#queue.waiting(gateway) === 0,
      send: (gateway, type, payload) => {
        this.#gateways.send(gateway, type, 0n, payload);
      },
      failed: (fail) => {
        shutdown.failed(fail);
      },
    });
  }

  /** Opens the engines before the first request needs them; failures only delay that request. */
  async warmUp(): Promise<void> {
    for (const entry of this.#parts.entries) {
      try {
        await this.#engines.get(entry);
      } catch (error) {
        if (!(error instanceof UnavailableError)) throw error;
        const fields = { model: entry.modelId, reason: error.message };
        this.#parts.log.log("warn", "recomputer.engine-down", fields);
      }
    }
  }

  /** Serves one gateway. Who it is comes from its certificate. */
  serveGateway(wire: Wire): void {
    const gateway = wire.peer.name;
    this.#gateways.connected(gateway, wire);
    wire.onClose((reason) => {
      this.#parts.log.log("info", "recomputer.gateway-left", { gateway, reason });
      this.#gateways.disconnected(gateway, wire);
      this.#omissions?.disconnected(gateway);
      this.#parts.shutdown.disconnected(gateway, wire);
    });
    wire.onFrame((frame) => {
      this.#receive(gateway, wire, frame);
    });
    if (this.#queue.isFull(gateway)) wire.pause();
    this.#parts.shutdown.connected(gateway, wire);
  }

  #receive(gateway: string, wire: Wire, frame: Frame): void {
    const { alarms, store } = this.#parts;
    if (frame.type === frameType.proofRequest) {
      const answer = receiveProofRequest(gateway, frame, store);
      if (answer.kind === "work") {
        if (this.#queue.add(answer.received)) this.#work();
        return;
      }
      if (answer.changed) {
        const text = `${formatTag(gateway, answer.tag)} was sent again with other contents`;
        alarms.raise("critical", "proof-request.changed", gateway, text);
      }
      wire.send(frameType.verdict, answer.tag, encodeVerdictNotice(answer.verdict));
      if (wire.backlog > backlogMax) wire.close("the gateway does not read its verdicts");
    } else if (frame.type === frameType.epoch) {
      const { epoch, outcome } = receiveEpoch(gateway, frame, store);
      if (outcome === "conflict") {
        const text = `a second key for epoch ${epoch}; the first one stays`;
        alarms.raise("critical", "epoch.conflict", gateway, text);
      }
      this.#queue.wake(gateway);
      this.#work();
    } else if (frame.type === frameType.carriers) {
      this.#carriers.take(gateway, decodeCarriers(frame.payload));
    } else if (frame.type === frameType.orderResult) {
      this.#parts.shutdown.answered(gateway, frame);
    } else if (frame.type === frameType.order) {
      const answer = receiveRelease(gateway, frame, this.#evidence, this.#parts);
      wire.send(frameType.orderResult, frame.id, answer);
      this.#parts.onVerdict?.();
    } else if (this.#omissions?.onFrame(gateway, frame) !== true) {
      throw new InvalidError("recomputer.frame", `a gateway sent a frame of type ${frame.type}`);
    }
  }

  /** Begins what is ready, as far as there is room. */
  #work(): void {
    this.#retry?.cancel();
    this.#retry = null;
    const { clock, parallel = 1 } = this.#parts;
    let held = false;
    while (!this.#stopped && this.#working.size < parallel && !this.#alone) {
      const nowMs = clock.monotonicMs();
      // Others wait until a suspect, on its own, has had its turn.
      const suspect = this.#queue.suspectReady(nowMs);
      held = suspect && this.#working.size > 0;
      if (held) break;
      const item = this.#queue.next(nowMs, suspect);
      if (item === null) break;
      this.#alone = suspect;
      this.#begin(item);
    }
    const readyAtMs = this.#queue.readyAtMs();
    // What is under way comes back here when it ends.
    const full = held || this.#alone || this.#working.size >= parallel;
    if (readyAtMs === null || this.#stopped || full) return;
    this.#retry = clock.after(Math.max(1, readyAtMs - clock.monotonicMs()), () => {
      this.#work();
    });
  }

  /** A bug in here is an unhandled rejection: it ends the process. */
  #begin(item: Waiting): void {
    const working: Promise<void> = this.#attempt(item).then(() => {
      this.#working.delete(working);
      this.#alone = false;
      this.#work();
    });
    this.#working.add(working);
  }

  async #attempt(item: Waiting): Promise<void> {
    const { gateway, tag, request } = item.received;
    let model = "";
    let examined: Examined;
    try {
      examined = await this.#examiner.examine(gateway, tag, request, (modelId) => {
        model = modelId;
      });
    } catch (error) {
      if (!(error instanceof UnavailableError)) throw error;
      // With others on the same engine there is no telling whose fault it was.
      item.suspect = broken.has(error.code) && (this.#parts.parallel ?? 1) > 1;
      this.#unable(item, model, error.message);
      return;
    }
    const { verdict, change } = this.#weigh(gateway, examined);
    this.#store(item, model, examined, verdict, change);
    this.#queue.remove(item);
    if (item.unableSinceMs !== null) this.#parts.alarms.clear("recomputer.unable", model);
    this.#settle(gateway, tag, verdict, change);
  }

  /** Step 8. Only what is durable is taken over. */
  #store(
    { received }: Waiting,
    modelId: string,
    { pair, leaf, replay }: Examined,
    verdict: Verdict,
    change: EvidenceChange | null,
  ): void {
    const { gateway, tag, request, digest } = received;
    const judgedMs = this.#parts.clock.wallMs();
    const { facts = [], msPerToken = 0 } = replay ?? {};
    this.#parts.store.put(
      {
        ...{ gateway, tag, requestDigest: digest, verdict, judgedMs, modelId, msPerToken },
        entry: pair?.entry.digest.toString("hex") ?? "",
        leafIndex: pair?.leafIndex ?? 0n,
        completedMs: leaf?.completedMs ?? judgedMs,
        margins: Float64Array.from(facts, ({ margin }) => margin),
        request: verdict.kind === "fail" ? request : null,
      },
      change,
    );
    if (change !== null) this.#evidence.commit(change.evidence);
    this.#replayedTokens += facts.length;
    this.#replayedMs += msPerToken * facts.length;
  }

  /** Step 7. What a pair that was judged by itself means for its server; nothing is stored yet. */
  #weigh(
    gateway: string,
    { pair, leaf, verdict, replay }: Examined,
  ): { readonly verdict: Verdict; readonly change: EvidenceChange | null } {
    if (pair === null || leaf === null) return { verdict, change: null };
    const { leafIndex, rechecked } = pair;
    const { modelId } = pair.entry;
    const entry = pair.entry.digest.toString("hex");
    if (verdict.findings.some(({ id }) => isFatal(id))) {
      return { verdict, change: this.#evidence.failed(gateway, entry, modelId) };
    }
    if (replay === null) return { verdict, change: null };
    const { completedMs } = leaf;
    const about = { gateway, entry, modelId, leafIndex, rechecked, completedMs };
    const weighing = this.#evidence.weigh({ ...about, ...replay });
    if (weighing === null) return { verdict, change: null };
    const { change, beyond } = weighing;
    return { verdict: beyond === null ? verdict : judgeBeyond(verdict, beyond), change };
  }

  #unable(item: Waiting, model: string, reason: string): void {
    const nowMs = this.#parts.clock.monotonicMs();
    const { gateway, tag } = item.received;
    const { retryMs, retryMaxMs, unableDeadlineMs } = this.#timing;
    item.unableSinceMs ??= nowMs;
    const waitMs = Math.min(retryMaxMs, retryMs * 2 ** Math.min(item.attempts, 20));
    this.#queue.rest(item, nowMs + waitMs);
    item.attempts++;
    const fields = { tag: formatTag(gateway, tag), attempts: item.attempts, reason };
    this.#parts.log.log("warn", "recomputer.unable", fields);
    if (nowMs - item.unableSinceMs < unableDeadlineMs) return;
    const text = `${formatTag(gateway, tag)} could not be judged: ${reason}; it is still tried`;
    this.#parts.alarms.raise("critical", "recomputer.unable", model, text);
  }

  /** Steps 9 and 10, once the verdict is durable. */
  #settle(gateway: string, tag: Tag, verdict: Verdict, change: EvidenceChange | null): void {
    assert(verdict.kind !== "unable", "only pass and fail are stored");
    const kind: VerdictNotice = verdict.kind;
    const fields = { tag: formatTag(gateway, tag), verdict: kind, ...verdict.scores };
    this.#parts.log.log(kind === "fail" ? "error" : "info", "recomputer.verdict", fields);
    if (kind === "fail" || (change?.steps.length ?? 0) > 0) this.#actOnAll();
    this.#gateways.send(gateway, frameType.verdict, tag, encodeVerdictNotice(kind));
    this.#parts.onVerdict?.();
  }

  /** The ladder's steps first: the order of a step is worth nothing behind a shutdown. */
  #actOnAll(): void {
    const { store, shutdown } = this.#parts;
    for (const step of store.unactedSteps()) {
      shutdown.climb(step);
      store.stepActed(step.cause);
    }
    for (const fail of store.unacted()) this.#act(fail);
  }

  #act(fail: UnactedFail): void {
    const reason = failReason(formatTag(fail.gateway, fail.tag), fail.findings);
    this.#parts.shutdown.failed({ gateway: fail.gateway, completedMs: fail.completedMs, reason });
    this.#parts.store.acted(fail.gateway, fail.tag);
  }

  status(): RecomputerStatus {
    const counts = this.#parts.store.counts();
    // One limit can be drawn only where there is one model.
    const { entries, profiles, ladder } = this.#parts;
    const { rungs, capacity, release, fleet } = ladder;
    const { yearsBetween } = fleetBudget(fleet);
    const digest = entries.length === 1 ? entries[0]?.profile : undefined;
    const limit = profiles.find((file) => digest !== undefined && file.digest.equals(digest));
    return {
      role: "recomputer",
      name: this.#parts.name,
      engine: this.#engines.state,
      queued: this.#queue.size,
      judged: { pass: counts.pass, fail: counts.fail, unable: this.#queue.unable() },
      tokens: counts.tokens,
      msPerToken: this.#replayedTokens === 0 ? 0 : this.#replayedMs / this.#replayedTokens,
      judgedByGateway: this.#parts.store.countsByGateway().map(({ gateway, pass, fail }) => ({
        gateway,
        pass,
        fail,
        unable: this.#queue.unable(gateway),
      })),
      ...(limit === undefined
        ? {}
        : {
            marginLimit: { meanMax: limit.profile.meanMax, meanSpread: limit.profile.meanSpread },
          }),
      evidence: this.#evidence.status(),
      carriers: this.#carriers.status(),
      ...(this.#omissions === null ? {} : { draws: this.#omissions.status() }),
      policy: { ladder: rungs, capacity, release, fleet: { ...fleet, yearsBetween } },
      recent: this.#parts.store.recent(200),
      alarms: this.#parts.shownAlarms(),
      simulated: this.#parts.simulated,
    };
  }

  /** Lets the pairs in hand finish, then closes the engines. Wires and store are the caller's. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#beat.cancel();
    this.#retry?.cancel();
    await Promise.all(this.#working);
    await this.#engines.close();
  }
}
