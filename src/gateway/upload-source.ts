/**
 * Where an upload's chunks come from: a link to the depot, dialled again when it is lost, a bounded number of
 * times. Each link has a FETCH of its own, from the chunk that is due, and with it a key of its own; to whoever
 * takes the chunks it is one stream.
 */
import type { KeyObject } from "node:crypto";
import { InvalidError, UnavailableError } from "../base/assert.ts";
import type { Clock, Timer } from "../base/clock.ts";
import { decodeOffer, encodeFetch } from "../format/depot-link.ts";
import { frameType, type Frame } from "../format/link.ts";
import type { WhitelistEntry } from "../format/whitelist.ts";
import type { Wire } from "../format/wire.ts";
import type { BootSecret } from "./boot-secret.ts";

/** Links that an upload may use, one after the other. */
export const linksMax = 8;

export interface SourceOptions {
  readonly connectDepot: () => Promise<Wire>;
  readonly entry: WhitelistEntry;
  readonly boot: BootSecret;
  readonly clock: Clock;
  /** Pause before the second link; milliseconds. Doubles from one to the next. */
  readonly redialMs: number;
  /** Index of the next chunk that has not come. */
  readonly due: () => number;
  /** Memory for the next payload. */
  readonly memory: (length: number) => Buffer;
  /** The key of all chunks that come from now on. */
  readonly onKey: (key: KeyObject) => void;
  /** A CHUNK, its index and its payload unchecked. May throw InvalidError. */
  readonly onChunk: (index: number, payload: Buffer) => void;
  /** Memory that is done with, with its last byte read. */
  readonly onUnused: (payload: Buffer) => void;
  /** A link was lost with this memory half filled: nobody may use it again. Another link follows. */
  readonly onBroken: (payload: Buffer | null) => void;
  /** Something came, or a new link is up. */
  readonly onSign: () => void;
  /** No chunk comes any more: an InvalidError or UnavailableError `upload.*`. */
  readonly onFailed: (error: Error) => void;
}

export class ChunkSource {
  readonly #o: SourceOptions;
  #wire: Wire | null = null;
  #links = 0;
  #offered = false;
  #first = 0;
  #filling: Buffer | null = null;
  #paused = false;
  #closed = false;
  #redial: Timer | null = null;

  constructor(options: SourceOptions) {
    this.#o = options;
  }

  /** Dials. */
  start(): void {
    this.#links++;
    this.#o.connectDepot().then(
      (wire) => {
        if (this.#closed) wire.close("the upload is over");
        else this.#attach(wire);
      },
      (error: unknown) => {
        if (!(error instanceof UnavailableError)) throw error;
        this.#lost(error.message);
      },
    );
  }

  pause(): void {
    this.#paused = true;
    this.#wire?.pause();
  }

  resume(): void {
    this.#paused = false;
    this.#wire?.resume();
  }

  close(): void {
    this.#closed = true;
    this.#redial?.cancel();
    this.#wire?.close("the upload is over");
    this.#wire = null;
  }

  #attach(wire: Wire): void {
    const { entry, boot, due } = this.#o;
    this.#wire = wire;
    this.#offered = false;
    this.#first = due();
    this.#o.onSign();
    wire.onClose((reason) => {
      if (this.#wire === wire) this.#lost(reason);
    });
    if (this.#wire !== wire) return; // it was closed already
    wire.onFrame(
      (frame) => {
        this.#filling = null;
        if (this.#wire === wire) this.#onFrame(frame);
      },
      (length) => {
        this.#filling = this.#o.memory(length);
        return this.#filling;
      },
    );
    const { root } = entry.weights;
    const fetch = { root, first: this.#first, certificate: boot.certificate };
    wire.send(frameType.fetch, 0n, encodeFetch(fetch));
    if (this.#paused) wire.pause();
  }

  #lost(reason: string): void {
    if (this.#closed) return;
    this.#wire = null;
    const broken = this.#filling;
    this.#filling = null;
    if (this.#links >= linksMax) {
      const why = `the depot was lost, ${linksMax} times: ${reason}`;
      this.#fail(new UnavailableError("upload.lost", why, "unknown"));
      return;
    }
    this.#o.onBroken(broken);
    this.#redial = this.#o.clock.after(this.#o.redialMs * 2 ** (this.#links - 1), () => {
      this.start();
    });
  }

  #fail(error: Error): void {
    this.close();
    this.#o.onFailed(error);
  }

  #onFrame(frame: Frame): void {
    this.#o.onSign();
    try {
      this.#step(frame);
    } catch (error) {
      if (!(error instanceof InvalidError || error instanceof UnavailableError)) throw error;
      this.#fail(error);
    }
  }

  #step({ type, id, payload }: Frame): void {
    switch (type) {
      case frameType.offer:
        this.#onOffer(payload);
        this.#o.onUnused(payload);
        return;
      case frameType.chunk:
        if (!this.#offered) throw new InvalidError("upload.order", "a chunk came before the offer");
        this.#o.onChunk(Number(id), payload);
        return;
      case frameType.none: {
        const { modelId } = this.#o.entry;
        throw new UnavailableError("upload.not-held", `the depot does not hold ${modelId}`, "none");
      }
      case frameType.done:
        // After the last chunk it is not looked at.
        throw new InvalidError("upload.truncated", "the depot ended before S bits");
      default:
        throw new InvalidError("upload.frame", `unexpected frame type ${type}`);
    }
  }

  #onOffer(payload: Buffer): void {
    const offer = decodeOffer(payload);
    const { sizeBytes, chunkBytes, root } = this.#o.entry.weights;
    if (this.#offered || offer.sizeBytes !== BigInt(sizeBytes) || offer.chunkBytes !== chunkBytes) {
      throw new InvalidError("upload.offer", "the offer is not the whitelisted model");
    }
    this.#offered = true;
    this.#o.onKey(this.#o.boot.chunkKey(offer.enc, root, this.#first));
  }
}
