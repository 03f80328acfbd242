import assert from "node:assert/strict";
import { createDecipheriv, createSecretKey } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { InvalidError } from "./assert.ts";
import { gcmOpen, gcmOpenInPlace, gcmSeal, gcmSealInPlace, type GcmName } from "./gcm.ts";

const hex = (text: string): Buffer => Buffer.from(text, "hex");
const name = "aes-256-gcm";
const key = createSecretKey(Buffer.alloc(32, 7));
const nonce = Buffer.alloc(12, 9);

const badTag = (error: unknown): boolean =>
  error instanceof InvalidError && error.code === "gcm.tag";

test("gcm: any plaintext, longer than a piece too -> sealed, and opened again in its own memory", () => {
  const sizes = fc.constantFrom(0, 1, 15, 16, 17, 16_383, 16_384, 16_385, 200_001);
  fc.assert(
    fc.property(sizes, fc.uint8Array({ maxLength: 30 }), fc.nat(255), (size, aad, fill) => {
      const plaintext = Buffer.alloc(size, fill);
      const sealed = gcmSeal(name, key, nonce, aad, plaintext);
      assert.equal(sealed.length, size + 16);
      assert.ok(gcmOpen(name, key, nonce, aad, sealed).equals(plaintext));
      const memory = Buffer.concat([plaintext, Buffer.alloc(16)]);
      gcmSealInPlace(name, key, nonce, aad, memory);
      assert.ok(memory.equals(sealed));
      const opened = gcmOpenInPlace(name, key, nonce, aad, memory);
      assert.ok(opened.equals(plaintext));
      assert.equal(opened.buffer, memory.buffer);
    }),
    { numRuns: 60 },
  );
});

test("gcm: a wrong tag -> refused, and nothing of the plaintext stays in the memory", () => {
  const plaintext = Buffer.alloc(150_000, 0x41);
  const sealed = gcmSeal(name, key, nonce, Buffer.alloc(0), plaintext);
  sealed[sealed.length - 1] = (sealed[sealed.length - 1] ?? 0) ^ 1;
  assert.throws(() => gcmOpenInPlace(name, key, nonce, Buffer.alloc(0), sealed), badTag);
  assert.ok(
    sealed.every((byte) => byte === 0),
    "the memory is zeros",
  );
});

test("gcm: fewer bytes than a tag has -> refused, in memory of its own or not", () => {
  const key = createSecretKey(Buffer.alloc(32, 1));
  for (const bytes of [0, 15]) {
    const short = (): Buffer => Buffer.alloc(bytes);
    for (const open of [gcmOpen, gcmOpenInPlace]) {
      assert.throws(() => open("aes-256-gcm", key, Buffer.alloc(12), short(), short()), {
        code: "gcm.tag",
      });
    }
  }
});

test("gcm: a tag of 4 bytes, which node:crypto alone would take -> refused", () => {
  const sealed = gcmSeal(name, key, nonce, Buffer.alloc(0), Buffer.from("text"));
  const short = sealed.subarray(0, 4 + 4);
  // Without our wrapper the short tag is enough: the trap is there.
  const bare = createDecipheriv(name, key, nonce);
  bare.setAuthTag(short.subarray(4));
  assert.equal(Buffer.concat([bare.update(short.subarray(0, 4)), bare.final()]).toString(), "text");
  assert.throws(() => gcmOpen(name, key, nonce, Buffer.alloc(0), short), badTag);
});

const folder = join(import.meta.dirname, "../../../shared/vectors/wycheproof");
const skip = existsSync(folder)
  ? false
  : "SKIPPED: ../shared/vectors/wycheproof is absent, nothing was compared";

test("gcm: every Wycheproof case of our sizes -> opened exactly when it is valid", { skip }, () => {
  interface Group {
    readonly ivSize: number;
    readonly keySize: number;
    readonly tagSize: number;
    readonly tests: readonly {
      tcId: number;
      key: string;
      iv: string;
      aad: string;
      msg: string;
      ct: string;
      tag: string;
      result: string;
    }[];
  }
  const text = readFileSync(join(folder, "aes_gcm_test.json"), "utf8");
  const { testGroups } = JSON.parse(text) as { testGroups: Group[] };
  let [valid, invalid] = [0, 0];
  for (const { ivSize, keySize, tagSize, tests } of testGroups) {
    if (ivSize !== 96 || tagSize !== 128 || (keySize !== 128 && keySize !== 256)) continue;
    const cipher: GcmName = `aes-${keySize}-gcm`;
    for (const item of tests) {
      const secret = createSecretKey(hex(item.key));
      const sealed = hex(item.ct + item.tag);
      const open = (): Buffer => gcmOpen(cipher, secret, hex(item.iv), hex(item.aad), sealed);
      if (item.result === "valid") {
        valid++;
        assert.equal(open().toString("hex"), item.msg, `case ${item.tcId}`);
        const again = gcmSeal(cipher, secret, hex(item.iv), hex(item.aad), hex(item.msg));
        assert.ok(again.equals(sealed), `case ${item.tcId}`);
      } else {
        invalid++;
        assert.throws(open, badTag, `case ${item.tcId}`);
      }
    }
  }
  assert.ok(valid > 50 && invalid > 50, `${valid} valid, ${invalid} invalid`);
});
