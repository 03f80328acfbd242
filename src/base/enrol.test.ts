import assert from "node:assert/strict";
import { createHash, hash } from "node:crypto";
import { test } from "node:test";
import { ed25519 } from "@noble/curves/ed25519.js";
import fc from "fast-check";
import { InvalidError } from "./assert.ts";
import { enrolledKey, enrolmentFault, keyFault } from "./enrol.ts";
import { privateKeyFromSeed, publicKeyFromHex, publicKeyHex, sign, verify } from "./sign.ts";

/** Points whose order divides 8, canonical encodings and the others: RFC 8032's own and CCTV's. */
const smallOrder = [
  "0100000000000000000000000000000000000000000000000000000000000000",
  "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "0000000000000000000000000000000000000000000000000000000000000000",
  "0000000000000000000000000000000000000000000000000000000000000080",
  "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
  "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
  "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
  "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
];
const notCanonical = [
  "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "0100000000000000000000000000000000000000000000000000000000000080",
  "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
  "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
];
const bytes = (hex: string): Buffer => Buffer.from(hex, "hex");

/** The same question, asked of another implementation. */
function nobleAccepts(raw: Uint8Array): boolean {
  try {
    const point = ed25519.Point.fromBytes(raw, false);
    return !point.isSmallOrder() && point.isTorsionFree();
  } catch {
    return false;
  }
}

test("enrolment: keys of small order, and encodings that are not canonical -> refused", () => {
  for (const hex of smallOrder) assert.match(enrolmentFault(bytes(hex)) ?? "", /small/, hex);
  for (const hex of notCanonical) assert.match(enrolmentFault(bytes(hex)) ?? "", /canonical/, hex);
  assert.match(enrolmentFault(Buffer.alloc(31)) ?? "", /32 bytes/);
});

test("enrolment: why it is needed -> a signature of nobody holds for each message, for some verifiers", () => {
  const nobody = bytes(smallOrder[0] ?? "");
  // A is the identity, so S B = R + k A holds for S = 1 and R = B, whatever the message.
  const forged = Buffer.concat([ed25519.Point.BASE.toBytes(), Buffer.alloc(32)]);
  forged[32] = 1;
  for (const text of ["one", "another"]) {
    const message = Buffer.from(text);
    assert.ok(ed25519.verify(forged, message, nobody, { zip215: true }));
    // The OpenSSL of this Node (3.5) refuses such keys itself; older ones do not (3.0: research notes).
    assert.equal(verify(publicKeyFromHex(smallOrder[0] ?? ""), message, forged), false);
  }
  assert.notEqual(enrolmentFault(nobody), null);
});

test("enrolment: why prime order is needed -> two verifiers disagree on signatures under a mixed key", () => {
  const secret = 7n;
  const nonce = 11n;
  const order = ed25519.Point.Fn.ORDER;
  const mixed = ed25519.Point.BASE.multiply(secret).add(
    ed25519.Point.fromHex(smallOrder[4] ?? "", true),
  );
  const key = mixed.toBytes();
  const r = ed25519.Point.BASE.multiply(nonce).toBytes();
  const disagreed = Array.from({ length: 16 }, (_, i) => {
    const message = Buffer.from([i]);
    const hash = createHash("sha512").update(r).update(key).update(message).digest().reverse();
    const k = BigInt(`0x${hash.toString("hex")}`) % order;
    const s = (nonce + k * secret) % order;
    const tail = Buffer.from(s.toString(16).padStart(64, "0"), "hex").reverse();
    const signature = Buffer.concat([r, tail]);
    const here = verify(publicKeyFromHex(Buffer.from(key).toString("hex")), message, signature);
    return here !== ed25519.verify(signature, message, key, { zip215: true });
  });
  assert.ok(disagreed.includes(true));
});

test("enrolment: a good key plus a point of small order -> refused, as not of prime order", () => {
  const good = ed25519.Point.BASE.multiply(7n);
  assert.equal(enrolmentFault(good.toBytes()), null);
  for (const hex of smallOrder.slice(1)) {
    const mixed = good.add(ed25519.Point.fromHex(hex, true));
    assert.match(enrolmentFault(mixed.toBytes()) ?? "", /prime order/);
  }
});

