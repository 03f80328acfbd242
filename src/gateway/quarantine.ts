/**
 * Quarantine: complete replies wait here until the recomputer has judged their pairs. A PASS lets a
 * reply out, whole, at the next release tick; a FAIL, or no verdict in time, ends it as an error of
 * which the client sees nothing but that.
 *
 * Whoever holds has durable pairs only: ring, leaf, coin and outbox go on as ever.
 */
import type { Clock } from "../base/clock.ts";
import type { Abort } from "../format/router-link.ts";
import type { Tag } from "../format/tag.ts";
import type { OpenPair } from "./open-pair.ts";

export interface QuarantineOptions {
  readonly clock: Clock;
  /** Longest wait for a verdict; milliseconds. */
  readonly holdMs: number;
}

export interface QuarantineCounts {
  /** Replies that wait now; that were let out; that were not. */
  readonly held: number;
  readonly passed: number;
  readonly withheld: number;
}

interface Held {
  readonly pair: OpenPair;
  readonly untilMs: number;
}

export class Quarantine {
  readonly #o: QuarantineOptions;
  readonly #held = new Map<Tag, Held>();
  /** Pairs whose fate is known: for the next release. */
  #decided: OpenPair[] = [];
  #passed = 0;
  #withheld = 0;
  /** Whether replies are held from now on. */
  active = false;

  constructor(options: QuarantineOptions) {
    this.#o = options;
  }

  get counts(): QuarantineCounts {
    return { held: this.#held.size, passed: this.#passed, withheld: this.#withheld };
  }

  /** Pairs that wait for a verdict, oldest first. */
  tags(): IterableIterator<Tag> {
    return this.#held.keys();
  }

  /**
   * Takes what is to be held out of what could be released: of pairs under way everything, and the
   * end of those that are complete. Returns the rest, with whatever was decided meanwhile.
   */
  filter(pairs: readonly OpenPair[]): readonly OpenPair[] {
    const decided = this.#decided;
    this.#decided = [];
    if (!this.active) return decided.length === 0 ? pairs : [...decided, ...pairs];
    const out = decided;
    for (const pair of pairs) {
      if (!pair.complete) continue;
      // A reply that is an error, or that nobody waits for, tells nothing.
      if (pair.over === null || pair.over.finish === "cut-off") out.push(silenced(pair));
      else this.#hold(pair);
    }
    return out;
  }

  #hold(pair: OpenPair): void {
    const untilMs = this.#o.clock.monotonicMs() + this.#o.holdMs;
    this.#held.set(pair.tag, { pair, untilMs });
  }

  /** A verdict came. True when something is to be released because of it. */
  judged(tag: Tag, verdict: string): boolean {
    const held = this.#held.get(tag);
    if (held === undefined) return false;
    this.#decide(held.pair, verdict === "pass" ? null : "server-misbehaved");
    return true;
  }

  /** Gives up on those that waited too long. True when there were such. Called about once a second. */
  sweep(): boolean {
    const now = this.#o.clock.monotonicMs();
    let any = false;
    for (const { pair, untilMs } of this.#held.values()) {
      if (untilMs > now) continue;
      this.#decide(pair, "deadline");
      any = true;
    }
    return any;
  }

  #decide(pair: OpenPair, abort: Abort | null): void {
    this.#held.delete(pair.tag);
    if (abort === null) this.#passed++;
    else {
      this.#withheld++;
      pair.over = { finish: "cut-off", abort };
      silenced(pair);
    }
    this.#decided.push(pair);
  }
}

/** A pair of which no further text leaves. */
function silenced(pair: OpenPair): OpenPair {
  pair.durable = pair.released;
  return pair;
}

/** Of pairs that could be released those that are over; failed ones without their text. */
export function wholeOnly(pairs: readonly OpenPair[]): OpenPair[] {
  const over = pairs.filter(({ complete }) => complete);
  return over.map((pair) => (pair.over?.finish === "cut-off" ? silenced(pair) : pair));
}
