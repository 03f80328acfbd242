/**
 * Payloads between a gateway and a recomputer, spec/proof-request.md.
 * EPOCH comes first on every connection and at every new epoch; PROOF_REQUEST refers to it.
 */
import { InvalidError } from "../base/assert.ts";
import { Reader, Writer } from "../base/bytes.ts";
import { limits } from "../base/limits.ts";
import { leafBytes } from "./leaf.ts";

/** EPOCH, gateway -> recomputer: lets it check the seed law. Secret until the epoch is over. */
export interface EpochNotice {
  readonly gateway: string;
  readonly epoch: number;
  /** 32 bytes; seed = first 8 bytes of HMAC-SHA256(key, tag). */
  readonly epochKey: Buffer;
}

export function encodeEpoch(notice: EpochNotice): Buffer {
  return new Writer().text(notice.gateway).u32(notice.epoch).raw(notice.epochKey).bytes();
}

export function decodeEpoch(bytes: Uint8Array): EpochNotice {
  const from = new Reader(bytes, "epoch");
  const gateway = from.text(limits.name);
  const epoch = from.u32();
  const epochKey = Buffer.from(from.raw(32));
  from.end();
  return { gateway, epoch, epochKey };
}

/**
 * PROOF_REQUEST, gateway -> recomputer; frame id = tag. Everything is carried as it was encoded,
 * so that the recomputer checks the leaf's digests over the very bytes.
 */
export interface ProofRequest {
  /** Below 2^63. */
  readonly leafIndex: bigint;
  readonly leaf: Buffer;
  readonly input: Buffer;
  readonly output: Buffer;
  /**
   * Sent because of a recheck order, not kept by its coin: judged like any other, but no sample of
   * what the server does. Absent means false.
   */
  readonly rechecked?: true;
}

/** Set in the leaf index of a pair that is sent because of a recheck. */
const recheckedBit = 1n << 63n;

export function encodeProofRequest(request: ProofRequest): Buffer {
  const size = leafBytes + request.input.length + request.output.length + 32;
  const out = new Writer(size);
  const index = request.leafIndex | (request.rechecked === true ? recheckedBit : 0n);
  out.u64(index).raw(request.leaf).blob(request.input).blob(request.output);
  return out.bytes();
}

/** Copies, so the result may outlive the frame. Throws InvalidError `proof-request.*`. */
export function decodeProofRequest(bytes: Uint8Array): ProofRequest {
  const from = new Reader(bytes, "proof-request");
  const index = from.u64();
  const leafIndex = index & ~recheckedBit;
  const leaf = Buffer.from(from.raw(leafBytes));
  const input = Buffer.from(from.blob(limits.framePayload));
  const output = Buffer.from(from.blob(limits.framePayload));
  from.end();
  const request = { leafIndex, leaf, input, output };
  return index === leafIndex ? request : { ...request, rechecked: true };
}

/** HEARTBEAT, recomputer -> gateway, once a second: silence is alarmed on. */
export interface Heartbeat {
  readonly queued: number;
  readonly judged: bigint;
}

export function encodeHeartbeat(beat: Heartbeat): Buffer {
  return new Writer(12).u32(beat.queued).u64(beat.judged).bytes();
}

export function decodeHeartbeat(bytes: Uint8Array): Heartbeat {
  const from = new Reader(bytes, "heartbeat");
  const queued = from.u32();
  const judged = from.u64();
  from.end();
  return { queued, judged };
}

/**
 * VERDICT, recomputer -> gateway; frame id = tag. Bare ASCII `pass` or `fail`. It is sent only after
 * the verdict is durable, and again whenever the same proof request comes again. "Unable" is never
 * sent: the recomputer keeps trying.
 */
export const verdictNotices = ["pass", "fail"] as const;
export type VerdictNotice = (typeof verdictNotices)[number];

export function encodeVerdictNotice(verdict: VerdictNotice): Buffer {
  return Buffer.from(verdict, "latin1");
}

/** Throws InvalidError `verdict.kind`. */
export function decodeVerdictNotice(bytes: Uint8Array): VerdictNotice {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("latin1", 0, 64);
  const verdict = verdictNotices.find((known) => known === text);
  if (verdict === undefined) throw new InvalidError("verdict.kind", "a verdict is pass or fail");
  return verdict;
}
