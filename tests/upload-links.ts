/** An upload between links in memory: weights of a few chunks, a depot played by hand, a server that takes late. */
import { duplexPair, type Duplex } from "node:stream";
import { wireOver } from "../src/adapter/link.ts";
import { UnavailableError } from "../src/base/assert.ts";
import type { Clock } from "../src/base/clock.ts";
import { decodeFetch, type Fetch } from "../src/format/depot-link.ts";
import { encodeFrame, FrameDecoder, frameType } from "../src/format/link.ts";
import type { Peer, Wire } from "../src/format/wire.ts";
import type { BootSecret } from "../src/gateway/boot-secret.ts";
import type { ChunkHasher } from "../src/gateway/chunk-hasher.port.ts";
import { BitCounter } from "../src/gateway/counter.ts";
import { uploadWeights } from "../src/gateway/upload.ts";
import { testBoot, TestStream } from "./sealing.ts";
import { chunked, whitelisted } from "./support.ts";

export const chunkBytes = 4096;
export const count = 24;
export const weights = Buffer.from(
  Array.from({ length: count * chunkBytes - 5 }, (_, i) => ((i * 7) >> 3) ^ (i >> 12)),
);
export const { entry } = whitelisted("m", weights, chunkBytes);
export const { chunks, tree } = chunked(weights, chunkBytes);
/** A clock on which what is soon happens at once, and what takes long never does. */
const hurried: Clock = {
  wallMs: () => 0,
  monotonicMs: () => 0,
  after: (ms, action) => {
    const timer = ms < 1e6 ? setImmediate(action) : null;
    return {
      cancel: () => {
        if (timer !== null) clearImmediate(timer);
      },
    };
  },
  every: () => ({ cancel: () => undefined }),
};

/** A server's link whose kernel takes bytes only when told to: it keeps views, not copies. */
export class SlowServer implements Wire {
  readonly peer: Peer = { role: "server", name: "s1" };
  readonly backlog = 0;
  readonly closed = false;
  readonly waiting: { readonly view: Uint8Array; readonly taken: () => void }[] = [];
  readonly got: Buffer[] = [];

  send(): boolean {
    return true;
  }
  sendRaw(view: Uint8Array, taken?: () => void): boolean {
    if (taken !== undefined) this.waiting.push({ view, taken });
    return false;
  }
  /** The kernel takes the oldest chunk as it is in memory now. */
  take(): void {
    const next = this.waiting.shift();
    if (next === undefined) return;
    this.got.push(Buffer.from(next.view));
    next.taken();
  }
  drained(): Promise<void> {
    return Promise.resolve();
  }
  onFrame(): void {
    return;
  }
  onClose(): void {
    return;
  }
  pause(): void {
    return;
  }
  resume(): void {
    return;
  }
  close(): void {
    return;
  }
}

/** One link to a depot: the far end of what the gateway dials, and the stream that is sent there. */
export interface Link {
  readonly far: Duplex;
  readonly wire: Wire;
  readonly stream: TestStream;
  readonly fetches: Fetch[];
  readonly fetched: Promise<Fetch>;
}

/** A link whose OFFER, of a stream from chunk `first` or of another stream, is sent at once; null: by hand. */
export function linkOf(boot: BootSecret, first: number | null, other?: TestStream): Link {
  const [near, far] = duplexPair({ highWaterMark: 8192 });
  const fetches: Fetch[] = [];
  const fetched = Promise.withResolvers<Fetch>();
  const decoder = new FrameDecoder();
  far.on("data", (bytes: Buffer) => {
    decoder.push(bytes, ({ payload }) => {
      const fetch = decodeFetch(Buffer.from(payload));
      fetches.push(fetch);
      fetched.resolve(fetch);
    });
  });
  const stream = other ?? new TestStream(boot.bootKey, tree.root, first ?? 0);
  if (first !== null) {
    far.write(encodeFrame(frameType.offer, 0n, stream.offer(weights.length, chunkBytes)));
  }
  const wire = wireOver(near, { role: "depot", name: "d1" });
  return { far, wire, stream, fetches, fetched: fetched.promise };
}

/** Starts an upload over the first of `links`; the others are dialled, or asked for, when one is lost. */
export function beginWith(
  boot: BootSecret,
  links: readonly Link[] | { readonly next: () => Link },
  hasher?: ChunkHasher,
) {
  const server = new SlowServer();
  const counter = new BitCounter(weights.length);
  let dialled = 0;
  const connectDepot = (): Promise<Wire> => {
    const link = "next" in links ? links.next() : links[dialled];
    dialled++;
    const gone = new UnavailableError("tls.dial", "cannot reach the depot", "none");
    return link === undefined ? Promise.reject(gone) : Promise.resolve(link.wire);
  };
  const upload = uploadWeights({
    ...{ gateway: "g1", entry, boot, connectDepot, server, counter, clock: hurried, stallMs: 1e6 },
    ...(hasher === undefined ? {} : { hasher }),
  });
  const settled = upload.then(
    () => null,
    (error: unknown) => error,
  );
  return { server, counter, settled, dials: () => dialled };
}

export function begin(hasher?: ChunkHasher) {
  const boot = testBoot(entry);
  const link = linkOf(boot, 0);
  const { far, wire: depot, stream } = link;
  const chunkFrame = (index: number, data = chunks[index] ?? Buffer.alloc(0)): Buffer =>
    frameOf(stream, index, data);
  return { far, depot, chunkFrame, ...beginWith(boot, [link], hasher) };
}

export const frameOf = (stream: TestStream, index: number, data = chunks[index]): Buffer => {
  const sealed = stream.chunk(index, index === count - 1, tree.proof(index), data ?? Buffer.of());
  return encodeFrame(frameType.chunk, BigInt(index), sealed);
};
