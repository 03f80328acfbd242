import assert from "node:assert/strict";
import { createHash, createHmac, type webcrypto } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { Aes256Gcm, CipherSuite, DhkemX25519HkdfSha256, HkdfSha256 } from "@hpke/core";
import fc from "fast-check";
import { systemRandom } from "../adapter/random.ts";
import { InvalidError } from "./assert.ts";
import type { GcmName } from "./gcm.ts";
import {
  generateKeyPair,
  hpkeOpen,
  hpkeReceiver,
  hpkeSeal,
  hpkeSender,
  keyPairOf,
  x25519,
} from "./hpke.ts";
import type { RandomSource } from "./random.ts";

const hex = (text: string): Buffer => Buffer.from(text, "hex");
const none = Buffer.alloc(0);

/** A source that gives these bytes: the ephemeral key of a vector. */
const fixed = (bytes: Uint8Array): RandomSource => ({
  fill: (target) => {
    target.set(bytes);
  },
});

interface Accumulated {
  readonly aead: GcmName;
  readonly info: string;
  readonly ikmE: string;
  readonly skRm: string;
  readonly pkRm: string;
  readonly enc: string;
  readonly encryptions: string;
  readonly exports: string;
}

interface Vectors {
  readonly rfc: {
    readonly aead: GcmName;
    readonly info: string;
    readonly skEm: string;
    readonly skRm: string;
    readonly pkRm: string;
    readonly enc: string;
    readonly plaintext: string;
    readonly encryptions: Readonly<Record<string, string>>;
  };
  readonly accumulated: readonly Accumulated[];
}

const vectors = JSON.parse(
  readFileSync(join(import.meta.dirname, "../../spec/vectors/hpke.json"), "utf8"),
) as Vectors;

const refused =
  (code: string) =>
  (error: unknown): boolean =>
    error instanceof InvalidError && error.code === code;

test("hpke: RFC 9180 A.1.1 -> its encapsulated key, its ciphertexts, and back", () => {
  const { rfc } = vectors;
  const pair = keyPairOf(hex(rfc.skRm));
  assert.equal(pair.publicKey.toString("hex"), rfc.pkRm);
  const sender = hpkeSender(pair.publicKey, hex(rfc.info), fixed(hex(rfc.skEm)), rfc.aead);
  assert.equal(sender.enc.toString("hex"), rfc.enc);
  const receiver = hpkeReceiver(sender.enc, pair, hex(rfc.info), rfc.aead);
  for (let i = 0; i <= 256; i++) {
    const aad = Buffer.from(`Count-${i}`);
    const sealed = sender.seal(hex(rfc.plaintext), aad);
    const want = rfc.encryptions[String(i)];
    if (want !== undefined) assert.equal(sealed.toString("hex"), want, `message ${i}`);
    assert.equal(receiver.open(sealed, aad).toString("hex"), rfc.plaintext);
  }
});

/** DeriveKeyPair of RFC 9180 section 7.1.3, written here alone: nothing in Weir derives keys that way. */
function derivedSecret(ikm: Buffer): Buffer {
  const hmac = (key: Buffer, ...parts: (Buffer | string)[]): Buffer => {
    const mac = createHmac("sha256", key);
    for (const part of parts) mac.update(part);
    return mac.digest();
  };
  const suite = hex("4b454d0020");
  const prk = hmac(none, "HPKE-v1", suite, "dkp_prk", ikm);
  return hmac(prk, hex("0020"), "HPKE-v1", suite, "sk", hex("01"));
}

/** What SHAKE128 of nothing gives, piece by piece: a length byte, then so many bytes. */
function drawer(): () => Buffer {
  const stream = createHash("shake128", { outputLength: 1 << 20 }).digest();
  let at = 0;
  return () => {
    const length = stream[at] ?? 0;
    const piece = stream.subarray(at + 1, at + 1 + length);
    at += 1 + length;
    return piece;
  };
}

