/** Payloads with which a gateway's log is read over a link, spec/link.md section 9. */
import { InvalidError } from "../base/assert.ts";
import { Reader, Writer } from "../base/bytes.ts";
import { limits } from "../base/limits.ts";
import { leafBytes } from "./leaf.ts";

/** LOG_ASK: entries from `from` on, at most `count`. */
export interface LogAsk {
  readonly from: bigint;
  readonly count: number;
}

export function encodeLogAsk({ from, count }: LogAsk): Buffer {
  return new Writer(12).u64(from).u32(count).bytes();
}

/** Throws InvalidError `log-ask.*`. */
export function decodeLogAsk(bytes: Uint8Array): LogAsk {
  const source = new Reader(bytes, "log-ask");
  const from = source.u64();
  const count = source.count(limits.logEntries);
  source.end();
  return { from, count };
}

/** LOG_LEAVES: entries that stand one after the other in the log. Fewer than were asked for: the log ends there. */
export interface LogLeaves {
  readonly from: bigint;
  /** Whole entries of 128 bytes. */
  readonly entries: Buffer;
}

export function encodeLogLeaves({ from, entries }: LogLeaves): Buffer {
  return new Writer(8 + entries.length).u64(from).raw(entries).bytes();
}

/** Throws InvalidError `log-leaves.*`. `entries` is a view of the payload. */
export function decodeLogLeaves(bytes: Uint8Array): LogLeaves {
  const source = new Reader(bytes, "log-leaves");
  const from = source.u64();
  const entries = source.raw(source.remaining);
  if (entries.length % leafBytes !== 0 || entries.length > limits.logEntries * leafBytes) {
    throw new InvalidError("log-leaves.length", "not whole entries, or too many of them");
  }
  return { from, entries };
}
