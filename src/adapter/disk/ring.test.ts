import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import fc from "fast-check";
import { UnavailableError } from "../../base/assert.ts";
import { secretKey } from "../../base/hash.ts";
import { blockSpan, type RingRecord } from "../../format/ring-block.ts";
import { makeTag } from "../../format/tag.ts";
import { systemRandom } from "../random.ts";
import { systemDisk } from "./file.ts";
import { FaultyDisk } from "./faulty-disk.ts";
import { largestPair, openRing, type DiskRing, type RingOptions } from "./ring.ts";

const key = secretKey(Buffer.alloc(32, 1));

function freshDir(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), "weir-ring-"));
  t.after(() => {
    rmSync(dir, { recursive: true, force: true });
  });
  return dir;
}

/** A ring small enough to go round: records to 1,000 bytes, segments of 4 KiB. */
function small(dir: string, epoch: number, more: Partial<RingOptions> = {}): RingOptions {
  const sizes = { segmentBytes: 4096, segments: 4, recordBytes: 1000, pairBytes: 2000 };
  return { dir, key, epoch, random: systemRandom, ...sizes, ...more };
}

async function all(ring: DiskRing): Promise<RingRecord[]> {
  const records: RingRecord[] = [];
  for await (const record of ring.read()) records.push(record);
  return records;
}

function segmentFile(dir: string, index: number): string {
  return join(dir, `segment-0000${index}.ring`);
}

function text(record: RingRecord): string {
  return `${record.kind} ${record.tag.toString(16)} ${record.payload.toString()}`;
}

test("ring: records committed, ring reopened -> read back in order, batches that were not are gone", async (t) => {
  const dir = freshDir(t);
  const ring = await openRing(small(dir, 1));
  ring.add("input", makeTag(1, 1), Buffer.from("a"));
  ring.add("prompt", makeTag(1, 1), Buffer.from("b"));
  assert.equal(ring.pending, 2);
  await ring.commit();
  assert.equal(ring.pending, 0);
  ring.add("end", makeTag(1, 1), Buffer.from("c"));
  await ring.commit();
  ring.add("coin", makeTag(1, 1), Buffer.from("never committed"));
  const expected = ["input 10000000001 a", "prompt 10000000001 b", "end 10000000001 c"];
  assert.deepEqual((await all(ring)).map(text), expected);
  await ring.close();
  const again = await openRing(small(dir, 2));
  assert.deepEqual(again.recovered, { blocks: 2, torn: false, damaged: 0 });
  assert.deepEqual((await all(again)).map(text), expected);
  assert.deepEqual(again.status(), {
    bytes: 512 + 2 * 512,
    capacity: 4 * 4096,
    pairsForgotten: 0,
    forgottenThrough: null,
  });
  await again.close();
});

test("ring: records added while a commit is in flight -> they go into the next batch", async (t) => {
  const dir = freshDir(t);
  const ring = await openRing(small(dir, 1));
  ring.add("input", makeTag(1, 1), Buffer.from("first"));
  const first = ring.commit();
  ring.add("input", makeTag(1, 2), Buffer.from("second"));
  await first;
  assert.deepEqual((await all(ring)).map(text), ["input 10000000001 first"]);
  await Promise.all([ring.commit(), ring.commit()]);
  assert.equal((await all(ring)).length, 2);
  await ring.close();
});

test("ring: the plaintext, the key and the file names -> nothing of a record is readable on disk", async (t) => {
  const dir = freshDir(t);
  const ring = await openRing(small(dir, 1));
  const secret = Buffer.from("a very recognisable prompt of a user");
  ring.add("input", makeTag(1, 1), secret);
  await ring.commit();
  await ring.close();
  const disk = Buffer.concat([0, 1, 2, 3].map((i) => readFileSync(segmentFile(dir, i))));
  assert.equal(disk.indexOf(secret), -1);
  assert.equal(disk.indexOf(key.export()), -1);
});

