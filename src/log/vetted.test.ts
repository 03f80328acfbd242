import assert from "node:assert/strict";
import { test } from "node:test";
import { drawKeys, drawSeeds, MemoryFile } from "../../tests/draw-parties.ts";
import { quiet } from "../../tests/support.ts";
import { systemRandom } from "../adapter/random.ts";
import { commitmentOf } from "../format/draw.ts";
import { encodeBootEntry, encodeRoundOpen, leafBytes } from "../format/leaf.ts";
import type { Mirror } from "./mirror.port.ts";
import { DrawShares, encodeShares } from "./share.ts";
import { vetted } from "./vetted.ts";

const bytes = (byte: number): Buffer => Buffer.alloc(32, byte);

/** A mirror in memory: entries that count, and those held aside. `fails`: the disk, once. */
class MemoryMirror {
  counting: Buffer;
  aside = Buffer.alloc(0);
  fails = false;

  constructor(...entries: Buffer[]) {
    this.counting = Buffer.concat(entries);
  }

  get size(): number {
    return this.counting.length / leafBytes;
  }

  get staged(): number {
    return this.aside.length / leafBytes;
  }

  stage(entries: Buffer): Promise<void> {
    if (this.fails) {
      this.fails = false;
      return Promise.reject(new Error("no disk"));
    }
    this.aside = Buffer.concat([this.aside, entries]);
    return Promise.resolve();
  }

  drop(): Promise<void> {
    this.aside = Buffer.alloc(0);
    return Promise.resolve();
  }

  async commit(): Promise<void> {
    this.counting = Buffer.concat([this.counting, this.aside]);
    await this.drop();
  }

  entries(from: number, count: number): Promise<Buffer> {
    return Promise.resolve(this.counting.subarray(from * leafBytes, (from + count) * leafBytes));
  }
}

/** An entry that opens `round` with the commitment that party A gave. */
const opens = (round: bigint, b = 8): Buffer =>
  encodeRoundOpen({
    ...{ round, atMs: 1, gateway: bytes(1), threshold: 1n },
    ...{ a: commitmentOf("a", round, bytes(7)), b: bytes(b) },
  });

const other = encodeBootEntry({
  ...{ atMs: 1, epoch: 1, boot: 1, deviceKey: bytes(3) },
  ...{ measurement: bytes(0), whitelist: bytes(4) },
});

/** Party A, holding its share of `round`, before this mirror. */
async function partyOf(mirror: MemoryMirror, round: bigint): Promise<Mirror> {
  const file = new MemoryFile();
  const held = { round, answers: bytes(1), sealTo: bytes(2), secret: bytes(7), released: true };
  file.content = encodeShares(new Map([["device", held]]));
  const shares = await DrawShares.open({
    ...{ party: "a", key: drawSeeds.a, otherKey: drawKeys.b, file },
    ...{ random: systemRandom, logger: quiet },
  });
  return vetted(mirror as unknown as Mirror, "device", shares);
}

const again = { code: "witness.draw", message: /again/ };

test("vetted: a second opening of a round, in one batch, in the next, or after a restart -> never held aside", async () => {
  const one = new MemoryMirror();
  await assert.rejects(
    (await partyOf(one, 1n)).stage(Buffer.concat([opens(1n), opens(1n)])),
    again,
  );
  assert.equal(one.staged, 0);

  const two = new MemoryMirror(other);
  const party = await partyOf(two, 1n);
  await party.stage(opens(1n));
  await assert.rejects(party.stage(Buffer.concat([other, opens(1n, 9)])), again);
  assert.equal(two.staged, 1);
  await party.commit(Buffer.alloc(0));
  await assert.rejects(party.stage(opens(1n, 9)), again);

  // More entries behind it than are read at once.
  const long = new MemoryMirror(opens(1n), ...Array.from({ length: 4999 }, () => other));
  const restarted = await partyOf(long, 1n);
  await assert.rejects(restarted.stage(opens(1n, 9)), again);
  assert.equal(long.staged, 0);
});

test("vetted: what was dropped, or never got to disk, was not opened; rounds go on one by one", async () => {
  const mirror = new MemoryMirror();
  const party = await partyOf(mirror, 1n);
  await party.stage(opens(1n));
  await party.drop();
  mirror.fails = true;
  await assert.rejects(party.stage(opens(1n)), /no disk/);
  await party.stage(Buffer.concat([other, opens(1n)]));
  await party.commit(Buffer.alloc(0));
  await party.stage(other);
  await party.drop();
  await assert.rejects(party.stage(opens(1n)), again);

  const later = await partyOf(mirror, 2n);
  await assert.rejects(later.stage(opens(3n)), { code: "witness.draw", message: /rise by one/ });
  await later.stage(opens(2n));
  await later.commit(Buffer.alloc(0));
  assert.equal(mirror.size, 3);
  await assert.rejects(later.stage(opens(1n)), { code: "witness.draw", message: /after round 2/ });
});