test("enrolment: any 32 bytes, any generated key -> as noble says", () => {
  const near = fc.constantFrom(...smallOrder, ...notCanonical).map(bytes);
  const flipped = fc.tuple(near, fc.nat(255)).map(([raw, bit]) => {
    const copy = Buffer.from(raw);
    copy[bit >> 3] = (copy[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    return copy;
  });
  const any = fc.oneof(fc.uint8Array({ minLength: 32, maxLength: 32 }), near, flipped);
  fc.assert(
    fc.property(any, (raw) => {
      assert.equal(
        enrolmentFault(raw) === null,
        nobleAccepts(raw),
        Buffer.from(raw).toString("hex"),
      );
    }),
    { numRuns: 60 },
  );
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (seed) => {
      assert.equal(enrolmentFault(bytes(publicKeyHex(privateKeyFromSeed(seed)))), null);
    }),
    { numRuns: 20 },
  );
});

test("enrolment: a key in hex -> a verifying key; what may not be one -> refused by name, each time", () => {
  const hex = publicKeyHex(privateKeyFromSeed(Buffer.alloc(32, 3)));
  assert.equal(publicKeyHex(enrolledKey(hex)), hex);
  assert.equal(keyFault(hex), null);
  for (const bad of [...smallOrder, ...notCanonical]) {
    const named = { code: "enrol.key", message: new RegExp(bad) };
    assert.throws(() => enrolledKey(bad), named);
    assert.throws(() => enrolledKey(bad), named);
  }
  for (const bad of ["", "00", hex.toUpperCase(), `${hex}00`, `0x${hex.slice(2)}`]) {
    assert.match(keyFault(bad) ?? "", /64 lower-case hex digits/);
    assert.throws(() => enrolledKey(bad), InvalidError);
  }
});

const { Point } = ed25519;
const order = Point.Fn.ORDER;
/** A point of order 8. */
const torsion = Point.fromHex(smallOrder[4] ?? "");

/** A signature whose R has a component of small order: only cofactored verifiers accept it. */
function signWithTorsion(bytes: Uint8Array, message: Uint8Array, times: number): Uint8Array {
  const { scalar, point } = ed25519.utils.getExtendedPublicKey(bytes);
  const nonce = 123456789n;
  const r = Point.BASE.multiply(nonce).add(
    times === 0 ? Point.ZERO : torsion.multiply(BigInt(times)),
  );
  const digest = hash("sha512", Buffer.concat([r.toBytes(), point.toBytes(), message]), "buffer");
  const h = BigInt(`0x${Buffer.from(digest).reverse().toString("hex")}`) % order;
  const s = (nonce + h * scalar) % order;
  const out = Buffer.from(s.toString(16).padStart(64, "0"), "hex").reverse();
  return Buffer.concat([r.toBytes(), out]);
}

test("enrolment: under an enrolled key what we accept noble accepts; a crafted R splits verifiers and we refuse", () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 32, maxLength: 32 }),
      fc.uint8Array({ maxLength: 40 }),
      fc.integer({ min: 1, max: 7 }),
      (a, m, i) => {
        const hex = publicKeyHex(privateKeyFromSeed(a));
        const key = enrolledKey(hex);
        const good = sign(privateKeyFromSeed(a), m);
        assert.ok(verify(key, m, good));
        assert.ok(ed25519.verify(good, m, Buffer.from(hex, "hex"), { zip215: false }));
        assert.ok(verify(key, m, signWithTorsion(a, m, 0)));
        const crafted = signWithTorsion(a, m, i);
        assert.ok(ed25519.verify(crafted, m, Buffer.from(hex, "hex"), { zip215: false }));
        assert.ok(!verify(key, m, crafted));
      },
    ),
    { numRuns: 10 },
  );
});

test("enrolment: S not below the group order -> refused by both", () => {
  const key = privateKeyFromSeed(Buffer.alloc(32, 7));
  const message = Buffer.from("m");
  const good = sign(key, message);
  const s = BigInt(`0x${Buffer.from(good.subarray(32)).reverse().toString("hex")}`) + order;
  const high = Buffer.from(s.toString(16).padStart(64, "0"), "hex").reverse();
  const forged = Buffer.concat([good.subarray(0, 32), high]);
  assert.ok(!verify(enrolledKey(publicKeyHex(key)), message, forged));
  assert.ok(
    !ed25519.verify(forged, message, Buffer.from(publicKeyHex(key), "hex"), { zip215: false }),
  );
});

test("sign: what is signed here -> noble verifies; what noble signs -> verified here", () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 32, maxLength: 32 }),
      fc.uint8Array(),
      (seed, message) => {
        const key = privateKeyFromSeed(seed);
        const signature = sign(key, message);
        assert.deepEqual(Buffer.from(ed25519.sign(message, seed)), signature);
        assert.ok(ed25519.verify(signature, message, bytes(publicKeyHex(key)), { zip215: false }));
      },
    ),
    { numRuns: 10 },
  );
});
