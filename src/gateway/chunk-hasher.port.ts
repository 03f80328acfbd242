/**
 * Opening and hashing of sealed weights beside the thread that receives and forwards them, as a port;
 * adapter/chunk-hasher.ts does it in worker threads.
 *
 * Trust: its answers decide what reaches a server, as if the gateway had computed them itself. It is the gateway's
 * own code in the gateway's own process, and sees the weights and the key of their stream, and nothing else.
 */
import type { KeyObject } from "node:crypto";

export interface ChunkHasher {
  /** Fresh memory: the only memory that `open` takes. */
  allocate(bytes: number): Buffer;
  /** The key (AES-256-GCM) of the chunks that `open` is called for from now on. */
  useKey(key: KeyObject): void;
  /**
   * Opens `sealed`, a CHUNK payload (format/weights-stream.ts), in its own memory, and hashes the chunk's data.
   * `done` is told the leaf hash (base/merkle.ts), once, perhaps before this returns, in the order of the calls.
   * Until then the memory is the hasher's; with the hash, all of it but the tag is plaintext whose tag was right.
   *
   * A wrong tag gives InvalidError `gcm.tag`, and leaves no plaintext. What cannot be done any more gives an
   * UnavailableError `hasher.*`, never a wrong hash.
   */
  open(sealed: Buffer, nonce: Buffer, done: (leaf: Buffer | Error) => void): void;
  /** Lets go of what it holds. Nothing is told to any `done` from now on. */
  close(): void;
}
