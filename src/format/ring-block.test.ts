import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { InvalidError } from "../base/assert.ts";
import { Writer } from "../base/bytes.ts";
import { secretKey } from "../base/hash.ts";
import {
  blockHeaderBytes,
  blockKey,
  blockSpan,
  blockTagBytes,
  decodeRecords,
  decodeSegmentHeader,
  encodeSegmentHeader,
  openBlock,
  ringKinds,
  sealBlock,
  segmentKey,
  type RingRecord,
} from "./ring-block.ts";
import { asTag, makeTag } from "./tag.ts";

const ringKey = secretKey(Buffer.alloc(32, 7));
const keyOf = (salt: Buffer): ReturnType<typeof blockKey> => blockKey(ringKey, salt);
const segmentKeyOf = (salt: Buffer): ReturnType<typeof blockKey> => segmentKey(ringKey, salt);

const recordArb = fc
  .tuple(
    fc.constantFrom(...ringKinds),
    fc.integer({ min: 1, max: 2 ** 24 - 1 }),
    fc.integer({ min: 1, max: 2 ** 40 - 1 }),
    fc.uint8Array({ maxLength: 200 }),
  )
  .map(([kind, epoch, counter, payload]): RingRecord => {
    return { kind, tag: makeTag(epoch, counter), payload: Buffer.from(payload) };
  });

const blockArb = fc.record({
  epoch: fc.nat({ max: 2 ** 24 - 1 }),
  sequence: fc.bigInt({ min: 1n, max: 2n ** 64n - 1n }),
  salt: fc.uint8Array({ minLength: 16, maxLength: 16 }).map((salt) => Buffer.from(salt)),
  records: fc.array(recordArb, { maxLength: 12 }),
});

function encodeRecords(records: readonly RingRecord[]): Buffer {
  const out = new Writer();
  for (const { kind, tag, payload } of records) {
    out.u8(ringKinds.indexOf(kind)).u64(tag).blob(payload);
  }
  return out.bytes();
}

function seal(block: {
  epoch: number;
  sequence: bigint;
  salt: Buffer;
  records: RingRecord[];
}): Buffer {
  const plaintext = encodeRecords(block.records);
  const { epoch, sequence, salt, records } = block;
  const header = {
    epoch,
    sequence,
    salt,
    plaintextBytes: plaintext.length,
    records: records.length,
  };
  return Buffer.concat(sealBlock(keyOf(salt), header, plaintext));
}

const invalid = (error: unknown): boolean =>
  error instanceof InvalidError && /^(ring|tag)\./.test(error.code);

test("ring block: records sealed -> the same records opened, with the header that was given", () => {
  fc.assert(
    fc.property(blockArb, (block) => {
      const bytes = seal(block);
      const { header, plaintext } = openBlock(Buffer.concat([bytes, Buffer.alloc(9, 1)]), keyOf);
      assert.deepEqual(decodeRecords(plaintext, header.records), block.records);
      assert.equal(header.epoch, block.epoch);
      assert.equal(header.sequence, block.sequence);
      const span = blockSpan(plaintext.length);
      assert.ok(span % 512 === 0 && span >= bytes.length && span < bytes.length + 512);
    }),
  );
});

test("ring block: cut anywhere -> InvalidError", () => {
  fc.assert(
    fc.property(
      blockArb,
      fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      (block, at) => {
        const bytes = seal(block);
        assert.throws(
          () => openBlock(bytes.subarray(0, Math.floor(at * bytes.length)), keyOf),
          invalid,
        );
      },
    ),
  );
});

test("ring block: any one bit flipped -> InvalidError", () => {
  const tag = makeTag(3, 9);
  const salt = Buffer.alloc(16, 4);
  const bytes = seal({
    epoch: 3,
    sequence: 77n,
    salt,
    records: [{ kind: "end", tag, payload: Buffer.of(1) }],
  });
  for (let bit = 0; bit < 8 * bytes.length; bit++) {
    const flipped = Buffer.from(bytes);
    flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    assert.throws(() => openBlock(flipped, keyOf), invalid, `bit ${bit}`);
  }
});

test("ring block: another ring key -> InvalidError", () => {
  const bytes = seal({ epoch: 1, sequence: 1n, salt: Buffer.alloc(16), records: [] });
  const other = secretKey(Buffer.alloc(32, 8));
  assert.throws(() => openBlock(bytes, (salt) => blockKey(other, salt)), { code: "ring.sealed" });
});

test("ring block: same sequence and text under two salts -> nothing in common", () => {
  const records: RingRecord[] = [{ kind: "input", tag: makeTag(1, 1), payload: Buffer.alloc(64) }];
  const one = seal({ epoch: 1, sequence: 1n, salt: Buffer.alloc(16, 1), records });
  const two = seal({ epoch: 1, sequence: 1n, salt: Buffer.alloc(16, 2), records });
  const body = (bytes: Buffer): Buffer => bytes.subarray(blockHeaderBytes, -blockTagBytes);
  assert.notDeepEqual(body(one), body(two));
});

test("ring records: arbitrary bytes -> records or InvalidError, never anything else", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), fc.nat({ max: 40 }), (bytes, count) => {
      try {
        assert.equal(decodeRecords(bytes, count).length, count);
      } catch (error) {
        assert.ok(invalid(error));
      }
    }),
  );
  assert.throws(() => decodeRecords(Buffer.alloc(10), 2 ** 32 - 1), { code: "ring.records" });
});

test("ring block: arbitrary bytes -> InvalidError", () => {
  const start = Buffer.from("57524201", "hex");
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.boolean(), (tail, magic) => {
      const bytes = magic ? Buffer.concat([start, tail]) : Buffer.from(tail);
      assert.throws(() => openBlock(bytes, keyOf), invalid);
    }),
  );
});

const segment = {
  epoch: 5,
  salt: Buffer.alloc(16, 9),
  index: 3,
  segments: 16,
  segmentBytes: 2 ** 24,
  first: 1234n,
  now: { oldest: 1000n, pairs: 7n, through: asTag(0x0000_0100_0000_0007n) },
  next: { oldest: 1100n, pairs: 9n, through: null },
};

test("ring segment header: encoded -> decoded the same", () => {
  const bytes = encodeSegmentHeader(segment, segmentKeyOf(segment.salt));
  assert.equal(bytes.length, 512);
  assert.deepEqual(decodeSegmentHeader(bytes, segmentKeyOf), segment);
});

test("ring segment header: any byte changed, or cut -> InvalidError", () => {
  const bytes = encodeSegmentHeader(segment, segmentKeyOf(segment.salt));
  for (let at = 0; at < bytes.length; at++) {
    const changed = Buffer.from(bytes);
    changed[at] = (changed[at] ?? 0) ^ 0x10;
    assert.throws(() => decodeSegmentHeader(changed, segmentKeyOf), invalid, `byte ${at}`);
    assert.throws(() => decodeSegmentHeader(bytes.subarray(0, at), segmentKeyOf), invalid);
  }
});