test("ring: going round many times, with restarts -> newest records intact, the rest counted as forgotten", async (t) => {
  const dir = freshDir(t);
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.array(fc.nat({ max: 1000 }), { minLength: 1, maxLength: 5 }), { maxLength: 40 }),
      fc.nat({ max: 9 }),
      async (batches, restart) => {
        rmSync(dir, { recursive: true, force: true });
        let epoch = 1;
        let ring = await openRing(small(dir, epoch));
        const written: string[] = [];
        let counter = 0;
        for (const [i, batch] of batches.entries()) {
          for (const size of batch) {
            const payload = Buffer.alloc(size, 97 + (counter % 26));
            const record = { kind: "input", tag: makeTag(epoch, ++counter), payload } as const;
            ring.add(record.kind, record.tag, record.payload);
            written.push(text(record));
          }
          await ring.commit();
          if (i % 10 !== restart) continue;
          await ring.close();
          ring = await openRing(small(dir, ++epoch));
          assert.equal(ring.recovered.damaged, 0);
          assert.equal(ring.recovered.torn, false);
        }
        const found = (await all(ring)).map(text);
        assert.deepEqual(found, written.slice(written.length - found.length));
        const status = ring.status();
        assert.equal(status.pairsForgotten, written.length - found.length);
        const gone = written[written.length - found.length - 1];
        const through = status.forgottenThrough;
        assert.equal(
          through === null ? undefined : `input ${through.toString(16)}`,
          gone?.slice(0, gone.lastIndexOf(" ")),
        );
        assert.ok(status.bytes <= status.capacity);
        await ring.close();
      },
    ),
    { numRuns: 25 },
  );
});

test("ring: one batch larger than a segment -> several blocks, every record there", async (t) => {
  const dir = freshDir(t);
  const ring = await openRing(small(dir, 1));
  const expected: string[] = [];
  for (let i = 1; i <= 5; i++) {
    const payload = Buffer.alloc(900, 48 + i);
    ring.add("input", makeTag(1, i), payload);
    expected.push(text({ kind: "input", tag: makeTag(1, i), payload }));
  }
  await ring.commit();
  assert.deepEqual((await all(ring)).map(text), expected);
  for (let i = 0; i < 3; i++) ring.add("end", makeTag(2, 1), Buffer.alloc(1000));
  await ring.commit();
  await ring.close();
  const again = await openRing(small(dir, 2));
  assert.equal(again.recovered.damaged, 0);
  await again.close();
});

test("ring: a batch that would overwrite itself -> UnavailableError, effect none", async (t) => {
  const ring = await openRing(small(freshDir(t), 1));
  const fill = (): void => {
    for (let i = 1; i <= 20; i++) ring.add("input", makeTag(1, i), Buffer.alloc(1000));
  };
  assert.throws(fill, { code: "ring.batch", effect: "none" });
  await ring.close();
});

test("ring: options that cannot work -> refused before anything is made", async (t) => {
  const dir = join(freshDir(t), "ring");
  const refused = (more: Partial<RingOptions>): Promise<void> =>
    assert.rejects(openRing(small(dir, 1, more)), { code: "ring.config" });
  await refused({ segments: 1 });
  await refused({ segmentBytes: 4000 });
  await refused({ recordBytes: 4096 });
  await refused({ pairBytes: largestPair(1024) });
  assert.throws(() => readFileSync(segmentFile(dir, 0)), { code: "ENOENT" });
});

test("ring: another key, another size, an epoch already used -> refused, nothing changed", async (t) => {
  const dir = freshDir(t);
  const ring = await openRing(small(dir, 5));
  ring.add("input", makeTag(5, 1), Buffer.from("kept"));
  await ring.commit();
  await ring.close();
  const before = readFileSync(segmentFile(dir, 0));
  const other = secretKey(Buffer.alloc(32, 2));
  await assert.rejects(openRing(small(dir, 6, { key: other })), { code: "ring.key" });
  await assert.rejects(openRing(small(dir, 6, { segmentBytes: 8192 })), { code: "ring.geometry" });
  await assert.rejects(openRing(small(dir, 6, { segments: 5 })), { code: "ring.geometry" });
  await assert.rejects(openRing(small(dir, 5)), { code: "ring.epoch" });
  await assert.rejects(openRing(small(dir, 4)), { code: "ring.epoch" });
  assert.deepEqual(readFileSync(segmentFile(dir, 0)), before);
});

