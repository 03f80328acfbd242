/**
 * Step 7: what comes together against each server. Every audited pair is one bet of every detector
 * (verification/sequential) and one block of the capacity meter (verification/capacity). What stands
 * then is held against the parties' policy: steps of the ladder become due, or the server is beyond.
 *
 * Nothing here is durable: a change is worked out, stored together with its verdict by the caller,
 * and only then taken over (`commit`). So memory is never ahead of the disk.
 */
import { assert, InvalidError } from "../base/assert.ts";
import { Fields, parseJson } from "../format/json.ts";
import { ladderSteps, type Ladder, type LadderStep, type Standing } from "../format/policy.ts";
import type { Profile } from "../format/profile.ts";
import type { GatewayEvidence } from "../format/status.ts";
import {
  addTokens,
  decodeCapacity,
  encodeCapacity,
  newCapacity,
  readCapacity,
  type CapacityState,
} from "../verification/capacity.ts";
import type { Detector } from "../verification/detector.ts";
import { detectors } from "../verification/detectors/index.ts";
import { decodeEvidence, encodeEvidence } from "../verification/evidence-state.ts";
import type { TokenFacts } from "../verification/facts.ts";
import type { NoiseLaw } from "../verification/law.ts";
import { lawOf } from "../verification/laws/index.ts";
import {
  addPair,
  detectorLogs,
  emptyEvidence,
  logChange,
  logE,
  type EvidenceState,
} from "../verification/sequential.ts";
import type { EvidenceChange, StoredEvidence, UnactedStep } from "./store.port.ts";

/** Detectors that say something under a law (verification/detectors fits). */
export type DetectorsFor = (law: NoiseLaw) => readonly Detector[];

/** An audited pair that did not fail on its own. */
export interface WeighedPair {
  readonly gateway: string;
  /** Digest of the whitelist entry, hex. */
  readonly entry: string;
  readonly modelId: string;
  readonly profile: Profile;
  readonly leafIndex: bigint;
  /** By the gateway's clock. */
  readonly completedMs: number;
  /** Sent by a recheck, not kept by its coin: no sample for the meter. */
  readonly rechecked: boolean;
  readonly facts: readonly TokenFacts[];
  readonly vocabularySize: number;
}

/** Coins' pairs between the first and the last: how fast the server serves. */
interface Span {
  readonly fromIndex: number;
  readonly toIndex: number;
  readonly fromMs: number;
  readonly toMs: number;
}

/** Evidence as it is worked with. */
interface Live {
  readonly stored: StoredEvidence;
  readonly sequential: EvidenceState | null;
  /** null before the first pair of a coin. */
  readonly capacity: CapacityState | null;
  readonly span: Span | null;
}

export interface Weighing {
  readonly change: EvidenceChange;
  /** Why this pair is a FAIL, in words; null when it is none. */
  readonly beyond: string | null;
}

/** Bits of a token id: what a token may carry as long as nothing is known. */
const anyToken = 32;
const nothing = { sequential: null, capacity: null, span: null };

const keyOf = (gateway: string, entry: string): string => `${gateway} ${entry}`;

export class EvidenceBook {
  readonly #ladder: Ladder;
  readonly #detectorsFor: DetectorsFor;
  readonly #live = new Map<string, Live>();

  /** Throws InvalidError `evidence.*` for stored evidence that cannot be read: nothing is judged then. */
  constructor(ladder: Ladder, detectorsOf: DetectorsFor, stored: readonly StoredEvidence[]) {
    this.#ladder = ladder;
    this.#detectorsFor = detectorsOf;
    for (const evidence of stored) this.#take(evidence);
  }

