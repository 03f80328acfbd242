/** Payloads of the proof of erasure, spec/erase.md. */
import { Reader, Writer } from "../base/bytes.ts";

/** Bytes of an ERASE_DATA frame; the last one may be shorter. */
export const erasePiece = 1_048_576;

/** Bytes of the key of the MAC, and of the MAC. */
export const eraseKeyBytes = 32;

/** ERASE_BEGIN, gateway -> server: how many bytes will come. */
export function encodeEraseBegin(bytes: bigint): Buffer {
  return new Writer(8).u64(bytes).bytes();
}

export function decodeEraseBegin(payload: Uint8Array): bigint {
  const from = new Reader(payload, "erase-begin");
  const bytes = from.u64();
  from.end();
  return bytes;
}

/** ERASE_KEY, gateway -> server. The key goes as it is, and so does the MAC in ERASE_MAC. */
export function decodeEraseKey(payload: Uint8Array): Buffer {
  const from = new Reader(payload, "erase-key");
  const key = Buffer.from(from.raw(eraseKeyBytes));
  from.end();
  return key;
}
