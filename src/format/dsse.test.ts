import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { InvalidError } from "../base/assert.ts";
import { privateKeyFromSeed, publicKeyHex } from "../base/sign.ts";
import { encodeEnvelope, parseEnvelope, preAuthEncoding, sealEnvelope, signersOf } from "./dsse.ts";

const type = "http://example.com/HelloWorld";
const keys = [1, 2, 3].map((fill) => privateKeyFromSeed(Buffer.alloc(32, fill)));
const names = keys.map(publicKeyHex);

test("dsse: the protocol's own example -> its pre-authentication encoding", () => {
  // secure-systems-lab/dsse, protocol.md v1.0.2, "Test Vectors".
  const encoded = preAuthEncoding(type, Buffer.from("hello world"));
  assert.equal(encoded.toString(), "DSSEv1 29 http://example.com/HelloWorld 11 hello world");
});

test("dsse: lengths count bytes, not characters", () => {
  assert.equal(
    preAuthEncoding("\u00e9", Buffer.from("\u00e9\u00e9")).toString(),
    "DSSEv1 2 \u00e9 4 \u00e9\u00e9",
  );
});

test("dsse: encode then parse -> the same envelope, the same signers", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.subarray(keys), (payload, signing) => {
      const sealed = sealEnvelope(type, payload, signing);
      const parsed = parseEnvelope(Buffer.from(encodeEnvelope(sealed)));
      assert.deepEqual(parsed, sealed);
      assert.deepEqual(signersOf(parsed, type, names), new Set(signing.map(publicKeyHex)));
    }),
    { numRuns: 30 },
  );
});

test("dsse: a changed payload, type or signature -> no signer", () => {
  const sealed = sealEnvelope(type, Buffer.from("pay 1"), keys.slice(0, 1));
  const changed = { ...sealed, payload: Buffer.from("pay 9") };
  assert.equal(signersOf(changed, type, names).size, 0);
  assert.throws(() => signersOf(sealed, "other/type", names), { code: "dsse.type" });
  assert.equal(signersOf({ ...sealed, payloadType: "other/type" }, "other/type", names).size, 0);
});

test("dsse: a key id -> decides nothing", () => {
  const sealed = sealEnvelope(type, Buffer.from("x"), keys.slice(0, 1));
  const [signature] = sealed.signatures;
  assert.ok(signature !== undefined);
  const renamed = { ...sealed, signatures: [{ ...signature, keyid: names[1] ?? "" }] };
  assert.deepEqual(signersOf(renamed, type, names), new Set([names[0]]));
});

test("dsse: one key that signs twice or is trusted twice -> one signer", () => {
  const [first] = keys;
  assert.ok(first !== undefined);
  const sealed = sealEnvelope(type, Buffer.from("x"), [first, first]);
  assert.equal(signersOf(sealed, type, [...names, ...names]).size, 1);
});

test("dsse: wrong shapes -> InvalidError", () => {
  const good = { payloadType: type, payload: "eA==", signatures: [] };
  const bad: unknown[] = [
    ...[[], null, 1, {}, { ...good, extra: 1 }, { ...good, payloadType: 1 }],
    ...[
      { ...good, payload: "eA" },
      { ...good, payload: "eB==" },
      { ...good, payload: "e A==" },
    ],
    ...[
      { ...good, signatures: {} },
      { ...good, signatures: [{ keyid: "a" }] },
      { ...good, signatures: [null] },
    ],
    { ...good, signatures: Array.from({ length: 33 }, () => ({ keyid: "", sig: "" })) },
  ];
  for (const value of bad) {
    const bytes = Buffer.from(JSON.stringify(value));
    assert.throws(() => parseEnvelope(bytes), InvalidError, JSON.stringify(value));
  }
});

test("dsse: any bytes -> an envelope or InvalidError", () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.uint8Array(),
        fc.json().map((text) => Buffer.from(text)),
      ),
      (bytes) => {
        try {
          parseEnvelope(bytes);
        } catch (error) {
          assert.ok(error instanceof InvalidError, String(error));
        }
      },
    ),
  );
});
