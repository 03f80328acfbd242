/**
 * The rules of the joint draw as the log alone shows them (spec/draw.md), for the audit: rounds rise by one, each is agreed
 * before the one before it is revealed, no pair stands outside a round, the secrets are those that were committed to,
 * and the coins follow. Independent of the recomputer's own walk.
 */
import { equalBytes } from "../base/bytes.ts";
import { hmacOf, secretKey } from "../base/hash.ts";
import { commitmentOf, epsilonOf, type Drawer } from "../format/draw.ts";
import type { RoundOpen, RoundReveal } from "../format/leaf.ts";

export interface RoundFault {
  readonly code: string;
  readonly index: number;
  readonly why: string;
}

/** A pair that its coin chose. */
export interface KeptPair {
  readonly index: number;
  readonly tag: bigint;
  readonly round: bigint;
  /** When its round was revealed, by the gateway's clock. */
  readonly revealedMs: number;
}

const drawerNames: readonly (readonly [Drawer, "gateway" | "a" | "b", string])[] = [
  ["g", "gateway", "the gateway"],
  ["a", "a", "party A"],
  ["b", "b", "party B"],
];

/** The first 53 bits of HMAC-SHA256(s_G xor s_A xor s_B, u64 tag), for many tags. */
function coins({ gateway, a, b }: RoundReveal): (tag: bigint) => bigint {
  const key = Buffer.from(gateway.map((byte, i) => byte ^ (a[i] ?? 0) ^ (b[i] ?? 0)));
  const hmac = hmacOf(secretKey(key), 8);
  const message = Buffer.alloc(8);
  return (tag) => {
    message.writeBigUInt64BE(tag);
    return hmac(message).readBigUInt64BE(0) >> 11n;
  };
}

export class AuditRounds {
  readonly #epsilonMin: number;
  #open: RoundOpen[] = [];
  #last = 0n;
  #indices: number[] = [];
  #tags: bigint[] = [];
  /** The first thing that breaks each rule. */
  readonly faults: RoundFault[] = [];
  readonly opens = new Map<bigint, RoundOpen>();
  readonly kept: KeptPair[] = [];
  revealed = 0;
  /** Pairs before the first round. */
  outside = 0;
  #outsideAt = -1;

  constructor(epsilonMin: number) {
    this.#epsilonMin = epsilonMin;
  }

  /** Rounds agreed so far. */
  get last(): bigint {
    return this.#last;
  }

  /** Pairs of rounds that are not revealed. */
  get waiting(): number {
    return this.#tags.length;
  }

  #fault(code: string, index: number, why: string): void {
    if (!this.faults.some((fault) => fault.code === code)) this.faults.push({ code, index, why });
  }

  pair(tag: bigint, index: number): void {
    if (this.#open.length === 0) {
      this.outside++;
      if (this.#outsideAt < 0) this.#outsideAt = index;
      return;
    }
    this.#indices.push(index);
    this.#tags.push(tag);
  }

  opened(open: RoundOpen, index: number): void {
    const { round, threshold } = open;
    if (round !== this.#last + 1n) {
      this.#fault("round.order", index, `round ${round} is opened after round ${this.#last}`);
    }
    if (this.#open.length > 1) {
      this.#fault("round.order", index, `round ${round} is opened while two others are open`);
    }
    if (epsilonOf(threshold) < this.#epsilonMin) {
      const why = `the epsilon of round ${round} is ${epsilonOf(threshold)}, below ${this.#epsilonMin}`;
      this.#fault("round.epsilon", index, why);
    }
    if (round > this.#last) this.#last = round;
    this.opens.set(round, open);
    this.#open.push(open);
  }

  reveal(reveal: RoundReveal, index: number): void {
    const { round } = reveal;
    const open = this.#open[0];
    if (open?.round !== round) {
      this.#fault("round.order", index, `round ${round} is revealed out of turn`);
      return;
    }
    this.#open.shift();
    const [indices, tags] = [this.#indices, this.#tags];
    [this.#indices, this.#tags] = [[], []];
    if (this.#open.length === 0) {
      this.#fault("round.order", index, `round ${round} is revealed before another was agreed`);
    }
    for (const [drawer, field, name] of drawerNames) {
      if (equalBytes(commitmentOf(drawer, round, reveal[field]), open[field])) continue;
      const why = `the secret of ${name} in round ${round} is not the one that was committed to`;
      this.#fault("round.secret", index, why);
      return;
    }
    this.revealed++;
    const coin = coins(reveal);
    tags.forEach((tag, i) => {
      if (coin(tag) >= open.threshold) return;
      this.kept.push({ index: indices[i] ?? 0, tag, round, revealedMs: reveal.atMs });
    });
  }

  /** After the last entry: a log with rounds has no pair outside them. */
  end(): void {
    if (this.#last === 0n || this.outside === 0) return;
    this.#fault("round.outside", this.#outsideAt, "a pair stands outside any round");
  }
}

/** The order in which faults are told. */
export const roundCodes = [
  "round.order",
  "round.outside",
  "round.epsilon",
  "round.secret",
] as const;
