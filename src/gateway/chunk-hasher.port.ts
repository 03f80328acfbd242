/**
 * Hashing of weights beside the thread that receives and forwards them, as a port;
 * adapter/chunk-hasher.ts does it in a worker thread.
 *
 * Trust: its answers decide what reaches a server, as if the gateway had computed them itself. It is
 * the gateway's own code in the gateway's own process, and sees the weights and nothing else.
 */
export interface ChunkHasher {
  /** Fresh memory, best suited to what `leafHash` will read. Any other memory works too. */
  allocate(bytes: number): Buffer;
  /**
   * The leaf hash of `data` (base/merkle.ts), told to `done` once, perhaps before this returns, in the
   * order of the calls. The bytes must not change before that. What cannot be hashed any more gives
   * an UnavailableError `hasher.*`, never a wrong hash.
   */
  leafHash(data: Buffer, done: (leaf: Buffer | Error) => void): void;
  /** Lets go of what it holds. Nothing is told to any `done` from now on. */
  close(): void;
}
