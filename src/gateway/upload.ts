/**
 * The weights path, in the order in which a chunk meets it:
 *
 *   1. ask      FETCH the whitelisted root from the depot, with the key of this boot     upload-source.ts
 *   2. offer    the depot's OFFER must be exactly the entry's size and chunking
 *   3. receive  each CHUNK, in order, sealed
 *   4. open     its tag must be right; then hash it. Perhaps beside this thread (chunk-hasher.port.ts), while the
 *               next chunks come in
 *   5. check    its length, and its place in the entry's chunk tree
 *   6. count    the volatile bit counter; bit S+1 is refused
 *   7. forward  LOAD_CHUNK to the server, at the server's pace
 *   8. finish   at exactly S bits: LOAD_END; the caller enters SERVING
 *
 * Any failure throws; the caller cuts power. A lost link to the depot is no failure: it is dialled again and goes on
 * with the chunk that is due. Nothing is read of a chunk before its tag was right, nothing is forwarded before
 * step 5 has passed, and what passed it is what is forwarded: a chunk lies in memory of our own
 * (upload-memory.ts), which the link writes again only once the server's end of the kernel has all of it.
 */
import { assert, InvalidError, UnavailableError } from "../base/assert.ts";
import type { Clock, Timer } from "../base/clock.ts";
import { gcmTagBytes } from "../base/gcm.ts";
import { limits } from "../base/limits.ts";
import { verifyInclusion } from "../base/merkle.ts";
import { decodeChunk, type Chunk } from "../format/depot-link.ts";
import { frameHeaderBytes, frameType, writeFrameHeader } from "../format/link.ts";
import { encodeLoadBegin } from "../format/server-link.ts";
import { chunkNonce, sealedChunkMax } from "../format/weights-stream.ts";
import type { WhitelistEntry } from "../format/whitelist.ts";
import type { Wire } from "../format/wire.ts";
import type { BootSecret } from "./boot-secret.ts";
import type { ChunkHasher } from "./chunk-hasher.port.ts";
import type { BitCounter } from "./counter.ts";
import { inlineHasher } from "./inline-hasher.ts";
import { ChunkMemory } from "./upload-memory.ts";
import { ChunkSource } from "./upload-source.ts";

/** Chunks that are received, opened, hashed or sent at one time. */
const chunksUnderWay = 8;

/** Pause before a lost depot is dialled again, unless told otherwise; milliseconds. */
const redialMs = 100;

export interface UploadOptions {
  readonly gateway: string;
  readonly entry: WhitelistEntry;
  readonly boot: BootSecret;
  readonly connectDepot: () => Promise<Wire>;
  readonly server: Wire;
  readonly counter: BitCounter;
  readonly clock: Clock;
  /** Longest silence between two chunks; milliseconds. */
  readonly stallMs: number;
  /** Pause before the depot is dialled a second time; milliseconds. Doubles after that. */
  readonly redialMs?: number;
  /** Closing it is the caller's. Without one, chunks are opened by the thread that receives them. */
  readonly hasher?: ChunkHasher;
}

