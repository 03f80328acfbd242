import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { duplexPair, Duplex } from "node:stream";
import { test, type TestContext } from "node:test";
import fc from "fast-check";
import { encodeFrame, frameHeaderBytes, frameType, type Frame } from "../format/link.ts";
import type { Peer, Wire } from "../format/wire.ts";
import { BulkReads, wireOver } from "./link.ts";
import { createAuthority, issue } from "./pki.ts";
import { dialTls, listenTls, type TlsIdentity } from "./tls.ts";

const peer: Peer = { role: "depot", name: "d1" };

/** A socket whose reads go through BulkReads, its wire, and the plain socket at the other end. */
async function bulkPair(t: TestContext): Promise<{ wire: Wire; far: Socket; reads: BulkReads }> {
  const dir = mkdtempSync(join(tmpdir(), "weir-link-"));
  const server = createServer().listen(join(dir, "s"));
  await once(server, "listening");
  const reads = new BulkReads();
  const near = connect({ path: join(dir, "s"), onread: reads.onread });
  const [[far]] = (await Promise.all([once(server, "connection"), once(near, "connect")])) as [
    [Socket],
    unknown,
  ];
  t.after(() => {
    near.destroy();
    far.destroy();
    server.close();
    rmSync(dir, { recursive: true, force: true });
  });
  return { wire: reads.wire(near, peer), far, reads };
}

function closing(wire: Wire): Promise<string> {
  return new Promise((resolve) => {
    wire.onClose(resolve);
  });
}

/** Resolves with the first `count` frames; payloads are copied. */
function collect(wire: Wire, count: number): Promise<Frame[]> {
  const frames: Frame[] = [];
  return new Promise((resolve) => {
    wire.onFrame((frame) => {
      frames.push({ ...frame, payload: Buffer.from(frame.payload) });
      if (frames.length === count) resolve(frames);
    });
  });
}

test("link: bulk reads of frames of any size, cut anywhere -> the same frames", async (t) => {
  const sizes = fc.array(
    fc.oneof(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 0, max: 300_000 })),
    { minLength: 1, maxLength: 8 },
  );
  const cuts = fc.array(fc.integer({ min: 1, max: 70_000 }), { minLength: 1, maxLength: 5 });
  await fc.assert(
    fc.asyncProperty(sizes, cuts, async (lengths, steps) => {
      const { wire, far } = await bulkPair(t);
      const payloads = lengths.map((length, i) => Buffer.alloc(length, i + 1));
      const stream = Buffer.concat(
        payloads.map((payload, i) => encodeFrame(frameType.chunk, BigInt(i), payload)),
      );
      const arrived = collect(wire, lengths.length);
      for (let at = 0, i = 0; at < stream.length; i++) {
        const end = at + (steps[i % steps.length] ?? 1);
        far.write(stream.subarray(at, end));
        at = end;
      }
      const frames = await arrived;
      frames.forEach((frame, i) => {
        assert.equal(frame.id, BigInt(i));
        assert.ok(frame.payload.equals(payloads[i] ?? Buffer.of(1)));
      });
      wire.close("done");
    }),
    { numRuns: 20 },
  );
});

test("link: payload memory -> payloads lie in it, pushed or read in bulk", async (t) => {
  const [near, far] = duplexPair();
  const bulk = await bulkPair(t);
  const ends = [
    { wire: wireOver(near, peer), far },
    { wire: bulk.wire, far: bulk.far },
  ];
  for (const { wire, far: sender } of ends) {
    const given: Buffer[] = [];
    const got = new Promise<Buffer[]>((resolve) => {
      const payloads: Buffer[] = [];
      wire.onFrame(
        ({ payload }) => {
          if (payloads.push(payload) === 2) resolve(payloads);
        },
        (length) => {
          const memory = Buffer.alloc(length);
          given.push(memory);
          return memory;
        },
      );
    });
    sender.write(encodeFrame(frameType.chunk, 1n, Buffer.from("one")));
    sender.write(encodeFrame(frameType.chunk, 2n, Buffer.alloc(200_000, 2)));
    const payloads = await got;
    payloads.forEach((payload, i) => assert.equal(payload, given[i]));
    assert.equal(payloads[0]?.toString(), "one");
    assert.ok(payloads[1]?.equals(Buffer.alloc(200_000, 2)));
    wire.close("done");
  }
});

test("link: a paused bulk wire -> the sender is held up; resumed -> nothing is missing", async (t) => {
  const { wire, far } = await bulkPair(t);
  const seen: bigint[] = [];
  const first = Promise.withResolvers<undefined>();
  const last = Promise.withResolvers<undefined>();
  wire.onFrame(({ id }) => {
    seen.push(id);
    if (id === 0n) {
      wire.pause();
      first.resolve(undefined);
    }
    if (id === 15n) last.resolve(undefined);
  });
  const payload = Buffer.alloc(500_000, 7);
  for (let i = 0n; i < 16n; i++) far.write(encodeFrame(frameType.chunk, i, payload));
  await first.promise;
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(seen, [0n]);
  assert.ok(far.writableLength > 0);
  wire.resume();
  await last.promise;
  assert.deepEqual(
    seen,
    Array.from({ length: 16 }, (_, i) => BigInt(i)),
  );
});