for (const vector of vectors.accumulated) {
  test(`hpke: ${vector.aead}, 1000 messages and 1000 exports -> the accumulated values of RFC 9180's vectors`, () => {
    const pair = keyPairOf(hex(vector.skRm));
    assert.equal(pair.publicKey.toString("hex"), vector.pkRm);
    const ephemeral = fixed(derivedSecret(hex(vector.ikmE)));
    const sender = hpkeSender(pair.publicKey, hex(vector.info), ephemeral, vector.aead);
    assert.equal(sender.enc.toString("hex"), vector.enc);
    const receiver = hpkeReceiver(sender.enc, pair, hex(vector.info), vector.aead);
    const messages = createHash("shake128", { outputLength: 16 });
    const draw = drawer();
    for (let i = 0; i < 1000; i++) {
      const aad = draw();
      const plaintext = draw();
      const sealed = sender.seal(plaintext, aad);
      messages.update(sealed);
      assert.ok(receiver.open(sealed, aad).equals(plaintext));
    }
    assert.equal(messages.digest("hex"), vector.encryptions);
    const exports = createHash("shake128", { outputLength: 16 });
    const drawContext = drawer();
    for (let length = 0; length < 1000; length++) {
      const context = drawContext();
      const value = sender.export(context, length);
      exports.update(value);
      assert.ok(receiver.export(context, length).equals(value));
    }
    assert.equal(exports.digest("hex"), vector.exports);
  });
}

const suite = new CipherSuite({
  kem: new DhkemX25519HkdfSha256(),
  kdf: new HkdfSha256(),
  aead: new Aes256Gcm(),
});

const buffer = (bytes: Uint8Array): ArrayBuffer => Uint8Array.from(bytes).buffer;

/** Key pairs in the form that the oracle takes. */
async function oraclePair(secret: Uint8Array): Promise<webcrypto.CryptoKeyPair> {
  const read = (bytes: Uint8Array, isPublic: boolean): Promise<webcrypto.CryptoKey> =>
    suite.kem.importKey("raw", buffer(bytes), isPublic) as Promise<webcrypto.CryptoKey>;
  const privateKey = await read(secret, false);
  const publicKey = await read(keyPairOf(secret).publicKey, true);
  return { privateKey, publicKey };
}

const anyCase = fc.record({
  secret: fc.uint8Array({ minLength: 32, maxLength: 32 }),
  info: fc.uint8Array({ maxLength: 300 }),
  messages: fc.array(
    fc.record({ aad: fc.uint8Array({ maxLength: 40 }), text: fc.uint8Array({ maxLength: 300 }) }),
    { minLength: 1, maxLength: 4 },
  ),
  context: fc.uint8Array({ maxLength: 40 }),
  length: fc.integer({ min: 1, max: 100 }),
});

test("hpke: what we seal and export, any input -> an independent implementation opens it and exports the same", async () => {
  await fc.assert(
    fc.asyncProperty(anyCase, async ({ secret, info, messages, context, length }) => {
      const sender = hpkeSender(keyPairOf(secret).publicKey, info, systemRandom);
      const oracle = await suite.createRecipientContext({
        recipientKey: await oraclePair(secret),
        enc: buffer(sender.enc),
        info: buffer(info),
      });
      for (const { aad, text } of messages) {
        const opened = await oracle.open(buffer(sender.seal(text, aad)), buffer(aad));
        assert.deepEqual(Buffer.from(opened), Buffer.from(text));
      }
      const theirs = Buffer.from(await oracle.export(buffer(context), length));
      assert.deepEqual(sender.export(context, length), theirs);
    }),
    { numRuns: 40 },
  );
});

test("hpke: what an independent implementation seals and exports, any input -> we open it and export the same", async () => {
  await fc.assert(
    fc.asyncProperty(anyCase, async ({ secret, info, messages, context, length }) => {
      const { publicKey } = await oraclePair(secret);
      const oracle = await suite.createSenderContext({
        recipientPublicKey: publicKey,
        info: buffer(info),
      });
      const receiver = hpkeReceiver(Buffer.from(oracle.enc), keyPairOf(secret), info);
      for (const { aad, text } of messages) {
        const sealed = Buffer.from(await oracle.seal(buffer(text), buffer(aad)));
        assert.deepEqual(receiver.open(sealed, aad), Buffer.from(text));
      }
      const theirs = Buffer.from(await oracle.export(buffer(context), length));
      assert.deepEqual(receiver.export(context, length), theirs);
    }),
    { numRuns: 40 },
  );
});

