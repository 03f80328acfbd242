/**
 * The recomputer of the lab: examines kept pairs one after the other and weighs them, with the
 * recomputer's own code (examine.ts, evidence.ts) and the parties' policy. No orders go out; what
 * the ladder would have ordered is noted with the tokens that had been served by then.
 */
import { systemClock } from "../../adapter/clock.ts";
import { openRecomputerDb, type RecomputerDb } from "../../adapter/sqlite/verdicts.ts";
import { assert } from "../../base/assert.ts";
import type { Ladder, LadderStep } from "../../format/policy.ts";
import type { ProfileFile } from "../../format/profile.ts";
import { isFatal, type FindingId } from "../../format/verdict.ts";
import type { WhitelistEntry } from "../../format/whitelist.ts";
import type { OutboxItem } from "../../gateway/store.port.ts";
import type { Engines } from "../../recomputer/engines.ts";
import { EvidenceBook } from "../../recomputer/evidence.ts";
import { Examiner, type Examined } from "../../recomputer/examine.ts";
import { defaultTiming } from "../../recomputer/serve.ts";
import {
  addTokens,
  newCapacity,
  readCapacity,
  type CapacityState,
} from "../../verification/capacity.ts";
import { betting } from "../../verification/detectors/index.ts";
import type { TokenFacts } from "../../verification/facts.ts";
import type { CurvePoint, DetectorLog, Meter, StepTaken } from "./trial.ts";

export interface LabJudgeParts {
  readonly ladder: Ladder;
  readonly entry: WhitelistEntry;
  readonly profile: ProfileFile;
  readonly engines: Engines;
  /** A step of the ladder became due. */
  readonly onStep: (step: LadderStep, epsilon: number | null) => void;
}

/** Why a server is shut down. */
export interface LabAlarm {
  readonly finding: FindingId;
  readonly words: string;
  /** Audited pairs and tokens with the one that did it. */
  readonly pairs: number;
  readonly tokens: number;
  readonly tag: bigint;
  /** Monotonic time. */
  readonly atMs: number;
}

/** One server's evidence. */
export class LabJudge {
  readonly #o: LabJudgeParts;
  readonly #name: string;
  readonly #db: RecomputerDb;
  readonly #examiner: Examiner;
  readonly #book: EvidenceBook;
  readonly #queue: OutboxItem[] = [];
  #work: Promise<void> | null = null;
  #stopped = false;
  #meter: CapacityState | null = null;
  readonly curve: CurvePoint[] = [];
  readonly steps: StepTaken[] = [];
  pairs = 0;
  tokens = 0;
  alarm: LabAlarm | null = null;
  /** Called after each pair. */
  onJudged: (facts: readonly TokenFacts[] | null) => void = () => undefined;

  constructor(name: string, epochKey: Buffer, parts: LabJudgeParts) {
    this.#o = parts;
    this.#name = name;
    const { ladder, entry, profile, engines } = parts;
    this.#db = openRecomputerDb(":memory:");
    this.#db.verdicts.putEpoch({ gateway: name, epoch: 1, epochKey });
    this.#examiner = new Examiner({
      ...{ clock: systemClock, store: this.#db.verdicts, entries: [entry], profiles: [profile] },
      ...{ engines, replay: defaultTiming.replay },
    });
    this.#book = new EvidenceBook(ladder, betting, []);
  }

  get waiting(): number {
    return this.#queue.length + (this.#work === null ? 0 : 1);
  }

  add(item: OutboxItem): void {
    if (this.#stopped || this.alarm !== null) return;
    this.#queue.push(item);
    this.#start();
  }

  #start(): void {
    if (this.#work !== null || this.#queue.length === 0) return;
    this.#work = this.#run().finally(() => {
      this.#work = null;
      this.#start();
    });
  }

  /** Resolves when nothing waits. */
  async idle(): Promise<void> {
    while (this.#work !== null) await this.#work;
  }

  async #run(): Promise<void> {
    for (let item = this.#queue.shift(); item !== undefined; item = this.#queue.shift()) {
      if (this.#stopped || this.alarm !== null) continue;
      await this.#judge(item);
    }
  }

  async #judge({ tag, request }: OutboxItem): Promise<void> {
    const examined = await this.#examiner.examine(this.#name, tag, request, () => undefined);
    const facts = examined.replay?.facts ?? null;
    this.pairs++;
    this.tokens += examined.leaf?.tokens ?? 0;
    if (examined.replay !== null && facts !== null && facts.length > 0) {
      const { vocabularySize } = examined.replay;
      this.#meter = addTokens(this.#meter ?? newCapacity(vocabularySize), facts, vocabularySize);
    }
    const hard = examined.verdict.findings.find(({ id }) => isFatal(id));
    if (hard !== undefined) this.#shutDown(tag, hard.id, hard.evidence);
    else this.#weigh(tag, examined);
    this.onJudged(facts);
  }

  #shutDown(tag: bigint, finding: FindingId, words: string): void {
    const { pairs, tokens } = this;
    const atMs = performance.now();
    this.alarm = { finding, words, pairs, tokens, tag, atMs };
  }

  #weigh(tag: bigint, { pair, leaf, replay }: Examined): void {
    if (pair === null || leaf === null || replay === null) return;
    const { modelId, digest } = pair.entry;
    const weighing = this.#book.weigh({
      ...{ gateway: this.#name, entry: digest.toString("hex"), modelId },
      ...{ leafIndex: pair.leafIndex, rechecked: pair.rechecked, completedMs: leaf.completedMs },
      ...replay,
    });
    if (weighing === null) return;
    this.#book.commit(weighing.change.evidence);
    const [shown] = this.#book.status();
    assert(shown !== undefined, "a weighed pair has evidence");
    this.curve.push([this.tokens, shown.logE, shown.logChange]);
    for (const { step, epsilon, reason } of weighing.change.steps) {
      this.steps.push({ step, pairs: this.pairs, tokens: this.tokens, words: reason });
      this.#o.onStep(step, epsilon);
    }
    if (weighing.beyond !== null) this.#shutDown(tag, "evidence.threshold", weighing.beyond);
  }

  /** What each detector alone has against the server; its own capital being 1. */
  get detectors(): DetectorLog[] {
    return (this.#book.status()[0]?.detectors ?? []).map(({ id, logE }) => ({ id, logE }));
  }

  get evidence(): { readonly logE: number; readonly logChange: number } {
    const [shown] = this.#book.status();
    return { logE: shown?.logE ?? 0, logChange: shown?.logChange ?? 0 };
  }

  /** Of all replayed pairs, the failed ones too. null before one. */
  get meter(): Meter | null {
    if (this.#meter === null) return null;
    const { bitsPerToken, upper, terms } = readCapacity(this.#meter);
    const { tokens } = this.#meter;
    return { bitsPerToken, upperBitsPerToken: upper, choice: terms.choice, tokens };
  }

  /** Waits for the pair in hand; nothing more is judged. */
  async close(): Promise<void> {
    this.#stopped = true;
    await this.idle();
    this.#db.close();
  }
}
