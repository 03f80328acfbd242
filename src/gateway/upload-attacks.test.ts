/**
 * The sealed stream of weights: what a thief, a replayer or a liar between depot and gateway can do, and that each
 * countermeasure is what stops him. A test whose name begins with "without" takes one countermeasure away, by
 * giving the attacker what it keeps from him, and sees the attack succeed. Lost links are here too.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import fc from "fast-check";
import { fromHex } from "../base/bytes.ts";
import { hpkeReceiver, keyPairOf } from "../base/hpke.ts";
import { privateKeyFromSeed } from "../base/sign.ts";
import { decodeChunk } from "../format/depot-link.ts";
import { encodeFrame, frameType } from "../format/link.ts";
import { chunkKeyOf, chunkNonce, weightsInfo } from "../format/weights-stream.ts";
import { gcmOpen } from "../base/gcm.ts";
import { testBoot, testDevicePublic, TestStream } from "../../tests/sealing.ts";
import {
  beginWith,
  chunkBytes,
  chunks,
  count,
  entry,
  frameOf,
  linkOf,
  tree,
  weights,
  type Link,
} from "../../tests/upload-links.ts";
import { BootSecret } from "./boot-secret.ts";
import { linksMax } from "./upload-source.ts";

const codeOf = (error: unknown): unknown => (error as { code?: unknown } | null)?.code;

/** The whole stream of `stream`, as its frames. */
const framesOf = (stream: TestStream): Buffer[] =>
  chunks.slice(stream.first).map((_, i) => frameOf(stream, stream.first + i));

/** Uploads under `boot` what `frames` brings; the code of the failure, and what the server got. */
async function upload(
  boot: BootSecret,
  frames: (stream: TestStream) => readonly Buffer[],
): Promise<{ code: unknown; got: Buffer }> {
  const link = linkOf(boot, 0);
  const { server, settled } = beginWith(boot, [link]);
  for (const frame of frames(link.stream)) link.far.write(frame);
  let over = false;
  void settled.then(() => (over = true));
  while (!over) {
    server.take();
    await turn();
  }
  while (server.waiting.length > 0) server.take();
  link.far.destroy();
  return { code: codeOf(await settled), got: Buffer.concat(server.got) };
}

test("sealed stream: nobody meddles -> all weights arrive", async () => {
  const { code, got } = await upload(testBoot(entry), framesOf);
  assert.equal(code, undefined);
  assert.ok(got.equals(weights));
});

/** Streams that were sealed to something else than this boot, each with the one thing in which it differs. */
const elsewhere: readonly [what: string, stream: (boot: BootSecret) => TestStream][] = [
  ["of an earlier boot, replayed", () => new TestStream(testBoot(entry, 1).bootKey, tree.root, 0)],
  [
    "for the same key, but another boot number",
    ({ bootKey }) => new TestStream({ ...bootKey, boot: 1 }, tree.root, 0),
  ],
  [
    "for the same key, but another epoch",
    ({ bootKey }) => new TestStream({ ...bootKey, epoch: 9 }, tree.root, 0),
  ],
  [
    "for the same key, but another gateway",
    ({ bootKey }) => new TestStream({ ...bootKey, gateway: "g2" }, tree.root, 0),
  ],
  [
    "for the same key, but another whitelist entry",
    ({ bootKey }) => new TestStream({ ...bootKey, entryDigest: Buffer.alloc(32) }, tree.root, 0),
  ],
  [
    "for the same key, but other weights",
    ({ bootKey }) => new TestStream(bootKey, Buffer.alloc(32, 1), 0),
  ],
  [
    "for the same key, but another device",
    ({ bootKey }) => new TestStream(bootKey, tree.root, 0, Buffer.alloc(32, 9)),
  ],
  ["for the same key, but another FETCH", ({ bootKey }) => new TestStream(bootKey, tree.root, 1)],
];

for (const [what, make] of elsewhere) {
  test(`sealed stream: a stream ${what} -> not one byte reaches the server`, async () => {
    const boot = testBoot(entry, 2);
    const other = make(boot);
    // Its encapsulated key comes with it, as a replayer would send it.
    const link = linkOf(boot, 0, other);
    const { server, settled } = beginWith(boot, [link]);
    link.far.write(frameOf(other, 0));
    assert.equal(codeOf(await settled), "upload.tag");
    assert.equal(server.got.length + server.waiting.length, 0);
    link.far.destroy();
  });
}

