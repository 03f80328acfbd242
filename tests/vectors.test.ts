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
import { deriveKey } from "../src/base/hash.ts";
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
