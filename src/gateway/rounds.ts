/** Which round of the joint draw a pair belongs to, by where its leaf stands, and its coin there. spec/draw.md. */
import type { KeyObject } from "node:crypto";
import { coinBits, jointKey } from "../format/draw.ts";
import type { Tag } from "../format/tag.ts";
import type { AgreedRound } from "./draw.ts";
import type { Mark } from "./store.port.ts";

/** A round that covers the leaves above `from`, up to where the next one begins. */
export interface RoundCoin {
  readonly from: bigint;
  readonly round: bigint;
  readonly threshold: bigint;
  readonly key: KeyObject;
}

/** What the sampler asks. */
export interface Rounds {
  /** The round that covers the leaf at `index`; null where none did. */
  at(index: bigint): RoundCoin | null;
}

/** Whether a round's coin keeps a pair. */
export function keepsPair({ key, threshold }: RoundCoin, tag: Tag): boolean {
  return coinBits(key, tag) < threshold;
}

export class RoundBook implements Rounds {
  /** By rising `from`. */
  readonly #rounds: RoundCoin[] = [];

  /** A round takes over: it covers the leaves above `from`. */
  take({ round, threshold, secrets }: AgreedRound, from: bigint): void {
    this.#rounds.push({ from, round, threshold, key: jointKey(secrets) });
  }

  at(index: bigint): RoundCoin | null {
    for (let i = this.#rounds.length - 1; i >= 0; i--) {
      const round = this.#rounds[i];
      if (round !== undefined && round.from < index) return round;
    }
    return null;
  }
}

/**
 * The rounds that a log's marks tell of, revealed ones from the log itself and the one in force from `current`.
 * Round r begins behind the reveal of the round before it; the first one behind its own opening.
 */
export function bookOf(marks: readonly Mark[], current: AgreedRound | null): RoundBook {
  const book = new RoundBook();
  const secrets = new Map<bigint, AgreedRound["secrets"]>();
  for (const { entry } of marks) {
    if (entry.kind === "round-reveal") secrets.set(entry.round, entry);
  }
  if (current !== null) secrets.set(current.round, current.secrets);
  let lastReveal: bigint | null = null;
  const reveals = marks.filter(({ entry }) => entry.kind === "round-reveal").values();
  for (const { index, entry } of marks) {
    if (entry.kind !== "round-open") continue;
    const { round, atMs, threshold } = entry;
    const from = lastReveal ?? index;
    const known = secrets.get(round);
    lastReveal = reveals.next().value?.index ?? null;
    if (known !== undefined) book.take({ round, index, atMs, threshold, secrets: known }, from);
    if (lastReveal === null) break;
  }
  return book;
}