test("hpke: any one byte of message, aad, info or encapsulated key changed -> refused", () => {
  const one = fc.uint8Array({ minLength: 1, maxLength: 60 });
  const places = ["sealed", "aad", "info"] as const;
  fc.assert(
    fc.property(
      fc.record({ info: one, aad: one, text: one }),
      fc.constantFrom(...places),
      fc.nat(),
      fc.integer({ min: 1, max: 255 }),
      ({ info, aad, text }, place, where, mask) => {
        const pair = generateKeyPair(systemRandom);
        const sealed = hpkeSeal(pair.publicKey, info, aad, text, systemRandom);
        assert.deepEqual(hpkeOpen(pair, info, aad, sealed), Buffer.from(text));
        const parts = { sealed, info: Buffer.from(info), aad: Buffer.from(aad) };
        const bytes = parts[place];
        const at = where % bytes.length;
        // The top bit of an X25519 key is not part of it (RFC 7748), but it is part of HPKE's context.
        bytes[at] = (bytes[at] ?? 0) ^ mask;
        assert.throws(() => hpkeOpen(pair, parts.info, parts.aad, parts.sealed), InvalidError);
      },
    ),
    { numRuns: 200 },
  );
});

test("hpke: another's key, messages out of turn or twice -> refused, and the one that is due still opens", () => {
  const pair = generateKeyPair(systemRandom);
  const sender = hpkeSender(pair.publicKey, none, systemRandom);
  const [first, second] = ["first", "second"].map((text) => sender.seal(Buffer.from(text), none));
  assert.ok(first !== undefined && second !== undefined);
  const other = hpkeReceiver(sender.enc, generateKeyPair(systemRandom), none);
  assert.throws(() => other.open(first, none), refused("hpke.open"));
  const receiver = hpkeReceiver(sender.enc, pair, none);
  assert.throws(() => receiver.open(second, none), refused("hpke.open"));
  assert.equal(receiver.open(first, none).toString(), "first");
  assert.throws(() => receiver.open(first, none), refused("hpke.open"));
  assert.equal(receiver.open(second, none).toString(), "second");
});

test("hpke: sealed bytes cut anywhere -> refused", () => {
  const pair = generateKeyPair(systemRandom);
  const sealed = hpkeSeal(pair.publicKey, none, none, Buffer.from("text"), systemRandom);
  for (let length = 0; length < sealed.length; length++) {
    assert.throws(() => hpkeOpen(pair, none, none, sealed.subarray(0, length)), InvalidError);
  }
});

/** All 32-byte encodings of points of small order on curve25519 and its twist (RFC 7748 section 6.1). */
const smallOrder = [
  "0000000000000000000000000000000000000000000000000000000000000000",
  "0100000000000000000000000000000000000000000000000000000000000000",
  "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
  "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
  "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];

test("hpke: a public or encapsulated key of small order, or of another length -> refused", () => {
  const pair = generateKeyPair(systemRandom);
  for (const key of [...smallOrder.map(hex), none, Buffer.alloc(31, 9), Buffer.alloc(33, 9)]) {
    assert.throws(() => hpkeSender(key, none, systemRandom), refused("hpke.key"));
    assert.throws(() => hpkeReceiver(key, pair, none), refused("hpke.key"));
  }
});

const folder = join(import.meta.dirname, "../../../shared/vectors/wycheproof");
const skip = existsSync(folder)
  ? false
  : "SKIPPED: ../shared/vectors/wycheproof is absent, nothing was compared";

test(
  "hpke: X25519, every Wycheproof case -> its shared secret, and all-zero ones refused",
  { skip },
  () => {
    interface Case {
      readonly tcId: number;
      readonly public: string;
      readonly private: string;
      readonly shared: string;
    }
    const text = readFileSync(join(folder, "x25519_test.json"), "utf8");
    const { testGroups } = JSON.parse(text) as { testGroups: { tests: Case[] }[] };
    let [agreed, zero] = [0, 0];
    for (const item of testGroups.flatMap(({ tests }) => tests)) {
      const { privateKey } = keyPairOf(hex(item.private));
      if (/^0+$/.test(item.shared)) {
        zero++;
        assert.throws(() => x25519(privateKey, hex(item.public)), refused("hpke.key"));
      } else {
        agreed++;
        const shared = x25519(privateKey, hex(item.public)).toString("hex");
        assert.equal(shared, item.shared, `case ${item.tcId}`);
      }
    }
    assert.ok(agreed > 400 && zero > 10, `${agreed} agreed, ${zero} refused`);
  },
);

test("hpke: a message too short for a key and a tag -> refused as such", () => {
  const pair = generateKeyPair(systemRandom);
  for (const bytes of [0, 31, 32, 47]) {
    assert.throws(() => hpkeOpen(pair, none, none, Buffer.alloc(bytes, 1)), { code: "hpke.open" });
  }
});
