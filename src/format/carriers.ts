/**
 * What a gateway counts of all that leaves beside the tokens: when text leaves, where replies end, which
 * fail. spec/status.md, "Release carriers". Only the gateway sees the release ticks; what the counts mean
 * in bits is for others to say (verification/release.ts). Sums since counting began: they never fall.
 */
import { InvalidError } from "../base/assert.ts";
import { Reader, Writer } from "../base/bytes.ts";

export interface CarrierCounts {
  /** Milliseconds for which was counted, on the gateway's monotonic clock. */
  readonly ms: number;
  /** Release ticks, each counted once for every pair that was open, from admission to its last sign. */
  readonly ticks: number;
  /** Where a tick may fall within what left: before each byte of text, its start and its end. */
  readonly places: number;
  /** Pairs that are over: ended by the server, failed, or withdrawn by the client. */
  readonly pairs: number;
  /** Of them: ended by END, and their tokens. */
  readonly ended: number;
  readonly endedTokens: number;
  /** Of them: told to the router as ABORT, whosever doing it was, and bytes of text that had left. */
  readonly failed: number;
  readonly failedBytes: number;
  /** Tokens of all pairs that are over. */
  readonly tokens: number;
}

const fields = [
  ...(["ms", "ticks", "places", "pairs", "ended"] as const),
  ...(["endedTokens", "failed", "failedBytes", "tokens"] as const),
] as const;

export const noCarriers: CarrierCounts = {
  ...{ ms: 0, ticks: 0, places: 0, pairs: 0, ended: 0 },
  ...{ endedTokens: 0, failed: 0, failedBytes: 0, tokens: 0 },
};

/** What came between two readings; null when `to` is not the later of the two: counting began anew. */
export function carriersSince(from: CarrierCounts, to: CarrierCounts): CarrierCounts | null {
  if (fields.some((field) => to[field] < from[field])) return null;
  const difference = { ...noCarriers } as { -readonly [K in keyof CarrierCounts]: number };
  for (const field of fields) difference[field] = to[field] - from[field];
  return difference;
}

/** CARRIERS, gateway -> recomputer, once a second; every count a u64, in the order of the interface. */
export function encodeCarriers(counts: CarrierCounts): Buffer {
  const out = new Writer(8 * fields.length);
  for (const field of fields) out.u64(BigInt(Math.floor(counts[field])));
  return out.bytes();
}

/** Throws InvalidError `carriers.*`. */
export function decodeCarriers(bytes: Uint8Array): CarrierCounts {
  const from = new Reader(bytes, "carriers");
  const counts = { ...noCarriers } as { -readonly [K in keyof CarrierCounts]: number };
  for (const field of fields) counts[field] = readCount(from);
  from.end();
  return counts;
}

/** More than this was never counted; beyond 2^53 numbers are no counts. */
function readCount(from: Reader): number {
  const value = from.u64();
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw new InvalidError("carriers.count", "a count is above 2^53");
  }
  return Number(value);
}