/** Three blocks in the first segment; returns the offset and the bytes of the last one. */
async function threeBlocks(dir: string): Promise<{ at: number; end: number }> {
  const ring = await openRing(small(dir, 1));
  for (let i = 1; i <= 3; i++) {
    ring.add("input", makeTag(1, i), Buffer.from(`block ${i}`));
    await ring.commit();
  }
  await ring.close();
  const at = 512 + 2 * blockSpan(13 + 7);
  return { at, end: at + 40 + 13 + 7 + 16 };
}

test("ring: the last block torn or flipped at every byte -> torn is reported, the blocks before it are intact", async (t) => {
  const dir = freshDir(t);
  const { at, end } = await threeBlocks(dir);
  const file = segmentFile(dir, 0);
  const whole = readFileSync(file);
  const check = async (bytes: Buffer, torn: boolean, what: string): Promise<void> => {
    writeFileSync(file, bytes);
    const ring = await openRing(small(dir, 2));
    assert.deepEqual(ring.recovered, { blocks: 2, torn, damaged: 0 }, what);
    assert.equal((await all(ring)).length, 2);
    await ring.close();
  };
  for (let cut = at; cut < end; cut++) {
    const torn = Buffer.from(whole);
    torn.fill(0, cut, end);
    // A write of which nothing arrived, or only bytes that were zero before, is no tear.
    if (torn.equals(whole)) continue;
    await check(torn, !torn.subarray(at, at + 512).every((byte) => byte === 0), `cut at ${cut}`);
    const flipped = Buffer.from(whole);
    flipped[cut] = (flipped[cut] ?? 0) ^ 0x40;
    await check(flipped, true, `flip at ${cut}`);
  }
});

test("ring: after a torn tail -> writing goes on in its place and everything later is found", async (t) => {
  const dir = freshDir(t);
  const { at } = await threeBlocks(dir);
  const bytes = readFileSync(segmentFile(dir, 0));
  bytes.fill(0xee, at + 50, at + 60);
  writeFileSync(segmentFile(dir, 0), bytes);
  const ring = await openRing(small(dir, 2));
  assert.equal(ring.recovered.torn, true);
  ring.add("input", makeTag(2, 1), Buffer.from("after"));
  await ring.commit();
  await ring.close();
  const again = await openRing(small(dir, 3));
  assert.deepEqual(again.recovered, { blocks: 3, torn: false, damaged: 0 });
  assert.equal((await all(again)).at(-1)?.payload.toString(), "after");
  await again.close();
});

test("ring: a block in the middle flipped at every byte -> one damaged, the others still read", async (t) => {
  const dir = freshDir(t);
  const { at } = await threeBlocks(dir);
  const file = segmentFile(dir, 0);
  const whole = readFileSync(file);
  for (let offset = at - 512; offset < at - 512 + 76; offset++) {
    const flipped = Buffer.from(whole);
    flipped[offset] = (flipped[offset] ?? 0) ^ 0x01;
    writeFileSync(file, flipped);
    const ring = await openRing(small(dir, 2));
    assert.deepEqual(ring.recovered, { blocks: 2, torn: false, damaged: 1 }, `flip at ${offset}`);
    assert.deepEqual(
      (await all(ring)).map((r) => r.payload.toString()),
      ["block 1", "block 3"],
    );
    await ring.close();
  }
});

/** Fills until the segment with this index was begun on the second lap; one record a block. */
async function secondLap(dir: string): Promise<{ written: number; forgotten: number }> {
  const ring = await openRing(small(dir, 1));
  let written = 0;
  while (ring.status().pairsForgotten < 7) {
    written++;
    ring.add("input", makeTag(1, written), Buffer.alloc(400, written % 256));
    await ring.commit();
  }
  const forgotten = ring.status().pairsForgotten;
  await ring.close();
  return { written, forgotten };
}

