import assert from "node:assert/strict";
import { createSecretKey } from "node:crypto";
import { test } from "node:test";
import fc from "fast-check";
import { hmacOf, hmacSha256, secretKey } from "./hash.ts";

test("hmacOf: any key and messages of its length -> the HMAC of node:crypto", () => {
  const bytes32 = fc.uint8Array({ minLength: 32, maxLength: 32 });
  const message = fc.uint8Array({ minLength: 8, maxLength: 8 });
  fc.assert(
    fc.property(bytes32, fc.array(message, { maxLength: 5 }), (key, messages) => {
      const secret = secretKey(key);
      const hmac = hmacOf(secret, 8);
      for (const m of messages) assert.deepEqual(hmac(m), hmacSha256(secret, m));
    }),
  );
});

test("hmacOf: RFC 4231 test case 2 -> the published value", () => {
  const hmac = hmacOf(createSecretKey(Buffer.from("Jefe")), 28);
  assert.equal(
    hmac(Buffer.from("what do ya want for nothing?")).toString("hex"),
    "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
  );
});

test("hmacOf: a message of another length -> a bug, said so", () => {
  assert.throws(() => hmacOf(secretKey(Buffer.alloc(32)), 8)(Buffer.alloc(9)));
});