/**
 * Runs one upload. Resolves when exactly S bits were forwarded and LOAD_END was sent. Throws
 * InvalidError `upload.*` (a bad chunk, too many bits, a wrong offer) or UnavailableError (stall,
 * link lost for good, model not held). No link to the depot is left open.
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
  readonly #source: ChunkSource;
  #received = 0;
  #forwarded = 0;
  #over = false;
  #paused = false;
  #stall: Timer | null = null;

  constructor(options: UploadOptions, settle: (error: Error | null) => void) {
    this.#o = options;
    this.#settle = settle;
    const { sizeBytes, chunkBytes } = options.entry.weights;
    this.#chunks = Math.ceil(sizeBytes / chunkBytes);
    const hasher = options.hasher ?? inlineHasher();
    this.#hasher = hasher;
    const count = Math.min(chunksUnderWay, this.#chunks);
    const payloadMax = sealedChunkMax(Math.min(chunkBytes, sizeBytes));
    this.#memory = new ChunkMemory(payloadMax, count, (bytes) => hasher.allocate(bytes));
    this.#source = this.#makeSource();
  }

  #makeSource(): ChunkSource {
    const { connectDepot, entry, boot, clock } = this.#o;
    return new ChunkSource({
      ...{ connectDepot, entry, boot, clock, redialMs: this.#o.redialMs ?? redialMs },
      due: () => this.#received,
      memory: (length) => this.#memory.take(length),
      onKey: (key) => {
        this.#hasher.useKey(key);
      },
      onChunk: (index, payload) => {
        this.#receive(index, payload);
      },
      onUnused: (payload) => {
        this.#memory.release(payload);
      },
      onBroken: (payload) => {
        if (payload !== null) this.#memory.replace(payload);
      },
      onSign: () => {
        this.#watch();
      },
      onFailed: (error) => {
        // A depot that has sent everything has nothing left to stay for.
        if (!this.#complete) this.#end(error);
      },
    });
  }

  start(): void {
    const { server, entry, gateway } = this.#o;
    server.onClose((reason) => {
      const why = `the server was lost: ${reason}`;
      this.#end(new UnavailableError("upload.lost", why, "unknown"));
    });
    this.#watch();
    const begin = encodeLoadBegin({
      gateway,
      modelId: entry.modelId,
      sizeBytes: BigInt(entry.weights.sizeBytes),
      topKMax: entry.generation.topKMax,
      contextTokens: entry.generation.contextTokens,
    });
    server.send(frameType.loadBegin, 0n, begin);
    this.#source.start();
  }

  /** All chunks have come in; some may still wait for their check. */
  get #complete(): boolean {
    return this.#received === this.#chunks;
  }

  #end(error: Error | null): void {
    if (this.#over) return;
    this.#over = true;
    this.#stall?.cancel();
    this.#source.close();
    this.#settle(error);
  }

  #watch(): void {
    if (this.#over) return;
    this.#stall?.cancel();
    this.#stall = this.#o.clock.after(this.#o.stallMs, () => {
      const why = `nothing arrived for ${this.#o.stallMs} ms`;
      this.#end(new UnavailableError("upload.stall", why, "unknown"));
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

  /** Step 3, and step 4 is asked for. */
  #receive(index: number, payload: Buffer): void {
    if (this.#over || index !== this.#received) {
      throw new InvalidError("upload.order", `chunk ${index} came where ${this.#received} was due`);
    }
    if (payload.length > sealedChunkMax(this.#lengthOf(index))) {
      throw new InvalidError("upload.length", `chunk ${index} has ${payload.length} bytes sealed`);
    }
    this.#received++;
    // What follows the last chunk is never looked at.
    if (this.#complete) this.#source.close();
    this.#hasher.open(payload, chunkNonce(index, this.#complete), (leaf) => {
      if (this.#over) return;
      this.#orEnd(() => {
        this.#forward(index, payload, this.#checkChunk(index, payload, leaf));
      });
    });
    if (this.#over || this.#complete) return;
    if (this.#memory.free <= 1) {
      this.#paused = true;
      this.#source.pause();
    }
  }

  #lengthOf(index: number): number {
    const { sizeBytes, chunkBytes } = this.#o.entry.weights;
    return Math.min(chunkBytes, sizeBytes - index * chunkBytes);
  }

  /** Steps 4 and 5. Returns the bytes that passed them, and only those may be forwarded. */
  #checkChunk(index: number, payload: Buffer, leaf: Buffer | Error): Buffer {
    if (leaf instanceof Error) throw whatIsWrong(index, leaf);
    const { proof, data } = openedChunk(payload);
    if (proof.length > limits.chunkProof) {
      throw new InvalidError("upload.proof", "the chunk's proof is too long");
    }
    if (data.length !== this.#lengthOf(index)) {
      throw new InvalidError("upload.length", `chunk ${index} has ${data.length} bytes`);
    }
    try {
      verifyInclusion(leaf, index, this.#chunks, proof, this.#o.entry.weights.root);
    } catch (error) {
      if (!(error instanceof InvalidError)) throw error;
      throw new InvalidError("upload.bad-chunk", `chunk ${index}: ${error.message}`);
    }
    return data;
  }

  /** Steps 6 to 8. */
  #forward(index: number, payload: Buffer, data: Buffer): void {
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
    this.#source.resume();
  }
}

/** What an opened CHUNK payload holds: its tag was right, and is left out. */
function openedChunk(payload: Buffer): Chunk {
  return decodeChunk(payload.subarray(0, payload.length - gcmTagBytes));
}

/** A chunk could not be opened: in the words of the upload. */
function whatIsWrong(index: number, error: Error): Error {
  if (!(error instanceof InvalidError)) return error;
  const code = error.code === "gcm.tag" ? "upload.tag" : "upload.proof";
  return new InvalidError(code, `chunk ${index}: ${error.message}`);
}
