/**
 * The weights path, in the order in which a chunk meets it:
 *
 *   1. ask      FETCH the whitelisted root from the depot
 *   2. offer    the depot's OFFER must be exactly the entry's size and chunking
 *   3. check    each CHUNK, in order, against the entry's chunk tree
 *   4. count    the volatile bit counter; bit S+1 is refused
 *   5. forward  LOAD_CHUNK to the server, at the server's pace
 *   6. finish   at exactly S bits: LOAD_END; the caller enters SERVING
 *
 * Any failure throws; the caller cuts power. Nothing is forwarded before step 3 has passed, and what
 * passed it is what is forwarded: a chunk lies in memory of our own (upload-memory.ts), which the
 * link writes again only once the server's end of the kernel has all of it.
 * (Encryption of the chunks under a key of this boot comes in at step 3: `ChunkOpener`.)
 */
import { InvalidError, UnavailableError } from "../base/assert.ts";
import type { Clock, Timer } from "../base/clock.ts";
import { limits } from "../base/limits.ts";
import { leafHash, verifyInclusion } from "../base/merkle.ts";
import { decodeChunk, decodeOffer, encodeFetch } from "../format/depot-link.ts";
import { frameHeaderBytes, frameType, writeFrameHeader, type Frame } from "../format/link.ts";
import { encodeLoadBegin } from "../format/server-link.ts";
import type { WhitelistEntry } from "../format/whitelist.ts";
import type { Wire } from "../format/wire.ts";
import type { BitCounter } from "./counter.ts";
import { ChunkMemory } from "./upload-memory.ts";

/** Chunks that are received, checked or sent at one time. */
const chunksUnderWay = 4;

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
  readonly #memory: ChunkMemory;
  #next = 0;
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
    this.#memory = new ChunkMemory(payloadMax, Math.min(chunksUnderWay, this.#chunks));
  }

  start(): void {
    const { depot, server, entry, gateway } = this.#o;
    const lost = (who: string) => (reason: string) => {
      this.#end(new UnavailableError("upload.lost", `${who} was lost: ${reason}`, "unknown"));
    };
    depot.onClose(lost("the depot"));
    server.onClose(lost("the server"));
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
    if (this.#over) {
      // Bits after S, or after a failure, are never looked at: the depot link is about to close.
      return;
    }
    try {
      this.#step(frame);
    } catch (error) {
      if (!(error instanceof InvalidError || error instanceof UnavailableError)) throw error;
      this.#end(error);
    }
  }

  #step(frame: Frame): void {
    this.#watch();
    switch (frame.type) {
      case frameType.offer:
        this.#checkOffer(frame.payload);
        this.#memory.release(frame.payload);
        return;
      case frameType.chunk:
        this.#forward(frame);
        return;
      case frameType.none: {
        const { modelId } = this.#o.entry;
        throw new UnavailableError("upload.not-held", `the depot does not hold ${modelId}`, "none");
      }
      case frameType.done:
        // `done` may only come at S bits, and there #over is already true.
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

  #checkChunk(index: number, payload: Buffer): Buffer {
    const { sizeBytes, chunkBytes, root } = this.#o.entry.weights;
    if (!this.#offered || index !== this.#next) {
      throw new InvalidError("upload.order", `chunk ${index} came where ${this.#next} was due`);
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
    try {
      verifyInclusion(leafHash(data), index, this.#chunks, proof, root);
    } catch (error) {
      if (!(error instanceof InvalidError)) throw error;
      throw new InvalidError("upload.bad-chunk", `chunk ${index}: ${error.message}`);
    }
    return data;
  }

  #forward(frame: Frame): void {
    const { server, depot, counter } = this.#o;
    const index = Number(frame.id);
    const data = this.#checkChunk(index, frame.payload);
    counter.count(data.length);
    this.#next = index + 1;
    const header = Buffer.allocUnsafe(frameHeaderBytes);
    writeFrameHeader(header, 0, frameType.loadChunk, frame.id, data.length);
    server.sendRaw(header);
    server.sendRaw(data, () => {
      this.#taken(frame.payload);
    });
    if (counter.complete) {
      server.send(frameType.loadEnd, 0n);
      this.#end(null);
      return;
    }
    if (!this.#memory.free) {
      this.#paused = true;
      depot.pause();
    }
  }

  /** The kernel has the whole chunk: its memory may be written again. */
  #taken(payload: Buffer): void {
    this.#memory.release(payload);
    if (this.#over || !this.#paused) return;
    this.#paused = false;
    this.#watch();
    this.#o.depot.resume();
  }
}
