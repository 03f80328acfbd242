/**
 * Reads a gateway's log, entry by entry, and holds its rounds to the rules of spec/draw.md: commitments first, reveals that
 * match them, no pair outside a round, and the coins that follow. Pure: entries in, news out. Nothing here is believed
 * before the caller has held the root over the entries against a checkpoint.
 */
import { equalBytes } from "../base/bytes.ts";
import { leafHash, MerkleFrontier } from "../base/merkle.ts";
import { coinBits, commitmentOf, epsilonOf, jointKey, type Drawer } from "../format/draw.ts";
import {
  decodeLogEntry,
  leafBytes,
  type LogEntry,
  type RoundOpen,
  type RoundReveal,
} from "../format/leaf.ts";
import type { Tag } from "../format/tag.ts";

/** A pair of a round, as its leaf tells of it. */
export interface WalkedPair {
  readonly tag: Tag;
  readonly index: number;
  readonly completedMs: number;
}

export type WalkNews =
  /** A round was revealed, and everything fits: these of its pairs its coins kept. */
  | {
      readonly kind: "round";
      readonly round: bigint;
      readonly pairs: number;
      readonly kept: readonly WalkedPair[];
    }
  /** What no honest gateway writes. `atMs`: by the gateway's clock. */
  | { readonly kind: "lie"; readonly round: bigint; readonly atMs: number; readonly why: string };

export interface WalkRules {
  /** Smallest epsilon that the parties agreed to; from 0 to 1. */
  readonly epsilonMin: number;
  /** A round with more pairs than this and no reveal is a lie. */
  readonly lateEntries: number;
}

const drawerNames: readonly (readonly [Drawer, "gateway" | "a" | "b", string])[] = [
  ["g", "gateway", "the gateway"],
  ["a", "a", "party A"],
  ["b", "b", "party B"],
];

export class RoundWalk {
  readonly #rules: WalkRules;
  readonly #frontier = new MerkleFrontier();
  /** Rounds that are open, the one in force first. */
  #open: RoundOpen[] = [];
  #last = 0n;
  #pairs: WalkedPair[] = [];
  /** Where gateways' starts stand, rising. */
  readonly boots: number[] = [];
  /** Rounds of which no further lie is told. */
  readonly #told = new Set<string>();

  constructor(rules: WalkRules) {
    this.#rules = rules;
  }

  /** Entries read so far, and the RFC 6962 root over them. */
  get size(): number {
    return this.#frontier.size;
  }

  root(): Buffer {
    return this.#frontier.root();
  }

  /** The round whose pairs are being read; 0 before the first. */
  get round(): bigint {
    return this.#open[0]?.round ?? 0n;
  }

  /** The next entries, whole. Throws InvalidError `leaf.*` for what is no entry: then nothing of it counts. */
  add(entries: Buffer): WalkNews[] {
    const parsed: { readonly entry: LogEntry; readonly hash: Buffer }[] = [];
    for (let at = 0; at < entries.length; at += leafBytes) {
      const bytes = entries.subarray(at, at + leafBytes);
      parsed.push({ entry: decodeLogEntry(bytes), hash: leafHash(bytes) });
    }
    return parsed.flatMap(({ entry, hash }) => {
      const index = this.#frontier.size;
      this.#frontier.append(hash);
      return this.#entry(entry, index);
    });
  }

  #entry(entry: LogEntry, index: number): WalkNews[] {
    switch (entry.kind) {
      case "pair":
        return this.#pair({ tag: entry.tag, index, completedMs: entry.completedMs });
      case "round-open":
        return this.#opened(entry);
      case "round-reveal":
        return this.#revealed(entry);
      case "boot":
        this.boots.push(index);
        return [];
    }
  }

  #lie(round: bigint, atMs: number, why: string): WalkNews[] {
    const key = `${round} ${why}`;
    if (this.#told.has(key)) return [];
    this.#told.add(key);
    return [{ kind: "lie", round, atMs, why }];
  }

  #pair(pair: WalkedPair): WalkNews[] {
    const inForce = this.#open[0];
    const { completedMs } = pair;
    if (inForce === undefined) return this.#lie(this.#last, completedMs, "pairs outside any round");
    this.#pairs.push(pair);
    if (this.#pairs.length > this.#rules.lateEntries) {
      return this.#lie(inForce.round, completedMs, "it goes on and is not revealed");
    }
    return [];
  }

  #opened(open: RoundOpen): WalkNews[] {
    const { round, atMs, threshold } = open;
    const news: WalkNews[] = [];
    if (round !== this.#last + 1n) {
      const why = `it was opened after round ${this.#last}: rounds rise by one`;
      news.push(...this.#lie(round, atMs, why));
    }
    if (this.#open.length > 1) {
      news.push(...this.#lie(round, atMs, "it was opened while two others were not revealed"));
    }
    if (epsilonOf(threshold) < this.#rules.epsilonMin) {
      const why = `its epsilon is ${epsilonOf(threshold)}, agreed is ${this.#rules.epsilonMin}`;
      news.push(...this.#lie(round, atMs, why));
    }
    this.#last = round > this.#last ? round : this.#last;
    this.#open.push(open);
    return news;
  }

  #revealed(reveal: RoundReveal): WalkNews[] {
    const { round, atMs } = reveal;
    const open = this.#open[0];
    if (open?.round !== round) return this.#lie(round, atMs, "it was revealed out of turn");
    const pairs = this.#pairs;
    this.#pairs = [];
    this.#open.shift();
    const news: WalkNews[] = [];
    if (this.#open.length === 0) {
      news.push(...this.#lie(round, atMs, "it was revealed before another was agreed"));
    }
    for (const [drawer, field, name] of drawerNames) {
      if (equalBytes(commitmentOf(drawer, round, reveal[field]), open[field])) continue;
      const why = `the secret of ${name} is not the one that was committed to`;
      return [...news, ...this.#lie(round, atMs, why)];
    }
    const key = jointKey(reveal);
    const kept = pairs.filter(({ tag }) => coinBits(key, tag) < open.threshold);
    return [...news, { kind: "round", round, pairs: pairs.length, kept }];
  }
}