test("sealed stream: two chunks change places, their numbers with them or not -> refused before the second", async () => {
  const swap = (stream: TestStream): Buffer[] => {
    const frames = framesOf(stream);
    const [two, three] = [frames[2], frames[3]];
    assert.ok(two !== undefined && three !== undefined);
    frames.splice(2, 2, three, two);
    return frames;
  };
  const first = await upload(testBoot(entry), swap);
  assert.equal(first.code, "upload.order");
  const renumbered = await upload(testBoot(entry), (stream) => {
    const frames = swap(stream);
    frames.forEach((frame, i) => frame.writeBigUInt64BE(BigInt(i), 8));
    return frames;
  });
  assert.equal(renumbered.code, "upload.tag");
  for (const { got } of [first, renumbered]) {
    assert.ok(got.equals(weights.subarray(0, got.length)) && got.length <= 2 * chunkBytes);
  }
});

test("sealed stream: any one byte of any chunk changed -> refused, and the server has only what came before", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.nat({ max: count - 1 }),
      fc.nat(),
      fc.integer({ min: 1, max: 255 }),
      async (index, where, mask) => {
        const { code, got } = await upload(testBoot(entry), (stream) => {
          const frames = framesOf(stream);
          const frame = frames[index];
          assert.ok(frame !== undefined);
          const at = 16 + (where % (frame.length - 16));
          frame[at] = (frame[at] ?? 0) ^ mask;
          return frames;
        });
        assert.equal(code, "upload.tag");
        assert.ok(got.equals(weights.subarray(0, got.length)) && got.length <= index * chunkBytes);
      },
    ),
    { numRuns: 25 },
  );
});

test("sealed stream: cut off and ended by DONE -> refused; a chunk in the middle sealed as the last one, or the last as another -> refused", async () => {
  const done = encodeFrame(frameType.done, 0n);
  const cut = await upload(testBoot(entry), (stream) => [...framesOf(stream).slice(0, 5), done]);
  assert.equal(cut.code, "upload.truncated");
  for (const index of [5, count - 1]) {
    const { code } = await upload(testBoot(entry), (stream) => {
      const data = chunks[index] ?? Buffer.of();
      const sealed = stream.chunk(index, index !== count - 1, tree.proof(index), data);
      return [
        ...framesOf(stream).slice(0, index),
        encodeFrame(frameType.chunk, BigInt(index), sealed),
      ];
    });
    assert.equal(code, "upload.tag");
  }
});

test("sealed stream: extended by a chunk -> the upload is over at bit S, and the chunk is never looked at", async () => {
  const { code, got } = await upload(testBoot(entry), (stream) => {
    const sealed = stream.chunk(count, true, tree.proof(0), Buffer.alloc(chunkBytes));
    return [...framesOf(stream), encodeFrame(frameType.chunk, BigInt(count), sealed)];
  });
  assert.equal(code, undefined);
  assert.ok(got.equals(weights));
});

test("sealed stream: rightly sealed, but not the whitelisted weights -> the chunk tree refuses them", async () => {
  const { code } = await upload(testBoot(entry), (stream) => [
    frameOf(stream, 0, Buffer.alloc(chunkBytes, 7)),
  ]);
  assert.equal(code, "upload.bad-chunk");
});

test("sealed stream: listened to -> no chunk of the weights lies in it", () => {
  const stream = new TestStream(testBoot(entry).bootKey, tree.root, 0);
  const all = Buffer.concat(framesOf(stream));
  for (const chunk of chunks) assert.equal(all.indexOf(chunk.subarray(64, 128)), -1);
  // Nor do the hashes that would tell which model it is.
  assert.ok(tree.proof(0).every((hash) => all.indexOf(hash) === -1));
});

/** A boot whose secret is not fresh: the same "random" bytes each time. */
const stale = (boot: number): BootSecret =>
  new BootSecret({
    ...{ gateway: "g1", epoch: 1, boot, entryDigest: entry.digest },
    deviceKey: privateKeyFromSeed(Buffer.alloc(32, 0xdd)),
    random: { fill: (target) => target.fill(0x77) },
  });

test("without a fresh key: the thief of one boot's secret reads the stream of the next; with one he does not", () => {
  const thief = keyPairOf(Buffer.alloc(32, 0x77));
  const read = (boot: BootSecret): Buffer => {
    const stream = new TestStream(boot.bootKey, tree.root, 0);
    const deviceKey = fromHex(testDevicePublic, 32);
    const info = weightsInfo({ deviceKey, bootKey: boot.bootKey, root: tree.root, first: 0 });
    const key = chunkKeyOf(hpkeReceiver(stream.enc, thief, info));
    const sealed = frameOf(stream, 0).subarray(16);
    const plain = gcmOpen("aes-256-gcm", key, chunkNonce(0, false), Buffer.alloc(0), sealed);
    return decodeChunk(plain).data;
  };
  assert.deepEqual(read(stale(2)), chunks[0]);
  assert.throws(() => read(testBoot(entry, 2)), { code: "gcm.tag" });
});

