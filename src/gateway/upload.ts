/**
 * The weights path, in the order in which a chunk meets it:
 *
 *   1. ask      FETCH the whitelisted root from the depot
 *   2. offer    the depot's OFFER must be exactly the entry's size and chunking
 *   3. receive  each CHUNK, in order and of the right length
 *   4. hash     perhaps beside this thread (chunk-hasher.port.ts), while the next chunks come in
 *   5. check    its place in the entry's chunk tree
 *   6. count    the volatile bit counter; bit S+1 is refused
 *   7. forward  LOAD_CHUNK to the server, at the server's pace
 *   8. finish   at exactly S bits: LOAD_END; the caller enters SERVING
 *
 * Any failure throws; the caller cuts power. Nothing is forwarded before step 5 has passed, and what
 * passed it is what is forwarded: a chunk lies in memory of our own (upload-memory.ts), which the
 * link writes again only once the server's end of the kernel has all of it.
 * (Encryption of the chunks under a key of this boot comes in at step 3: `ChunkOpener`.)
 */
import { assert, InvalidError, UnavailableError } from "../base/assert.ts";
import type { Clock, Timer } from "../base/clock.ts";
import { limits } from "../base/limits.ts";
import { leafHash, verifyInclusion } from "../base/merkle.ts";
import { decodeChunk, decodeOffer, encodeFetch } from "../format/depot-link.ts";
import { frameHeaderBytes, frameType, writeFrameHeader, type Frame } from "../format/link.ts";
import { encodeLoadBegin } from "../format/server-link.ts";
import type { WhitelistEntry } from "../format/whitelist.ts";
import type { Wire } from "../format/wire.ts";
import type { ChunkHasher } from "./chunk-hasher.port.ts";
import type { BitCounter } from "./counter.ts";
import { ChunkMemory } from "./upload-memory.ts";

/** Chunks that are received, hashed or sent at one time. */
const chunksUnderWay = 8;

/** Turns what the depot sent into chunk plaintext. Today the identity; HPKE and AEAD go here. */
export type ChunkOpener = (index: number, data: Buffer) => Buffer;

export interface UploadOptions {
  readonly gateway: string;
  readonly entry: WhitelistEntry;
  readonly depot: Wire;
  readonly server: Wire;
  readonly counter: BitCounter;
  readonly clock: Clock;
  /** Longest silence between two chunks; milliseconds. */
  readonly stallMs: number;
  readonly open?: ChunkOpener;
  /** Closing it is the caller's. Without one, chunks are hashed by the thread that receives them. */
  readonly hasher?: ChunkHasher;
}

/** Hashes at once, where it is called. */
const inlineHasher: ChunkHasher = {
  allocate: (bytes) => Buffer.allocUnsafeSlow(bytes),
  leafHash(data, done) {
    done(leafHash(data));
  },
  close: () => undefined,
};

/** A chunk whose hash is under way. */
interface Received {
  readonly index: number;
  readonly proof: readonly Buffer[];
  readonly data: Buffer;
  /** Where it lies: memory to give back. */
  readonly payload: Buffer;
}

/**
 * Runs one upload. Resolves when exactly S bits were forwarded and LOAD_END was sent. Throws
 * InvalidError `upload.*` (a bad chunk, too many bits, a wrong offer) or UnavailableError (stall,
 * link lost, model not held). The depot link is left without a handler and should be closed.
 */
export function uploadWeights(options: UploadOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    const upload = new Upload(options, (error) => {
      if (error === null) resolve();
      else reject(error);
    });
    upload.start();
  });
}

class Upload {
  readonly #o: UploadOptions;
  readonly #settle: (error: Error | null) => void;
  readonly #chunks: number;
  readonly #hasher: ChunkHasher;
  readonly #memory: ChunkMemory;
  #received = 0;
  #forwarded = 0;
  #offered = false;
  #over = false;
  #paused = false;
  #stall: Timer | null = null;

