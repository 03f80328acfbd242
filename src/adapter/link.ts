/** Framed links over byte streams: sockets, TLS, inherited socket pairs. Holds no policy. */
import type { Duplex } from "node:stream";
import { InvalidError, UnavailableError } from "../base/assert.ts";
import { limits } from "../base/limits.ts";
import { encodeFrame, FrameDecoder, type Frame, type FrameType } from "../format/link.ts";
import type { Peer, Wire } from "../format/wire.ts";

/**
 * Wraps a duplex stream as a Wire. A malformed frame, a throwing handler of kind InvalidError, or
 * an error of the stream closes it; any other exception from a handler is a bug and is rethrown.
 */
export function wireOver(stream: Duplex, peer: Peer, payloadMax = limits.framePayload): Wire {
  return new StreamWire(stream, peer, payloadMax);
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
  #waiters: { resolve: () => void; reject: (error: Error) => void }[] = [];

  constructor(stream: Duplex, peer: Peer, payloadMax: number) {
    this.#stream = stream;
    this.peer = peer;
    this.#decoder = new FrameDecoder(payloadMax);
    stream.pause();
    stream.on("data", (bytes: Buffer) => {
      this.#receive(bytes);
    });
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

  #receive(bytes: Buffer): void {
    if (this.#closed) return;
    try {
      this.#decoder.push(bytes, (frame) => {
        if (!this.#closed) this.#onFrame?.(frame);
      });
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

  sendRaw(frames: Uint8Array): boolean {
    if (this.#closed) return false;
    // What is sent within one turn of the event loop leaves with one system call.
    if (!this.#corked) {
      this.#corked = true;
      this.#stream.cork();
      process.nextTick(() => {
        this.#corked = false;
        this.#stream.uncork();
      });
    }
    return this.#stream.write(frames);
  }

  drained(): Promise<void> {
    if (this.#closed) {
      return Promise.reject(new UnavailableError("link.closed", this.#reason, "unknown"));
    }
    if (!this.#stream.writableNeedDrain) return Promise.resolve();
    return new Promise((resolve, reject) => this.#waiters.push({ resolve, reject }));
  }

  onFrame(handler: (frame: Frame) => void): void {
    this.#onFrame = handler;
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