test("link: a bulk peer that breaks the format -> closed, and the reason names it", async (t) => {
  const tooLong = Buffer.alloc(frameHeaderBytes, 0xff);
  const cases: [Buffer, RegExp][] = [
    [tooLong, /link\.too-long/],
    // Bytes after the bad header: they must go nowhere.
    [Buffer.concat([tooLong, Buffer.alloc(300_000, 1)]), /link\.too-long/],
    [encodeFrame(frameType.chunk, 1n, Buffer.alloc(99)).subarray(0, 50), /inside a frame/],
    [encodeFrame(frameType.chunk, 1n).subarray(0, 3), /inside a frame/],
    [encodeFrame(frameType.chunk, 1n, Buffer.alloc(9)), /the peer closed/],
  ];
  for (const [bytes, reason] of cases) {
    const { wire, far } = await bulkPair(t);
    wire.onFrame(() => undefined);
    far.on("error", () => undefined);
    far.end(bytes);
    assert.match(await closing(wire), reason);
  }
});

test("link: a bulk peer that speaks before it is asked -> closed", async (t) => {
  const { wire, far, reads } = await bulkPair(t);
  assert.equal(wire.closed, false);
  far.on("error", () => undefined);
  const closed = closing(wire);
  // The wire reads nothing yet; this is what the socket does when bytes are already on their way.
  reads.onread.buffer()[0] = 1;
  reads.onread.callback(1);
  assert.match(await closed, /before it was asked/);
});

test("link: taken -> called when the stream has the bytes, never when it failed", async () => {
  let finish: ((error?: Error | null) => void) | undefined;
  const stream = new Duplex({
    read: () => undefined,
    write: (_chunk, _encoding, done) => {
      finish = done;
    },
  });
  const wire = wireOver(stream, peer);
  const taken: number[] = [];
  wire.sendRaw(Buffer.of(1), () => taken.push(1));
  wire.sendRaw(Buffer.of(2), () => taken.push(2));
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(taken, []);
  finish?.();
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(taken, [1]);
  finish?.(new Error("the cable was cut"));
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(taken, [1]);
  assert.equal(wire.closed, true);
});

async function identities(): Promise<{ depot: TlsIdentity; gateway: TlsIdentity }> {
  const authority = await createAuthority("test", Date.now());
  const of = async (role: "depot" | "gateway", name: string): Promise<TlsIdentity> => {
    const { cert, key } = await issue(authority, role, name, Date.now());
    return { cert: Buffer.from(cert), key: Buffer.from(key), ca: Buffer.from(authority.cert) };
  };
  return { depot: await of("depot", "d1"), gateway: await of("gateway", "g1") };
}

for (const bulk of [false, true]) {
  test(`link: over mutual TLS, bulk ${bulk} -> large frames arrive whole and in order`, async (t) => {
    const { depot, gateway } = await identities();
    const payload = Buffer.from(Array.from({ length: 300_000 }, (_, i) => i % 251));
    const listener = await listenTls({
      host: "127.0.0.1",
      port: 0,
      identity: depot,
      accept: ["gateway"],
      onWire: (far) => {
        far.onFrame(() => {
          for (let i = 0n; i < 5n; i++) far.send(frameType.chunk, i, payload);
        });
      },
    });
    t.after(() => listener.close());
    const { port } = listener;
    const wire = await dialTls({
      host: "127.0.0.1",
      port,
      identity: gateway,
      expect: "depot",
      bulk,
    });
    const arrived = collect(wire, 5);
    wire.send(frameType.fetch, 0n);
    const frames = await arrived;
    assert.deepEqual(
      frames.map(({ id }) => id),
      [0n, 1n, 2n, 3n, 4n],
    );
    assert.ok(frames.every((frame) => frame.payload.equals(payload)));
    wire.close("done");
  });
}

test("link: a depot that speaks first over TLS, dialled in bulk -> its link is closed", async (t) => {
  const { depot, gateway } = await identities();
  const listener = await listenTls({
    host: "127.0.0.1",
    port: 0,
    identity: depot,
    accept: ["gateway"],
    onWire: (far) => {
      far.send(frameType.done, 0n);
    },
  });
  t.after(() => listener.close());
  const { port } = listener;
  const seen: Frame[] = [];
  const wire = await dialTls({
    host: "127.0.0.1",
    port,
    identity: gateway,
    expect: "depot",
    bulk: true,
  });
  // Either it was cut off already, or the frame comes after the handler: never before one, silently.
  const over = Promise.withResolvers<undefined>();
  wire.onClose(() => {
    over.resolve(undefined);
  });
  wire.onFrame((frame) => {
    seen.push(frame);
    over.resolve(undefined);
  });
  await over.promise;
  assert.equal(wire.closed, seen.length === 0);
  wire.close("done");
});

test("link: small and large writes, some in one turn -> they leave in order", async () => {
  const [near, far] = duplexPair();
  const wire = wireOver(near, { role: "depot", name: "d" });
  const got: Buffer[] = [];
  far.on("data", (bytes: Buffer) => got.push(bytes));
  const sent: Buffer[] = [];
  const send = (length: number): void => {
    const bytes = Buffer.alloc(length, sent.length + 1);
    sent.push(bytes);
    wire.sendRaw(bytes);
  };
  for (const length of [16, 100, 70_000, 1, 65_536, 65_537, 2, 3]) send(length);
  await new Promise((resolve) => setImmediate(resolve));
  for (const length of [4, 80_000, 5]) send(length);
  const whole = Buffer.concat(sent);
  while (got.reduce((sum, { length }) => sum + length, 0) < whole.length) {
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.deepEqual(Buffer.concat(got), whole);
  wire.close("done");
});
