/** Payloads between a gateway and the depot, spec/link.md section 5. */
import { Reader, Writer } from "../base/bytes.ts";
import { limits } from "../base/limits.ts";

/** FETCH, gateway -> depot: the weights whose chunk tree has this root. */
export function encodeFetch(root: Uint8Array): Buffer {
  return new Writer(32).raw(root).bytes();
}

export function decodeFetch(bytes: Uint8Array): Buffer {
  const from = new Reader(bytes, "fetch");
  const root = Buffer.from(from.raw(32));
  from.end();
  return root;
}

/** OFFER, depot -> gateway: what will follow. The gateway believes only the whitelist entry. */
export interface Offer {
  readonly sizeBytes: bigint;
  readonly chunkBytes: number;
}

export function encodeOffer(offer: Offer): Buffer {
  return new Writer(12).u64(offer.sizeBytes).u32(offer.chunkBytes).bytes();
}

export function decodeOffer(bytes: Uint8Array): Offer {
  const from = new Reader(bytes, "offer");
  const sizeBytes = from.u64();
  const chunkBytes = from.u32();
  from.end();
  return { sizeBytes, chunkBytes };
}

/** CHUNK, depot -> gateway; frame id = chunk index. The proof comes first so the data is a tail view. */
export interface Chunk {
  readonly proof: readonly Buffer[];
  readonly data: Buffer;
}

export function encodeChunk(proof: readonly Uint8Array[], data: Uint8Array): Buffer {
  const out = new Writer(1 + 32 * proof.length + data.length);
  out.u8(proof.length);
  for (const hash of proof) out.raw(hash);
  return out.raw(data).bytes();
}

export function decodeChunk(bytes: Uint8Array): Chunk {
  const from = new Reader(bytes, "chunk");
  const proof: Buffer[] = [];
  const count = from.u8();
  for (let i = 0; i < count; i++) proof.push(from.raw(32));
  return { proof, data: from.raw(Math.min(from.remaining, limits.framePayload)) };
}