test("ring: the header of the segment just begun torn -> what it overwrote counts as forgotten", async (t) => {
  const dir = freshDir(t);
  const { written, forgotten } = await secondLap(dir);
  // Segment 0 was begun again. Segment 1 is the oldest: a crash while it is begun tears its header.
  const bytes = readFileSync(segmentFile(dir, 1));
  bytes.fill(0xaa, 100, 300);
  writeFileSync(segmentFile(dir, 1), bytes);
  const ring = await openRing(small(dir, 2));
  assert.equal(ring.recovered.torn, true);
  assert.equal(ring.recovered.damaged, 0);
  const records = await all(ring);
  const status = ring.status();
  assert.equal(status.pairsForgotten, forgotten + 7);
  assert.equal(records.length, written - status.pairsForgotten);
  assert.equal(status.forgottenThrough, makeTag(1, forgotten + 7));
  await ring.close();
});

test("ring: the header of the newest segment damaged -> its blocks are still found, damage reported", async (t) => {
  const dir = freshDir(t);
  const { written, forgotten } = await secondLap(dir);
  for (const fill of [0xaa, 0]) {
    const whole = readFileSync(segmentFile(dir, 0));
    const bytes = Buffer.from(whole);
    bytes.fill(fill, 0, 512);
    writeFileSync(segmentFile(dir, 0), bytes);
    const ring = await openRing(small(dir, 2));
    assert.equal(ring.recovered.damaged, 1);
    assert.equal((await all(ring)).length, written - forgotten);
    assert.equal(ring.status().pairsForgotten, forgotten);
    await ring.close();
    writeFileSync(segmentFile(dir, 0), whole);
  }
});

test("ring: a segment in the middle wiped -> every lost block is counted", async (t) => {
  const dir = freshDir(t);
  const { written, forgotten } = await secondLap(dir);
  writeFileSync(segmentFile(dir, 2), Buffer.alloc(4096));
  const ring = await openRing(small(dir, 2));
  const left = (await all(ring)).length;
  assert.equal(ring.recovered.damaged, written - forgotten - left);
  assert.equal(ring.recovered.damaged, 7);
  await ring.close();
});

test("ring: a write or sync that fails, once or for ever -> nothing is claimed, and a restart has all that was", async (t) => {
  for (const operation of ["write", "datasync"] as const) {
    for (const forever of [false, true]) {
      for (let nth = 1; nth <= 9; nth++) {
        const dir = freshDir(t);
        const disk = new FaultyDisk(systemDisk);
        const ring = await openRing(small(dir, 1, { disk }));
        disk.arm({
          operation,
          nth,
          forever,
          code: nth % 2 === 0 ? "EIO" : "ENOSPC",
          partial: 37 * nth,
        });
        let durable = 0;
        const run = async (): Promise<void> => {
          for (let i = 1; i <= 30; i++) {
            ring.add("input", makeTag(1, i), Buffer.alloc(300, i));
            await ring.commit();
            durable = i;
          }
        };
        await assert.rejects(
          run(),
          (error) => error instanceof UnavailableError && error.effect === "unknown",
        );
        await assert.rejects(ring.commit(), { code: "ring.commit" });
        assert.throws(() => {
          ring.add("end", makeTag(1, 1), Buffer.of(0));
        }, UnavailableError);
        await ring.close();
        const again = await openRing(small(dir, 2));
        const tags = (await all(again)).map((record) => Number(record.tag & 0xffffn));
        const forgotten = again.status().pairsForgotten;
        assert.equal(again.recovered.damaged, 0);
        for (let i = forgotten + 1; i <= durable; i++)
          assert.ok(tags.includes(i), `${operation} ${nth}: ${i}`);
        assert.ok(tags.every((tag) => tag <= durable + 1));
        await again.close();
      }
    }
  }
});

test("ring: making the segments fails -> UnavailableError, and the next start makes them", async (t) => {
  for (let nth = 1; nth <= 4; nth++) {
    const dir = freshDir(t);
    const disk = new FaultyDisk(systemDisk);
    disk.arm({ operation: "write", nth, forever: true, code: "ENOSPC", partial: 1000 });
    await assert.rejects(openRing(small(dir, 1, { disk })), UnavailableError);
    disk.arm(null);
    const ring = await openRing(small(dir, 2, { disk }));
    assert.deepEqual(ring.recovered, { blocks: 0, torn: false, damaged: 0 });
    await ring.close();
  }
});
