/**
 * Proof of secure erasure (Perito and Tsudik, 2010), before every upload: the server is sent as many random bytes as
 * its declared memory holds, then a fresh key, and must answer with HMAC-SHA256 of all those bytes under it, in time.
 *
 *   1. begin    ERASE_BEGIN: how many bytes
 *   2. fill     ERASE_DATA: AES-256-CTR of zeros under a fresh seed, at the server's pace
 *   3. key      ERASE_KEY: the MAC's key, that nobody outside this process had before
 *   4. mac      ERASE_MAC within the deadline, or the proof has failed
 *
 * The seed never leaves this process, so the bytes cannot be made again; the key comes last, so the MAC cannot be
 * made while they pass. Who lacks s bits of them guesses: 2^-s, beside forging the MAC or breaking the cipher.
 * What is not seen: memory beyond the declared bytes. spec/erase.md has the bound and the list.
 *
 * This side needs no memory for it: the MAC is made as the bytes are sent.
 */
import { createCipheriv, createHmac, type Cipheriv } from "node:crypto";
import { assert, InvalidError, UnavailableError } from "../base/assert.ts";
import { equalBytes } from "../base/bytes.ts";
import type { Clock, Timer } from "../base/clock.ts";
import { randomBytes, type RandomSource } from "../base/random.ts";
import { encodeEraseBegin, eraseKeyBytes, erasePiece } from "../format/erase.ts";
import { frameHeaderBytes, frameType, writeFrameHeader, type Frame } from "../format/link.ts";
import type { Wire } from "../format/wire.ts";

/** Pieces that may wait for the server's end of the kernel. */
const piecesUnderWay = 4;

/** Added to the deadline whatever the size: for a machine that has other things to do. */
const graceMs = 2000;

export interface ErasePolicy {
  /** Bytes to be filled; 0 switches the proof off. */
  readonly bytes: number;
  /** Rate at which a server must be able to go over its memory once; bytes per second. */
  readonly bytesPerSecond: number;
}

export interface EraseOptions extends ErasePolicy {
  readonly server: Wire;
  readonly random: RandomSource;
  readonly clock: Clock;
  /** Longest time in which the server takes nothing of the fill; milliseconds. */
  readonly stallMs: number;
}

/** A proof that was given. */
export interface Erasure {
  readonly bytes: number;
  /** From ERASE_BEGIN to the right MAC, and of that from the key on. */
  readonly seconds: number;
  readonly macSeconds: number;
}

/** Longest time between ERASE_KEY and ERASE_MAC; milliseconds. */
export function eraseDeadlineMs({ bytes, bytesPerSecond }: ErasePolicy): number {
  return graceMs + Math.ceil((1000 * bytes) / bytesPerSecond);
}

export class ErasureProof {
  readonly #o: EraseOptions;
  readonly #stream: Cipheriv;
  readonly #mac: ReturnType<typeof createHmac>;
  readonly #key: Buffer;
  readonly #result = Promise.withResolvers<Erasure>();
  readonly #began: number;
  #sent = 0;
  #underWay = 0;
  #keyAt: number | null = null;
  #timer: Timer | null = null;
  #over = false;

  constructor(options: EraseOptions) {
    assert(options.bytes > 0, "there is something to fill");
    this.#o = options;
    const seed = randomBytes(options.random, 32);
    this.#stream = createCipheriv("aes-256-ctr", seed, Buffer.alloc(16));
    seed.fill(0);
    this.#key = randomBytes(options.random, eraseKeyBytes);
    this.#mac = createHmac("sha256", this.#key);
    this.#began = options.clock.monotonicMs();
  }

  /**
   * Resolves with the right MAC. Throws InvalidError `erase.mac` for a wrong one, UnavailableError `erase.late`,
   * `erase.stall` or `erase.lost`: the caller cuts power.
   */
  run(): Promise<Erasure> {
    const { server, bytes } = this.#o;
    server.onClose((reason) => {
      this.#fail(new UnavailableError("erase.lost", `the server was lost: ${reason}`, "unknown"));
    });
    server.send(frameType.eraseBegin, 0n, encodeEraseBegin(BigInt(bytes)));
    this.#fill();
    return this.#result.promise;
  }

  /** A frame of the server's: the proof has failed unless it is the right MAC, when it is due. */
  onFrame(frame: Frame): void {
    if (this.#over) return;
    const now = this.#o.clock.monotonicMs();
    if (frame.type !== frameType.eraseMac || this.#keyAt === null) {
      const why = "the server spoke before its memory was full";
      this.#fail(new InvalidError("erase.frame", why));
    } else if (!equalBytes(frame.payload, this.#mac.digest())) {
      this.#fail(new InvalidError("erase.mac", "the server does not hold what it was filled with"));
    } else {
      this.#over = true;
      this.#timer?.cancel();
      const seconds = (now - this.#began) / 1000;
      const macSeconds = (now - this.#keyAt) / 1000;
      this.#result.resolve({ bytes: this.#o.bytes, seconds, macSeconds });
    }
  }

  #fail(error: Error): void {
    if (this.#over) return;
    this.#over = true;
    this.#timer?.cancel();
    this.#result.reject(error);
  }

  #watch(ms: number, code: string, why: string): void {
    this.#timer?.cancel();
    this.#timer = this.#o.clock.after(ms, () => {
      this.#fail(new UnavailableError(code, `${why} ${ms} ms`, "unknown"));
    });
  }

  /** Step 2, as far as the server keeps up. */
  #fill(): void {
    const { bytes, stallMs } = this.#o;
    if (this.#over) return;
    this.#watch(stallMs, "erase.stall", "the server took nothing of its fill for");
    while (this.#sent < bytes && this.#underWay < piecesUnderWay) {
      this.#send(Math.min(erasePiece, bytes - this.#sent));
    }
    if (this.#sent === bytes && this.#underWay === 0) this.#sendKey();
  }

  #send(length: number): void {
    const { server } = this.#o;
    const piece = this.#stream.update(Buffer.alloc(length));
    this.#mac.update(piece);
    const header = Buffer.allocUnsafe(frameHeaderBytes);
    const index = BigInt(Math.floor(this.#sent / erasePiece));
    writeFrameHeader(header, 0, frameType.eraseData, index, length);
    this.#sent += length;
    this.#underWay++;
    server.sendRaw(header);
    server.sendRaw(piece, () => {
      this.#underWay--;
      this.#fill();
    });
  }

  /** Step 3: from here on the clock runs. */
  #sendKey(): void {
    this.#keyAt = this.#o.clock.monotonicMs();
    this.#watch(eraseDeadlineMs(this.#o), "erase.late", "no proof of erasure came within");
    this.#o.server.send(frameType.eraseKey, 0n, this.#key);
  }
}