  #take(stored: StoredEvidence): void {
    this.#live.set(keyOf(stored.gateway, stored.entry), { stored, ...decodeState(stored) });
  }

  /** What is stored is what counts from now on. */
  commit(evidence: StoredEvidence): void {
    this.#take(evidence);
  }

  #of(gateway: string, entry: string, modelId: string): Live {
    const stored: StoredEvidence = {
      ...{ gateway, entry, modelId, life: 1, sinceMs: 0, pairs: 0, tokens: 0 },
      ...{ taken: [], undone: [], state: "" },
    };
    return this.#live.get(keyOf(gateway, entry)) ?? { stored, ...nothing };
  }

  /**
   * Weighs a pair. null when it counts for nothing: without tokens, or of an earlier life of the
   * server.
   */
  weigh(pair: WeighedPair): Weighing | null {
    const before = this.#of(pair.gateway, pair.entry, pair.modelId);
    if (pair.facts.length === 0 || pair.completedMs <= before.stored.sinceMs) return null;
    const live = this.#added(before, pair);
    const standing = standingOf(live);
    const steps = this.#ladder.due(standing);
    const taken = inOrder([...standing.taken, ...steps.map(({ step }) => step)]);
    const stored = { ...live.stored, taken, state: encodeState(live) };
    return {
      change: {
        evidence: stored,
        counts: true,
        steps: steps.flatMap(({ step, epsilon, words }): UnactedStep[] => {
          if (step === "shutdown") return [];
          const { gateway, entry, life } = stored;
          const cause = `step:${gateway}:${entry}:${life}:${step}`;
          return [{ cause, gateway, step, epsilon, reason: words }];
        }),
      },
      beyond: this.#ladder.beyond(standing),
    };
  }

  #added(before: Live, pair: WeighedPair): Live {
    const { profile, facts, vocabularySize, rechecked } = pair;
    const nulls = profile.detectors;
    const able = this.#detectorsFor(lawOf(profile.noiseLaw));
    const calibrated = able.filter(({ id }) => nulls.some((one) => one.id === id));
    const scale = { clip: profile.clip, sigma: profile.sigma };
    const bets = calibrated.map((detector) => {
      return { id: detector.id, evidence: detector.evidence({ tokens: facts }, scale) };
    });
    const sequential = before.sequential ?? emptyEvidence(calibrated);
    const tokens = before.stored.tokens + facts.length;
    const meter = before.capacity ?? newCapacity(vocabularySize);
    return {
      stored: { ...before.stored, pairs: before.stored.pairs + 1, tokens },
      sequential: addPair(sequential, bets, facts.length, nulls),
      capacity: rechecked ? before.capacity : addTokens(meter, facts, vocabularySize),
      span: rechecked ? before.span : spanned(before.span, pair),
    };
  }

  /** A pair failed on its own: the server goes down, and its evidence says so. */
  failed(gateway: string, entry: string, modelId: string): EvidenceChange {
    const { stored, ...rest } = this.#of(gateway, entry, modelId);
    const taken = inOrder([...stored.taken, "shutdown"]);
    const evidence = { ...stored, taken, state: encodeState({ stored, ...rest }) };
    return { evidence, counts: false, steps: [] };
  }

  /**
   * The evidence of a gateway after a release of what `step` did: a halt begins a new life, in which
   * pairs completed by `sinceMs` count for nothing; anything milder leaves the evidence as it is.
   */
  released(gateway: string, step: LadderStep, sinceMs: number): StoredEvidence[] {
    const mine = [...this.#live.values()].filter(({ stored }) => stored.gateway === gateway);
    return mine.map(({ stored }) => {
      if (step === "shutdown") {
        const none = { taken: [], undone: [], pairs: 0, tokens: 0, state: "" };
        return { ...stored, ...none, life: stored.life + 1, sinceMs };
      }
      const through = ladderSteps.indexOf(step);
      const ended = stored.taken.filter((one) => ladderSteps.indexOf(one) <= through);
      return { ...stored, undone: inOrder([...stored.undone, ...ended]) };
    });
  }

  /** One for each gateway: that of the entry with the most against it. */
  status(): GatewayEvidence[] {
    const worst = new Map<string, GatewayEvidence>();
    for (const live of this.#live.values()) {
      const shown = this.#shown(live);
      const other = worst.get(shown.gateway);
      const most = (one: GatewayEvidence): number => Math.max(one.logE, one.logChange);
      if (other === undefined || most(shown) > most(other)) worst.set(shown.gateway, shown);
    }
    return [...worst.values()].sort((a, b) => (a.gateway < b.gateway ? -1 : 1));
  }

  #shown(live: Live): GatewayEvidence {
    const { stored, sequential, capacity } = live;
    const standing = standingOf(live);
    const standingSteps = stored.taken.filter((step) => !stored.undone.includes(step));
    const logs = sequential === null ? [] : detectorLogs(sequential);
    const { threshold, limitBitsPerToken } = this.#ladder;
    return {
      gateway: stored.gateway,
      pairs: stored.pairs,
      tokens: stored.tokens,
      logE: standing.logE,
      logEThreshold: threshold,
      logChange: standing.logChange,
      logChangeThreshold: threshold,
      step: standingSteps.at(-1) ?? "none",
      steps: standingSteps,
      detectors: logs.map(({ id, ...both }) => {
        const title = detectors.find((one) => one.id === id)?.title ?? id;
        return { id, title, ...both };
      }),
      capacity: {
        tokens: standing.tokens,
        bitsPerToken: capacity === null ? anyToken : readCapacity(capacity).bitsPerToken,
        upperBitsPerToken: standing.upperBitsPerToken,
        upperBitsPerSecond: standing.upperBitsPerSecond,
        limitBitsPerToken,
      },
    };
  }
}

