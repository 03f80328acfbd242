import assert from "node:assert/strict";
import { test } from "node:test";
import { InvalidError } from "./assert.ts";
import { privateKeyFromSeed, publicKeyFromHex, publicKeyHex, sign, verify } from "./sign.ts";

/** RFC 8032 section 7.1, test 2. */
const seed = Buffer.from("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb", "hex");
const publicHex = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
const signature = Buffer.from(
  "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da" +
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
  "hex",
);
const message = Buffer.of(0x72);

test("sign: RFC 8032 test 2 -> the published key and signature, and it verifies", () => {
  const key = privateKeyFromSeed(seed);
  assert.equal(publicKeyHex(key), publicHex);
  assert.deepEqual(sign(key, message), signature);
  assert.equal(publicKeyHex(publicKeyFromHex(publicHex)), publicHex);
  assert.equal(verify(publicKeyFromHex(publicHex), message, signature), true);
});

test("sign: another message, a signature of another length, S plus the group order -> does not verify", () => {
  const key = publicKeyFromHex(publicHex);
  assert.equal(verify(key, Buffer.of(0x73), signature), false);
  assert.equal(verify(key, message, signature.subarray(0, 63)), false);
  assert.equal(verify(key, message, Buffer.concat([signature, Buffer.alloc(1)])), false);
  const order = 2n ** 252n + 27742317777372353535851937790883648493n;
  const s = BigInt(`0x${Buffer.from(signature.subarray(32)).reverse().toString("hex")}`) + order;
  const high = Buffer.from(s.toString(16).padStart(64, "0"), "hex").reverse();
  assert.equal(verify(key, message, Buffer.concat([signature.subarray(0, 32), high])), false);
});

test("sign: a seed or a key of another length, a key that is no hex -> refused", () => {
  for (const bytes of [0, 31, 33]) {
    assert.throws(() => privateKeyFromSeed(Buffer.alloc(bytes)), { code: "sign.seed" });
  }
  assert.throws(() => publicKeyFromHex(publicHex.slice(2)), InvalidError);
  assert.throws(() => publicKeyFromHex(`${publicHex.slice(2)}zz`), InvalidError);
});
