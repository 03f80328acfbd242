import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { InvalidError } from "../base/assert.ts";
import { privateKeyFromSeed, publicKeyFromHex, publicKeyHex } from "../base/sign.ts";
import {
  commitmentOf,
  decodeDrawCommit,
  decodeDrawLogged,
  decodeDrawOpen,
  decodeDrawSecret,
  drawParties,
  encodeDrawCommit,
  encodeDrawLogged,
  encodeDrawOpen,
  encodeDrawSecret,
  epsilonOf,
  partyOfDraw,
  thresholdOf,
} from "./draw.ts";
import { thresholdMax } from "./leaf.ts";

const key = privateKeyFromSeed(Buffer.alloc(32, 1));
const publicKey = publicKeyFromHex(publicKeyHex(key));
const record = <T>(model: { [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<T> =>
  fc.record<T>(model, { noNullPrototype: true });
const b32 = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes));
const round = fc.bigInt({ min: 1n, max: 2n ** 64n - 1n });
const party = fc.constantFrom(...drawParties);
const gateway = fc.stringMatching(/^[a-z][a-z0-9-]{0,30}$/);
const blob = fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes));
const u32 = fc.integer({ min: 0, max: 2 ** 32 - 1 });

const open = record({ gateway, epoch: u32, round, commitment: b32, sealTo: b32 });
const commit = record({ gateway, round, party, answers: b32, commitment: b32 });
const secret = record({ gateway, round, party, sealed: blob });
const logged = record({ gateway, round, index: round, a: blob, b: blob });

test("draw messages: any of them -> the same, and the party is told before the signature is checked", () => {
  fc.assert(
    fc.property(open, (value) => {
      assert.deepEqual(decodeDrawOpen(encodeDrawOpen(value, key), publicKey), value);
    }),
  );
  fc.assert(
    fc.property(commit, secret, logged, (one, two, three) => {
      const [first, second] = [encodeDrawCommit(one, key), encodeDrawSecret(two, key)];
      assert.deepEqual(decodeDrawCommit(first, publicKey), one);
      assert.deepEqual(decodeDrawSecret(second, publicKey), two);
      assert.deepEqual([partyOfDraw(first), partyOfDraw(second)], [one.party, two.party]);
      assert.deepEqual(decodeDrawLogged(encodeDrawLogged(three)), three);
    }),
  );
});

test("draw messages: one bit changed, or signed for another use -> draw.signature", () => {
  const value = {
    ...{ gateway: "g1", round: 3n, party: "a" as const },
    ...{ answers: Buffer.alloc(32, 1), commitment: Buffer.alloc(32, 2) },
  };
  const bytes = encodeDrawCommit(value, key);
  for (let bit = 0; bit < 8 * bytes.length; bit += 7) {
    const changed = Buffer.from(bytes);
    changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    assert.throws(() => decodeDrawCommit(changed, publicKey), { code: "draw.signature" });
  }
  assert.throws(() => decodeDrawOpen(bytes, publicKey), { code: "draw.signature" });
  assert.throws(() => decodeDrawSecret(bytes, publicKey), { code: "draw.signature" });
});

test("draw messages: any bytes -> InvalidError draw.*", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      for (const read of [decodeDrawLogged, partyOfDraw]) {
        try {
          read(bytes);
        } catch (error) {
          assert.ok(error instanceof InvalidError);
          assert.match(error.code, /^(draw|utf8|text)\b/);
        }
      }
      assert.throws(() => decodeDrawCommit(bytes, publicKey), { code: "draw.signature" });
    }),
  );
});

test("draw: the same secret of different drawers or rounds -> different commitments", () => {
  const same = Buffer.alloc(32, 5);
  const all = (["g", "a", "b"] as const).flatMap((drawer) =>
    [1n, 2n].map((number) => commitmentOf(drawer, number, same).toString("hex")),
  );
  assert.equal(new Set(all).size, 6);
});

test("draw: thresholds -> 0 keeps none, 1 keeps all, and epsilon is never rounded down", () => {
  assert.deepEqual(
    [thresholdOf(0), thresholdOf(1), thresholdOf(0.25)],
    [0n, thresholdMax, 1n << 51n],
  );
  fc.assert(
    fc.property(fc.double({ min: 0, max: 1, noNaN: true }), (epsilon) => {
      const back = epsilonOf(thresholdOf(epsilon));
      assert.ok(back >= epsilon && back - epsilon <= 2 ** -53);
    }),
  );
});
