import assert from "node:assert/strict";
import { createHmac, createPublicKey } from "node:crypto";
import { test } from "node:test";
import { secretKey } from "../base/hash.ts";
import { privateKeyFromSeed, publicKeyHex, sign, verify } from "../base/sign.ts";
import { deviceKeyOf, logKeyOf } from "./identity.ts";

const root = Buffer.from("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f", "hex");

/** HKDF of RFC 5869 for one block of output, written out: no salt is 32 zero bytes. */
function hkdfOneBlock(ikm: Buffer, info: string): Buffer {
  const prk = createHmac("sha256", Buffer.alloc(32)).update(ikm).digest();
  return createHmac("sha256", prk).update(info).update(Buffer.of(1)).digest();
}

test("identity: both keys -> the Ed25519 keys whose seeds RFC 5869 gives for their names", () => {
  for (const [keyOf, info] of [
    [deviceKeyOf, "weir device key/1"],
    [logKeyOf, "weir log key/1"],
  ] as const) {
    const expected = privateKeyFromSeed(hkdfOneBlock(root, info));
    assert.equal(publicKeyHex(keyOf(secretKey(root))), publicKeyHex(expected), info);
  }
});

test("identity: the same root key -> the same keys; one bit of it, or the other use -> another key", () => {
  const changed = Buffer.from(root);
  changed[31] = (changed[31] ?? 0) ^ 1;
  const keys = [root, changed].flatMap((bytes) => [
    publicKeyHex(deviceKeyOf(secretKey(bytes))),
    publicKeyHex(logKeyOf(secretKey(bytes))),
  ]);
  assert.equal(new Set(keys).size, 4);
  assert.equal(publicKeyHex(deviceKeyOf(secretKey(root))), keys[0]);
});

test("identity: what the device key signed -> the log key does not verify it", () => {
  const device = deviceKeyOf(secretKey(root));
  const signature = sign(device, Buffer.from("m"));
  assert.ok(verify(createPublicKey(device), Buffer.from("m"), signature));
  assert.ok(!verify(createPublicKey(logKeyOf(secretKey(root))), Buffer.from("m"), signature));
});
