import assert from "node:assert/strict";
import { createHash, verify as nodeVerify } from "node:crypto";
import { test } from "node:test";
import fc from "fast-check";
import { InvalidError } from "../base/assert.ts";
import { limits } from "../base/limits.ts";
import { privateKeyFromSeed, publicKeyFromHex, publicKeyHex } from "../base/sign.ts";
import { bootKeyMax, openBootKey, signBootKey, type BootKey } from "./boot-key.ts";

const device = privateKeyFromSeed(Buffer.alloc(32, 0xd1));
const devicePublic = publicKeyFromHex(publicKeyHex(device));
const other = publicKeyFromHex(publicKeyHex(privateKeyFromSeed(Buffer.alloc(32, 0xd2))));

const u32 = fc.integer({ min: 0, max: 0xffffffff });
const bytes32 = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes));
const name = fc
  .string({ unit: "grapheme", maxLength: limits.name })
  .filter((text) => text.isWellFormed() && Buffer.byteLength(text) <= limits.name);
const anyKey: fc.Arbitrary<BootKey> = fc.record({
  ...{ gateway: name, epoch: u32, boot: u32, entryDigest: bytes32, publicKey: bytes32 },
});

test("boot key: the certificate of spec/boot-key.md -> these bytes, and its signature is plain Ed25519", () => {
  const key = {
    ...{ gateway: "g1", epoch: 7, boot: 3 },
    ...{ entryDigest: Buffer.alloc(32, 0xee), publicKey: Buffer.alloc(32, 0x55) },
  };
  const certificate = signBootKey(key, device);
  const body = Buffer.concat([
    Buffer.from("7765697220626f6f74206b65792f31" + "00000002" + "6731", "hex"),
    Buffer.from("00000007" + "00000003", "hex"),
    Buffer.alloc(32, 0xee),
    Buffer.alloc(32, 0x55),
  ]);
  assert.equal(certificate.subarray(0, body.length).toString("hex"), body.toString("hex"));
  assert.ok(nodeVerify(null, body, devicePublic, certificate.subarray(body.length)));
  // Ed25519 is deterministic: the whole example is fixed.
  assert.equal(
    createHash("sha256").update(certificate).digest("hex"),
    "b4fdb66e7357d5fd272f863b7e8dced3d7ff4b4b196ee997d64e90b48d759cd2",
  );
});

test("boot key: any certificate -> what was certified, and no longer than the limit", () => {
  fc.assert(
    fc.property(anyKey, (key) => {
      const certificate = signBootKey(key, device);
      assert.deepEqual(openBootKey(certificate, devicePublic), { ...key });
      assert.ok(certificate.length <= bootKeyMax);
    }),
    { numRuns: 50 },
  );
});

test("boot key: any one byte changed, cut off or added -> refused", () => {
  fc.assert(
    fc.property(anyKey, fc.nat(), fc.integer({ min: 1, max: 255 }), (key, where, mask) => {
      const certificate = signBootKey(key, device);
      const changed = Buffer.from(certificate);
      const at = where % changed.length;
      changed[at] = (changed[at] ?? 0) ^ mask;
      assert.throws(() => openBootKey(changed, devicePublic), InvalidError);
      assert.throws(() => openBootKey(certificate.subarray(0, at), devicePublic), InvalidError);
      const longer = Buffer.concat([certificate, Buffer.of(mask)]);
      assert.throws(() => openBootKey(longer, devicePublic), InvalidError);
    }),
    { numRuns: 60 },
  );
});

test("boot key: any bytes -> refused, by no other error than InvalidError", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      assert.throws(() => openBootKey(bytes, devicePublic), InvalidError);
    }),
  );
});

test("boot key: another device's signature -> refused by name", () => {
  const key = {
    ...{ gateway: "g1", epoch: 1, boot: 1 },
    ...{ entryDigest: Buffer.alloc(32), publicKey: Buffer.alloc(32, 9) },
  };
  assert.throws(
    () => openBootKey(signBootKey(key, device), other),
    (error: unknown) => error instanceof InvalidError && error.code === "boot-key.signature",
  );
});