  constructor(options: UploadOptions, settle: (error: Error | null) => void) {
    this.#o = options;
    this.#settle = settle;
    const { sizeBytes, chunkBytes } = options.entry.weights;
    this.#chunks = Math.ceil(sizeBytes / chunkBytes);
    const payloadMax = 1 + 32 * limits.chunkProof + Math.min(chunkBytes, sizeBytes);
    const hasher = options.hasher ?? inlineHasher;
    this.#hasher = hasher;
    const count = Math.min(chunksUnderWay, this.#chunks);
    this.#memory = new ChunkMemory(payloadMax, count, (bytes) => hasher.allocate(bytes));
  }

  start(): void {
    const { depot, server, entry, gateway } = this.#o;
    const lost = (who: string, reason: string): void => {
      this.#end(new UnavailableError("upload.lost", `${who} was lost: ${reason}`, "unknown"));
    };
    depot.onClose((reason) => {
      // A depot that has sent everything has nothing left to stay for.
      if (!this.#complete) lost("the depot", reason);
    });
    server.onClose((reason) => {
      lost("the server", reason);
    });
    depot.onFrame(
      (frame) => {
        this.#onFrame(frame);
      },
      (length) => this.#memory.take(length),
    );
    this.#watch();
    const begin = encodeLoadBegin({
      gateway,
      modelId: entry.modelId,
      sizeBytes: BigInt(entry.weights.sizeBytes),
      topKMax: entry.generation.topKMax,
      contextTokens: entry.generation.contextTokens,
    });
    server.send(frameType.loadBegin, 0n, begin);
    depot.send(frameType.fetch, 0n, encodeFetch(entry.weights.root));
  }

  /** All chunks have come in; some may still wait for their check. */
  get #complete(): boolean {
    return this.#received === this.#chunks;
  }

  #end(error: Error | null): void {
    if (this.#over) return;
    this.#over = true;
    this.#stall?.cancel();
    this.#settle(error);
  }

  #watch(): void {
    this.#stall?.cancel();
    this.#stall = this.#o.clock.after(this.#o.stallMs, () => {
      const why = `nothing arrived for ${this.#o.stallMs} ms`;
      this.#end(new UnavailableError("upload.stall", why, "unknown"));
    });
  }

  #onFrame(frame: Frame): void {
    if (this.#over || this.#complete) {
      // What follows the last chunk, or a failure, is never looked at: the link is about to close.
      return;
    }
    this.#watch();
    this.#orEnd(() => {
      this.#step(frame);
    });
  }

  /** Any failure that is no bug ends the upload. */
  #orEnd(step: () => void): void {
    try {
      step();
    } catch (error) {
      if (!(error instanceof InvalidError || error instanceof UnavailableError)) throw error;
      this.#end(error);
    }
  }

  #step(frame: Frame): void {
    switch (frame.type) {
      case frameType.offer:
        this.#checkOffer(frame.payload);
        this.#memory.release(frame.payload);
        return;
      case frameType.chunk:
        this.#receive(frame);
        return;
      case frameType.none: {
        const { modelId } = this.#o.entry;
        throw new UnavailableError("upload.not-held", `the depot does not hold ${modelId}`, "none");
      }
      case frameType.done:
        // After the last chunk it is not looked at.
        throw new InvalidError("upload.truncated", "the depot ended before S bits");
      default:
        throw new InvalidError("upload.frame", `unexpected frame type ${frame.type}`);
    }
  }

  #checkOffer(payload: Buffer): void {
    const offer = decodeOffer(payload);
    const { sizeBytes, chunkBytes } = this.#o.entry.weights;
    if (this.#offered || offer.sizeBytes !== BigInt(sizeBytes) || offer.chunkBytes !== chunkBytes) {
      throw new InvalidError("upload.offer", "the offer is not the whitelisted model");
    }
    this.#offered = true;
  }

  /** Step 3, and the hash is asked for. */
  #receive({ id, payload }: Frame): void {
    const chunk = this.#openChunk(Number(id), payload);
    this.#received++;
    this.#hasher.leafHash(chunk.data, (leaf) => {
      if (this.#over) return;
      this.#orEnd(() => {
        this.#forward(chunk, this.#checkChunk(chunk, leaf));
      });
    });
    if (this.#over) return;
    if (this.#complete || this.#memory.free <= 1) {
      this.#paused = true;
      this.#o.depot.pause();
    }
  }

  #openChunk(index: number, payload: Buffer): Received {
    const { sizeBytes, chunkBytes } = this.#o.entry.weights;
    if (!this.#offered || index !== this.#received) {
      throw new InvalidError("upload.order", `chunk ${index} came where ${this.#received} was due`);
    }
    if (index >= this.#chunks) {
      throw new InvalidError("upload.too-many-bits", `chunk ${index} lies beyond S`);
    }
    const { proof, data: sent } = decodeChunk(payload);
    if (proof.length > limits.chunkProof) {
      throw new InvalidError("upload.proof", "the chunk's proof is too long");
    }
    const data = this.#o.open === undefined ? sent : this.#o.open(index, sent);
    const wanted = Math.min(chunkBytes, sizeBytes - index * chunkBytes);
    if (data.length !== wanted) {
      throw new InvalidError("upload.length", `chunk ${index} has ${data.length} bytes`);
    }
    return { index, proof, data, payload };
  }

  /** Step 5. Returns the bytes that passed it, and only those may be forwarded. */
  #checkChunk({ index, proof, data }: Received, leaf: Buffer | Error): Buffer {
    if (leaf instanceof Error) throw leaf;
    try {
      verifyInclusion(leaf, index, this.#chunks, proof, this.#o.entry.weights.root);
    } catch (error) {
      if (!(error instanceof InvalidError)) throw error;
      throw new InvalidError("upload.bad-chunk", `chunk ${index}: ${error.message}`);
    }
    return data;
  }

  /** Steps 6 to 8. */
  #forward({ index, payload }: Received, data: Buffer): void {
    const { server, counter } = this.#o;
    assert(index === this.#forwarded, "hashes come in the order of the chunks");
    counter.count(data.length);
    this.#forwarded++;
    const header = Buffer.allocUnsafe(frameHeaderBytes);
    writeFrameHeader(header, 0, frameType.loadChunk, BigInt(index), data.length);
    server.sendRaw(header);
    server.sendRaw(data, () => {
      this.#taken(payload);
    });
    if (!counter.complete) return;
    server.send(frameType.loadEnd, 0n);
    this.#end(null);
  }

  /** The kernel has the whole chunk: its memory may be written again. */
  #taken(payload: Buffer): void {
    this.#memory.release(payload);
    if (this.#over || !this.#paused || this.#complete) return;
    this.#paused = false;
    this.#watch();
    this.#o.depot.resume();
  }
}
