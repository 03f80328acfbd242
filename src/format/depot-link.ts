/** Payloads between a gateway and the depot, spec/link.md section 5. */
import { Reader, Writer } from "../base/bytes.ts";
import { hpkeKeyBytes } from "../base/hpke.ts";
import { limits } from "../base/limits.ts";
import { bootKeyMax } from "./boot-key.ts";

/** FETCH, gateway -> depot: the weights whose chunk tree has this root, from chunk `first` on. */
export interface Fetch {
  readonly root: Buffer;
  readonly first: number;
  /** Of the boot key that they shall be sealed to (format/boot-key.ts). */
  readonly certificate: Buffer;
}

export function encodeFetch({ root, first, certificate }: Fetch): Buffer {
  return new Writer(512).raw(root).u32(first).blob(certificate).bytes();
}

export function decodeFetch(bytes: Uint8Array): Fetch {
  const from = new Reader(bytes, "fetch");
  const root = Buffer.from(from.raw(32));
  const first = from.u32();
  const certificate = Buffer.from(from.blob(bootKeyMax));
  from.end();
  return { root, first, certificate };
}

/** OFFER, depot -> gateway: what will follow. The gateway believes only the whitelist entry. */
export interface Offer {
  readonly sizeBytes: bigint;
  readonly chunkBytes: number;
  /** HPKE's encapsulated key of this stream. */
  readonly enc: Buffer;
}

export function encodeOffer(offer: Offer): Buffer {
  return new Writer(44).u64(offer.sizeBytes).u32(offer.chunkBytes).raw(offer.enc).bytes();
}

export function decodeOffer(bytes: Uint8Array): Offer {
  const from = new Reader(bytes, "offer");
  const sizeBytes = from.u64();
  const chunkBytes = from.u32();
  const enc = Buffer.from(from.raw(hpkeKeyBytes));
  from.end();
  return { sizeBytes, chunkBytes, enc };
}

/**
 * What a CHUNK, depot -> gateway, seals (format/weights-stream.ts); frame id = chunk index. The proof comes first so
 * that the data is a tail view.
 */
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