/** Each step once, mildest first. */
const inOrder = (steps: readonly LadderStep[]): LadderStep[] =>
  ladderSteps.filter((step) => steps.includes(step));

function spanned(span: Span | null, { leafIndex, completedMs }: WeighedPair): Span {
  const index = Number(leafIndex);
  if (span === null) {
    return { fromIndex: index, toIndex: index, fromMs: completedMs, toMs: completedMs };
  }
  return {
    fromIndex: Math.min(span.fromIndex, index),
    toIndex: Math.max(span.toIndex, index),
    fromMs: Math.min(span.fromMs, completedMs),
    toMs: Math.max(span.toMs, completedMs),
  };
}

/**
 * Tokens that the server gives a second, audited or not: leaves between the first and the last
 * audited pair, each of the audited pairs' mean length. 0 before two of them.
 */
function tokensPerSecond({ capacity, span }: Live): number {
  if (span === null || span.toMs <= span.fromMs || capacity === null) return 0;
  const pairs = span.toIndex - span.fromIndex;
  return ((capacity.tokens / capacity.pairs) * pairs * 1000) / (span.toMs - span.fromMs);
}

function standingOf(live: Live): Standing {
  const { sequential, capacity, stored } = live;
  const upper = capacity === null ? anyToken : readCapacity(capacity).upper;
  return {
    logE: sequential === null ? 0 : logE(sequential),
    logChange: sequential === null ? 0 : logChange(sequential),
    tokens: capacity?.tokens ?? 0,
    upperBitsPerToken: upper,
    upperBitsPerSecond: upper * tokensPerSecond(live),
    taken: stored.taken,
  };
}

function encodeState({ sequential, capacity, span }: Live): string {
  return JSON.stringify({
    sequential: sequential === null ? "" : encodeEvidence(sequential),
    capacity: capacity === null ? "" : encodeCapacity(capacity),
    span: span === null ? [] : [span.fromIndex, span.toIndex, span.fromMs, span.toMs],
  });
}

/** The inverse of encodeState; "" is a life without any pair. */
function decodeState(stored: StoredEvidence): Omit<Live, "stored"> {
  if (stored.state === "") return nothing;
  try {
    const from = new Fields(parseJson(stored.state), "evidence");
    const sequential = from.text("sequential");
    const capacity = from.text("capacity");
    const [fromIndex, toIndex, fromMs, toMs, ...more] = from.numbers("span", 0, 2 ** 53);
    from.end();
    assert(more.length === 0, "a span is four numbers");
    const whole = toMs !== undefined && fromMs !== undefined && toIndex !== undefined;
    return {
      sequential: sequential === "" ? null : decodeEvidence(sequential),
      capacity: capacity === "" ? null : decodeCapacity(capacity),
      span: whole && fromIndex !== undefined ? { fromIndex, toIndex, fromMs, toMs } : null,
    };
  } catch (error) {
    if (!(error instanceof InvalidError)) throw error;
    const what = `the stored evidence against the server of ${stored.gateway} cannot be read`;
    throw new InvalidError("evidence.stored", `${what}: ${error.message}`);
  }
}
