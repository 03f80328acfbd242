import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { InvalidError } from "../base/assert.ts";
import { encodeFrame, FrameDecoder, frameHeaderBytes, frameType, type Frame } from "./link.ts";

const anyFrame = fc.record({
  type: fc.constantFrom(...Object.values(frameType)),
  id: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  payload: fc.uint8Array({ maxLength: 300 }),
});

/** Cuts bytes at the given points, however many and wherever. */
function cut(bytes: Buffer, points: readonly number[]): Buffer[] {
  const at = [0, ...points.map((p) => p % (bytes.length + 1)), bytes.length].sort((a, b) => a - b);
  return at.slice(1).map((end, i) => bytes.subarray(at[i], end));
}

test("link: any frames, cut anywhere -> the same frames", () => {
  fc.assert(
    fc.property(fc.array(anyFrame), fc.array(fc.nat()), (frames, points) => {
      const bytes = Buffer.concat(frames.map((f) => encodeFrame(f.type, f.id, f.payload)));
      const decoder = new FrameDecoder();
      const seen: Frame[] = [];
      for (const part of cut(bytes, points)) decoder.push(part, (frame) => seen.push(frame));
      assert.deepEqual(
        seen.map((f) => [f.type, f.id, [...f.payload]]),
        frames.map((f) => [f.type, f.id, [...f.payload]]),
      );
      assert.equal(decoder.idle, true);
    }),
  );
});

test("link: bytes read into the decoder's space, any amount at a time -> the same frames", () => {
  const amounts = fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1 });
  fc.assert(
    fc.property(fc.array(anyFrame), amounts, fc.boolean(), (frames, steps, own) => {
      const bytes = Buffer.concat(frames.map((f) => encodeFrame(f.type, f.id, f.payload)));
      const decoder = new FrameDecoder();
      const given: Buffer[] = [];
      if (own) decoder.memory = (length) => given[given.push(Buffer.alloc(length)) - 1] ?? bytes;
      const seen: Frame[] = [];
      for (let at = 0, i = 0; at < bytes.length; i++) {
        const space = decoder.space();
        assert.ok(space.length > 0);
        const length = Math.min(steps[i % steps.length] ?? 1, space.length, bytes.length - at);
        bytes.copy(space, 0, at, at + length);
        decoder.advance(length, (frame) => seen.push(frame));
        at += length;
      }
      assert.deepEqual(
        seen.map((f) => [f.type, f.id, [...f.payload]]),
        frames.map((f) => [f.type, f.id, [...f.payload]]),
      );
      if (own) seen.forEach((frame, i) => assert.equal(frame.payload, given[i]));
      assert.equal(decoder.idle, true);
    }),
  );
});

test("link: after a malformed header -> there is still space: a reader may have bytes to put", () => {
  const decoder = new FrameDecoder(100);
  decoder.space().fill(0xff);
  assert.throws(
    () => {
      decoder.advance(frameHeaderBytes, () => assert.fail("no frame"));
    },
    { code: "link.too-long" },
  );
  assert.equal(decoder.space().length, frameHeaderBytes);
});

test("link: a cut frame -> nothing comes out, and the decoder is not idle", () => {
  const bytes = encodeFrame(frameType.tokens, 1n, Buffer.alloc(100));
  for (let length = 1; length < bytes.length; length++) {
    const decoder = new FrameDecoder();
    decoder.push(bytes.subarray(0, length), () => assert.fail("no frame is complete"));
    assert.equal(decoder.idle, false, `after ${length} bytes`);
  }
});

test("link: a length above the limit -> invalid before a byte of payload is kept", () => {
  const header = Buffer.alloc(frameHeaderBytes);
  header.writeUInt32BE(101);
  const decoder = new FrameDecoder(100);
  assert.throws(
    () => {
      decoder.push(header, () => undefined);
    },
    { code: "link.too-long" },
  );
});

test("link: reserved bytes that are not zero -> invalid", () => {
  for (const at of [5, 6, 7]) {
    const bytes = encodeFrame(frameType.ping, 0n);
    bytes[at] = 1;
    assert.throws(
      () => {
        new FrameDecoder().push(bytes, () => undefined);
      },
      { code: "link.reserved" },
    );
  }
});

test("link: any bytes -> frames or InvalidError, nothing else", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 64 })), (parts) => {
      const decoder = new FrameDecoder(1024);
      try {
        for (const part of parts) decoder.push(Buffer.from(part), () => undefined);
      } catch (error) {
        assert.ok(error instanceof InvalidError);
      }
    }),
  );
});
