/**
 * Public test vectors (Wycheproof), where the folder `../shared/vectors` stands beside the checkout.
 * They are never part of the project; where they are absent these tests skip and say so.
 */
import assert from "node:assert/strict";
import { createSecretKey } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { InvalidError } from "../src/base/assert.ts";
import { deriveKey, hmacSha256 } from "../src/base/hash.ts";
import { enrolmentFault } from "../src/base/enrol.ts";
import { publicKeyFromHex, verify } from "../src/base/sign.ts";

const folder = join(import.meta.dirname, "../../shared/vectors/wycheproof");
const skip = existsSync(folder)
  ? false
  : "SKIPPED: ../shared/vectors/wycheproof is absent, nothing was compared";

function load(name: string): readonly unknown[] {
  const file = JSON.parse(readFileSync(join(folder, name), "utf8")) as { testGroups: unknown[] };
  return file.testGroups;
}

const bytes = (hex: string): Buffer => Buffer.from(hex, "hex");

test(
  "vectors: Ed25519, every Wycheproof case -> verified exactly when it is valid",
  { skip },
  () => {
    interface Group {
      readonly publicKey: { readonly pk: string };
      readonly tests: readonly { tcId: number; msg: string; sig: string; result: string }[];
    }
    let count = 0;
    for (const { publicKey, tests } of load("ed25519_test.json") as readonly Group[]) {
      const key = publicKeyFromHex(publicKey.pk);
      assert.equal(enrolmentFault(bytes(publicKey.pk)), null);
      for (const { tcId, msg, sig, result } of tests) {
        count++;
        assert.equal(verify(key, bytes(msg), bytes(sig)), result === "valid", `case ${tcId}`);
      }
    }
    assert.ok(count > 100, `${count} cases`);
  },
);

test("vectors: HKDF-SHA256, the cases of our output size -> the same key", { skip }, () => {
  interface Group {
    readonly tests: readonly {
      tcId: number;
      ikm: string;
      salt: string;
      info: string;
      size: number;
      okm: string;
      result: string;
    }[];
  }
  let count = 0;
  for (const { tests } of load("hkdf_sha256_test.json") as readonly Group[]) {
    for (const { tcId, ikm, salt, info, size, okm, result } of tests) {
      // `info` is text in our interface: only vectors whose info is ASCII can be asked.
      const text = bytes(info).toString("latin1");
      if (result !== "valid" || size < 32 || !/^[\x20-\x7e]*$/.test(text)) continue;
      if (ikm === "") continue;
      count++;
      const key = deriveKey(createSecretKey(bytes(ikm)), bytes(salt), text);
      // HKDF's output is a stream: a longer vector begins with our 32 bytes.
      assert.equal(key.export().toString("hex"), okm.slice(0, 64), `case ${tcId}`);
    }
  }
  assert.ok(count > 10, `${count} cases`);
});

test("vectors: a key that is no point of the curve -> refused or verifies nothing", () => {
  const message = Buffer.from("m");
  try {
    const key = publicKeyFromHex("ff".repeat(32));
    assert.equal(verify(key, message, Buffer.alloc(64)), false);
  } catch (error) {
    assert.ok(error instanceof InvalidError);
  }
});

/** RFC 4231 sections 4.2 to 4.8, but for 4.6, whose output is cut. */
const hmacCases: readonly (readonly [key: string, data: string, mac: string])[] = [
  [
    "0b".repeat(20),
    Buffer.from("Hi There").toString("hex"),
    "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
  ],
  [
    Buffer.from("Jefe").toString("hex"),
    Buffer.from("what do ya want for nothing?").toString("hex"),
    "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
  ],
  [
    "aa".repeat(20),
    "dd".repeat(50),
    "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
  ],
  [
    "0102030405060708090a0b0c0d0e0f10111213141516171819",
    "cd".repeat(50),
    "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
  ],
  [
    "aa".repeat(131),
    Buffer.from("Test Using Larger Than Block-Size Key - Hash Key First").toString("hex"),
    "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
  ],
  [
    "aa".repeat(131),
    Buffer.from(
      "This is a test using a larger than block-size key and a larger than block-size data. " +
        "The key needs to be hashed before being used by the HMAC algorithm.",
    ).toString("hex"),
    "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
  ],
];

test("vectors: HMAC-SHA256, the cases of RFC 4231 -> the published values", () => {
  for (const [key, data, mac] of hmacCases) {
    assert.equal(hmacSha256(createSecretKey(bytes(key)), bytes(data)).toString("hex"), mac);
  }
});
