/**
 * The message of a covert channel: bytes and a CRC-32, sent as an endless sequence of bits in which a
 * carrier's place says which bit of the message it repeats. So replies may be lost, come in any order
 * or be misread here and there: the receiver lets the carriers of each bit vote.
 */
import { hash32, Dice } from "./dice.ts";
import type { Observed, Received } from "./attack.ts";

/** CRC-32 of IEEE 802.3, reflected, as in zlib. */
function crc32(bytes: Uint8Array): number {
  let crc = 0xffff_ffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let i = 0; i < 8; i++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb8_8320 : 0);
  }
  return ~crc >>> 0;
}

/** Knobs of every covert channel. */
export const messageKnobs = {
  /** Payload bytes. */
  bytes: 8,
  /** Which random payload; it is also the key that sender and receiver share. */
  message: 1,
  /** 1: the payload is taken from the weights, from byte `offset` on; else it is random. */
  weights: 0,
  offset: 500_000,
};
export type MessageKnobs = typeof messageKnobs;

/** The bits of payload and CRC-32, big-endian, most significant bit first. */
export function messageBits(knobs: MessageKnobs, weights: Uint8Array): Uint8Array {
  const payload = Buffer.alloc(knobs.bytes);
  if (knobs.weights !== 0) {
    payload.set(weights.subarray(knobs.offset, knobs.offset + knobs.bytes));
  } else {
    const dice = new Dice(BigInt(knobs.message));
    for (let i = 0; i < payload.length; i++) payload[i] = dice.word() & 255;
  }
  const whole = Buffer.alloc(payload.length + 4);
  whole.set(payload);
  whole.writeUInt32BE(crc32(payload), payload.length);
  return Uint8Array.from(
    { length: 8 * whole.length },
    (_, i) => ((whole[i >> 3] ?? 0) >> (7 - (i & 7))) & 1,
  );
}

/** Which bit of the message the carrier at `place` of reply `tag` repeats. */
export function bitIndex(knobs: MessageKnobs, tag: bigint, place: number): number {
  const bits = 8 * (knobs.bytes + 4);
  const low = Number(tag & 0xffff_ffffn);
  return hash32(knobs.message, low, place) % bits;
}

/** Which bit of a message carriers stand for, at the sender. */
export class Sender {
  readonly #knobs: MessageKnobs;
  readonly #bits: Uint8Array;

  constructor(knobs: MessageKnobs, weights: Uint8Array) {
    this.#knobs = knobs;
    this.#bits = messageBits(knobs, weights);
  }

  /** The bit that the carrier at `place` of reply `tag` has to show. */
  bit(tag: bigint, place: number): number {
    return this.#bits[bitIndex(this.#knobs, tag, place)] ?? 0;
  }
}

/** A keyed parity of a carrier: half of all carriers show 1 by themselves. */
export function parity(knobs: MessageKnobs, a: number, b: number): number {
  return hash32(knobs.message ^ 0x5eed, a, b) & 1;
}

/** Entropy of a coin, in bits. */
function entropy(p: number): number {
  return p <= 0 || p >= 1 ? 0 : -p * Math.log2(p) - (1 - p) * Math.log2(1 - p);
}

/** What so many bits with so many wrong ones tell; nothing where they are no better than coins. */
function informationOf(bits: number, wrong: number): number {
  return 2 * wrong >= bits ? 0 : bits * (1 - entropy(wrong / bits));
}

/** Counts votes at the receiver, and makes the message of them. */
export class Ballot {
  readonly #knobs: MessageKnobs;
  readonly #truth: Uint8Array;
  readonly #votes: Int32Array;
  #bits = 0;
  #wrong = 0;
  #tokens = 0;

  /** `weights` are only for counting errors. */
  constructor(knobs: MessageKnobs, weights: Uint8Array) {
    this.#knobs = knobs;
    this.#truth = messageBits(knobs, weights);
    this.#votes = new Int32Array(this.#truth.length);
  }

  /** The carrier at `place` of reply `tag` shows `bit`. */
  vote(tag: bigint, place: number, bit: number): void {
    const index = bitIndex(this.#knobs, tag, place);
    this.#votes[index] = (this.#votes[index] ?? 0) + (bit === 0 ? -1 : 1);
    this.#bits++;
    if (bit !== this.#truth[index]) this.#wrong++;
  }

  /** `tokens` more of output were looked through. */
  seen(tokens: number): void {
    this.#tokens += tokens;
  }

  result(observed: readonly Observed[]): Received {
    const read = Array.from(this.#votes, (votes) => (votes > 0 ? 1 : 0));
    const bytes = Buffer.alloc(read.length / 8);
    for (const [i, bit] of read.entries()) {
      bytes[i >> 3] = (bytes[i >> 3] ?? 0) | (bit << (7 - (i & 7)));
    }
    const payload = bytes.subarray(0, -4);
    const whole = this.#votes.every((votes) => votes !== 0);
    const times = observed.flatMap(({ chunks }) => chunks.map(({ atMs }) => atMs));
    const span = times.length === 0 ? 0 : max(times) + max(times.map((time) => -time));
    return {
      bits: this.#bits,
      wrong: this.#wrong,
      information: informationOf(this.#bits, this.#wrong),
      tokens: this.#tokens,
      replies: observed.length,
      seconds: span / 1000,
      recovered: whole && crc32(payload) === bytes.readUInt32BE(payload.length),
      message: {
        bits: read.length,
        wrong: read.filter((bit, i) => bit !== this.#truth[i] || this.#votes[i] === 0).length,
      },
    };
  }
}

function max(values: readonly number[]): number {
  return values.reduce((most, value) => Math.max(most, value), -Infinity);
}