test("without numbers and the last mark in the nonce: a swapped or relabelled chunk opens", () => {
  const stream = new TestStream(testBoot(entry).bootKey, tree.root, 0);
  // The attack needs two chunks under one nonce: sealed so, they stand in for one another.
  const [a, b] = [0, 1].map((i) => stream.chunk(0, false, tree.proof(i), chunks[i] ?? Buffer.of()));
  assert.ok(a !== undefined && b !== undefined);
  for (const [sealed, want] of [
    [a, chunks[0]],
    [b, chunks[1]],
  ] as const) {
    const plain = gcmOpen("aes-256-gcm", stream.key, chunkNonce(0, false), Buffer.alloc(0), sealed);
    assert.deepEqual(decodeChunk(plain).data, want);
  }
  // With them, each number and mark has a nonce of its own.
  const nonces = [0, 1, 2, 255, 256, 65_536, 2 ** 20 - 1].flatMap((index) =>
    [false, true].map((last) => chunkNonce(index, last).toString("hex")),
  );
  assert.equal(new Set(nonces).size, nonces.length);
});

/** Links to the same boot's depot, the first from chunk 0, the next from those given. */
const linksFrom = (boot: BootSecret, firsts: readonly number[]): Link[] =>
  firsts.map((first) => linkOf(boot, first));

test("resumption: the link is lost at any byte, again and again -> the next goes on with the chunk that is due; the server sees one stream", async () => {
  const cuts = fc.array(fc.nat({ max: 60_000 }), { minLength: 1, maxLength: linksMax - 1 });
  await fc.assert(
    fc.asyncProperty(cuts, async (sizes) => {
      const boot = testBoot(entry);
      // What each link starts from is known only when it is dialled: play the depot live.
      const { server, counter, settled, dials } = playDepot(boot, sizes);
      let over = false;
      void settled.then(() => (over = true));
      for (let i = 0; !over; i++) {
        assert.ok(i < 100_000, "the upload ends");
        server.take();
        await turn();
      }
      while (server.waiting.length > 0) server.take();
      assert.equal(await settled, null);
      assert.ok(dials() <= sizes.length + 1);
      assert.ok(Buffer.concat(server.got).equals(weights), "the weights, once");
      assert.equal(counter.forwardedBits, BigInt(8 * weights.length));
    }),
    { numRuns: 25 },
  );
});

test("resumption: the FETCH of the second link asks for the chunk that is due, and brings the same boot key", async () => {
  const boot = testBoot(entry);
  const [first, second] = linksFrom(boot, [0, 3]);
  assert.ok(first !== undefined && second !== undefined);
  const { server, settled } = beginWith(boot, [first, second]);
  for (let index = 0; index < 3; index++) first.far.write(frameOf(first.stream, index));
  while (server.got.length < 3) {
    server.take();
    await turn();
  }
  first.wire.close("lost");
  for (const frame of framesOf(second.stream)) second.far.write(frame);
  while (server.got.length < count) {
    server.take();
    await turn();
  }
  assert.equal(await settled, null);
  assert.deepEqual(
    second.fetches.map(({ first: due, certificate }) => [due, certificate]),
    [[3, boot.certificate]],
  );
  for (const { far } of [first, second]) far.destroy();
});

test("resumption: chunks of the lost link, sent again on the next -> refused", async () => {
  const boot = testBoot(entry);
  const [first, second] = linksFrom(boot, [0, 1]);
  assert.ok(first !== undefined && second !== undefined);
  const { server, settled } = beginWith(boot, [first, second]);
  first.far.write(frameOf(first.stream, 0));
  while (server.got.length < 1) {
    server.take();
    await turn();
  }
  first.wire.close("lost");
  second.far.write(frameOf(first.stream, 1));
  assert.equal(codeOf(await settled), "upload.tag");
  assert.equal(server.got.length, 1);
  for (const { far } of [first, second]) far.destroy();
});

test("resumption: a depot that is lost each time -> a bounded number of links, then the upload fails", async () => {
  const boot = testBoot(entry);
  const { settled, dials } = beginWith(boot, []);
  assert.equal(codeOf(await settled), "upload.lost");
  assert.equal(dials(), linksMax);
});

/** An honest depot whose links break after so many bytes each; one more link holds. */
function playDepot(boot: BootSecret, sizes: readonly number[]) {
  const made: Link[] = [];
  // The gateway asks for a link when the one before is lost: what is due then is known from its FETCH.
  const play = beginWith(boot, {
    next: () => {
      const link = linkOf(boot, null);
      const left = sizes[made.length];
      made.push(link);
      void link.fetched.then(({ first }) => {
        const stream = new TestStream(boot.bootKey, tree.root, first);
        const offer = encodeFrame(frameType.offer, 0n, stream.offer(weights.length, chunkBytes));
        const bytes = Buffer.concat([offer, ...framesOf(stream)]);
        if (left === undefined) link.far.write(bytes);
        else link.far.end(bytes.subarray(0, left));
      });
      return link;
    },
  });
  return play;
}
