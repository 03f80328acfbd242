/** Framed links over byte streams: sockets, TLS, inherited socket pairs. Holds no policy. */
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { assert, InvalidError, UnavailableError } from "../base/assert.ts";
import { limits } from "../base/limits.ts";
import {
  encodeFrame,
  FrameDecoder,
  type Frame,
  type FrameType,
  type PayloadMemory,
} from "../format/link.ts";
import type { Peer, Wire } from "../format/wire.ts";

/** Writes above this leave on their own: to gather them, TLS would copy them all into one buffer. */
const gatheredMax = 65_536;

/**
 * Wraps a duplex stream as a Wire. A malformed frame, a throwing handler of kind InvalidError, or
 * an error of the stream closes it; any other exception from a handler is a bug and is rethrown.
 */
export function wireOver(stream: Duplex, peer: Peer, payloadMax = limits.framePayload): Wire {
  return new StreamWire(stream, peer, new FrameDecoder(payloadMax), true);
}

/**
 * For a socket that brings bulk data: give `onread` to its constructor, and once it is connected make
 * its wire by `wire`. What arrives is read straight to where its payload shall lie. The peer must
 * not speak before a handler is set (`Wire.onFrame`): it is cut off if it does.
 */
export class BulkReads {
  readonly #decoder = new FrameDecoder();
  #wire: StreamWire | null = null;

  readonly onread = {
    buffer: (): Buffer => this.#decoder.space(),
    callback: (length: number): boolean => {
      if (this.#wire === null) {
        this.#early = true;
        return false;
      }
      this.#wire.advance(length);
      return true;
    },
  };
  #early = false;

  /** The wire over the socket that `onread` was given to. */
  wire(socket: Socket, peer: Peer): Wire {
    assert(this.#wire === null, "one socket, one wire");
    this.#wire = new StreamWire(socket, peer, this.#decoder, false);
    if (this.#early) this.#wire.close("the peer spoke before it was asked");
    return this.#wire;
  }
}

class StreamWire implements Wire {
  readonly peer: Peer;
  readonly #stream: Duplex;
  readonly #decoder: FrameDecoder;
  #closed = false;
  #corked = false;
  #reason = "";
  #onFrame: ((frame: Frame) => void) | null = null;
  readonly #onClose: ((reason: string) => void)[] = [];
  /** One for all receptions: a closure for each would be garbage at every 16 KiB of TLS. */
  readonly #deliver = (frame: Frame): void => {
    if (!this.#closed) this.#onFrame?.(frame);
  };
  #waiters: { resolve: () => void; reject: (error: Error) => void }[] = [];

  /** `pushed`: bytes come as the stream's data; else by `advance`, already in the decoder's space. */
  constructor(stream: Duplex, peer: Peer, decoder: FrameDecoder, pushed: boolean) {
    this.#stream = stream;
    this.peer = peer;
    this.#decoder = decoder;
    stream.pause();
    if (pushed) {
      stream.on("data", (bytes: Buffer) => {
        this.#receive(bytes);
      });
    }
    stream.on("drain", () => {
      this.#settle(null);
    });
    stream.on("error", (error) => {
      this.#finish(error.message);
    });
    stream.on("end", () => {
      this.#finish(
        this.#decoder.idle ? "the peer closed the link" : "the link ended inside a frame",
      );
    });
    stream.on("close", () => {
      this.#finish("the link is closed");
    });
  }

  /** `length` bytes were read into the decoder's space. */
  advance(length: number): void {
    if (this.#onFrame === null) {
      this.close("the peer spoke before it was asked");
      return;
    }
    this.#receive(length);
  }

  /** Bytes, or how many of them are already in the decoder's space. */
  #receive(come: Buffer | number): void {
    if (this.#closed) return;
    try {
      if (typeof come === "number") this.#decoder.advance(come, this.#deliver);
      else this.#decoder.push(come, this.#deliver);
    } catch (error) {
      if (!(error instanceof InvalidError)) throw error;
      this.close(`${error.code}: ${error.message}`);
    }
  }

  #settle(error: Error | null): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const waiter of waiters) {
      if (error === null) waiter.resolve();
      else waiter.reject(error);
    }
  }

  #finish(reason: string): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#reason = reason;
    this.#stream.destroy();
    this.#settle(new UnavailableError("link.closed", reason, "unknown"));
    for (const handler of this.#onClose) handler(reason);
  }

  get closed(): boolean {
    return this.#closed;
  }

  get backlog(): number {
    return this.#stream.writableLength;
  }

  send(type: FrameType, id: bigint, payload?: Uint8Array): boolean {
    return this.sendRaw(encodeFrame(type, id, payload));
  }

  sendRaw(frames: Uint8Array, taken?: () => void): boolean {
    if (this.#closed) return false;
    if (frames.length > gatheredMax) {
      this.#flush();
      return this.#write(frames, taken);
    }
    // What is sent within one turn of the event loop leaves with one system call.
    if (!this.#corked) {
      this.#corked = true;
      this.#stream.cork();
      process.nextTick(() => {
        this.#flush();
      });
    }
    return this.#write(frames, taken);
  }

  #flush(): void {
    if (!this.#corked) return;
    this.#corked = false;
    this.#stream.uncork();
  }

  #write(frames: Uint8Array, taken: (() => void) | undefined): boolean {
    if (taken === undefined) return this.#stream.write(frames);
    return this.#stream.write(frames, (error) => {
      if (error === null || error === undefined) taken();
    });
  }

  drained(): Promise<void> {
    if (this.#closed) {
      return Promise.reject(new UnavailableError("link.closed", this.#reason, "unknown"));
    }
    if (!this.#stream.writableNeedDrain) return Promise.resolve();
    return new Promise((resolve, reject) => this.#waiters.push({ resolve, reject }));
  }

  onFrame(handler: (frame: Frame) => void, memory?: PayloadMemory): void {
    this.#onFrame = handler;
    this.#decoder.memory = memory ?? null;
    this.#stream.resume();
  }

  onClose(handler: (reason: string) => void): void {
    if (this.#closed) {
      handler(this.#reason);
      return;
    }
    this.#onClose.push(handler);
  }

  pause(): void {
    this.#stream.pause();
  }

  resume(): void {
    if (this.#onFrame !== null) this.#stream.resume();
  }

  close(reason: string): void {
    this.#finish(reason);
  }
}
