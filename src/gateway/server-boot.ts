/**
 * One boot of a server, from power to weights: its memory is proved to be filled with our bytes (erase.ts), then
 * the weights are uploaded under a key of this boot alone (upload.ts).
 */
import type { KeyObject } from "node:crypto";
import { InvalidError, UnavailableError } from "../base/assert.ts";
import type { Clock } from "../base/clock.ts";
import type { RandomSource } from "../base/random.ts";
import type { Logger } from "../base/report.ts";
import type { Frame } from "../format/link.ts";
import type { WhitelistEntry } from "../format/whitelist.ts";
import type { Wire } from "../format/wire.ts";
import { BootSecret } from "./boot-secret.ts";
import type { ChunkHasher } from "./chunk-hasher.port.ts";
import type { BitCounter } from "./counter.ts";
import { ErasureProof, type ErasePolicy, type Erasure } from "./erase.ts";
import { uploadWeights } from "./upload.ts";

export interface ServerBootOptions {
  readonly gateway: string;
  readonly epoch: number;
  readonly entry: WhitelistEntry;
  /** Ed25519, private (identity.ts): certifies the key of each boot. */
  readonly deviceKey: KeyObject;
  readonly random: RandomSource;
  readonly connectDepot: () => Promise<Wire>;
  /** One per upload, closed after it. Without it, chunks are opened by the thread of the gateway. */
  readonly openHasher?: () => ChunkHasher;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly stallMs: number;
  readonly erase: ErasePolicy;
  /** A server could not prove that its memory was filled, in words. */
  readonly onNotErased: (why: string) => void;
}

export class ServerBoot {
  readonly #o: ServerBootOptions;
  readonly #server: Wire;
  readonly #counter: BitCounter;
  readonly #secret: BootSecret;
  #proof: ErasureProof | null = null;
  #erasure: Erasure | null = null;

  /** `number`: of the power-on, in this epoch. */
  constructor(options: ServerBootOptions, number: number, server: Wire, counter: BitCounter) {
    this.#o = options;
    this.#server = server;
    this.#counter = counter;
    const { gateway, epoch, entry, deviceKey, random } = options;
    const entryDigest = entry.digest;
    this.#secret = new BootSecret({
      ...{ gateway, epoch, boot: number, entryDigest, deviceKey, random },
    });
  }

  /** The proof of erasure of this boot; null before it was given, or where it is switched off. */
  get erasure(): Erasure | null {
    return this.#erasure;
  }

  /** Resolves when all weights were forwarded. Throws what erase.ts and upload.ts throw. */
  async run(): Promise<void> {
    if (this.#o.erase.bytes > 0) await this.#erase();
    await this.#upload();
  }

  /** Takes a frame of the server's if a proof of erasure is under way; returns whether. */
  onServerFrame(frame: Frame): boolean {
    if (this.#proof === null) return false;
    this.#proof.onFrame(frame);
    return true;
  }

  async #erase(): Promise<void> {
    const { random, clock, stallMs, erase, logger, onNotErased } = this.#o;
    const proof = new ErasureProof({ ...erase, random, clock, stallMs, server: this.#server });
    this.#proof = proof;
    try {
      this.#erasure = await proof.run();
    } catch (error) {
      if (error instanceof InvalidError || error instanceof UnavailableError) {
        // A server that went away has proved nothing, and is no cheat for it.
        if (error.code !== "erase.lost") onNotErased(error.message);
      }
      throw error;
    } finally {
      this.#proof = null;
    }
    logger.log("info", "gateway.erased", { ...this.#erasure });
  }

  async #upload(): Promise<void> {
    const { gateway, entry, connectDepot, openHasher, clock, stallMs } = this.#o;
    const hasher = openHasher?.();
    try {
      await uploadWeights({
        ...{ gateway, entry, connectDepot, clock, stallMs },
        ...{ boot: this.#secret, server: this.#server, counter: this.#counter },
        ...(hasher === undefined ? {} : { hasher }),
      });
    } finally {
      hasher?.close();
    }
  }
}
