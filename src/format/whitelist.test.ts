import assert from "node:assert/strict";
import type { KeyObject } from "node:crypto";
import { test } from "node:test";
import fc from "fast-check";
import { InvalidError } from "../base/assert.ts";
import { sha256 } from "../base/hash.ts";
import { privateKeyFromSeed, publicKeyHex } from "../base/sign.ts";
import { encodeEnvelope, parseEnvelope, sealEnvelope } from "./dsse.ts";
import { encodeRootLines, openRootChain, sealTrustRoot, type RootParty } from "./trust-root.ts";
import {
  entryJson,
  openWhitelist,
  parseWhitelist,
  sealWhitelist,
  whitelistType,
  type Whitelist,
  type WhitelistEntry,
} from "./whitelist.ts";

const keyOf = (fill: number): KeyObject => privateKeyFromSeed(Buffer.alloc(32, fill));
const a = [1, 2, 3].map(keyOf);
const b = [11, 12, 13].map(keyOf);
const all = [...a, ...b];

/** A whitelist needs two of A and one of B; a root, two and two. */
const party = (name: string, keys: readonly KeyObject[], whitelist: number): RootParty => ({
  ...{ name, keys: keys.map(publicKeyHex), operators: [] },
  thresholds: { whitelist, root: 2 },
});
const sealedRoot = sealTrustRoot(
  { version: 1, expiresMs: 8e15, a: party("North", a, 2), b: party("South", b, 1) },
  all,
);
const root = openRootChain(Buffer.from(encodeRootLines([sealedRoot])), null).current;

const entry: Omit<WhitelistEntry, "digest"> = {
  modelId: "weir-demo",
  weights: { sizeBytes: 10_000, chunkBytes: 4096, root: Buffer.alloc(32, 1) },
  tokenizerDigest: Buffer.alloc(32, 2),
  templateDigest: Buffer.alloc(32, 3),
  engine: "some engine",
  engineBuild: Buffer.alloc(32, 4),
  noiseLaw: "gumbel-philox/1",
  generation: { temperatureMax: 2, topPMin: 0.1, topKMax: 64, maxTokens: 512, contextTokens: 1024 },
  profile: Buffer.alloc(32, 5),
};

const draft = { version: 3, rootVersion: 1, expiresMs: 7e15, entries: [entry] };
const encode = (...keys: KeyObject[]): Buffer =>
  Buffer.from(encodeEnvelope(sealWhitelist(draft, keys)));
const at = (keys: readonly KeyObject[], ...indexes: number[]): KeyObject[] =>
  keys.filter((_, i) => indexes.includes(i));

/** A payload as the parties might wrongly write it, signed by everybody. */
const raw = (json: unknown): Buffer =>
  Buffer.from(encodeEnvelope(sealEnvelope(whitelistType, Buffer.from(JSON.stringify(json)), all)));
const whole = { version: 1, rootVersion: 1, expiresMs: 7e15, entries: [] as unknown[] };

test("whitelist: signed by enough of both -> opened; the digests cover payload and entry", () => {
  const list = openWhitelist(encode(...at(a, 0, 2), ...at(b, 1)), root);
  const digest = sha256(Buffer.from(JSON.stringify(entryJson(entry))));
  const { payload } = sealWhitelist(draft, []);
  const expected: Whitelist = {
    ...draft,
    entries: [{ ...entry, digest }],
    digest: sha256(payload),
    signed: { a: at(a, 0, 2).map(publicKeyHex), b: at(b, 1).map(publicKeyHex) },
  };
  assert.deepEqual(list, expected);
});

test("whitelist: each combination of signatures -> counts only with two of A and one of B", () => {
  for (let bits = 0; bits < 64; bits++) {
    const keys = all.filter((_, i) => ((bits >> i) & 1) === 1);
    const ofA = keys.filter((key) => a.includes(key)).length;
    if (ofA >= 2 && keys.length > ofA) assert.ok(openWhitelist(encode(...keys), root));
    else {
      assert.throws(() => openWhitelist(encode(...keys), root), {
        code: "whitelist.unsigned",
        message: ofA < 2 ? /North has given/ : /South has given 0 of 1/,
      });
    }
  }
});

test("whitelist: one key many times, its signature under other keys' ids -> one signature", () => {
  const [first] = at(a, 0);
  const [south] = at(b, 0);
  assert.ok(first !== undefined && south !== undefined);
  const sealed = sealWhitelist(draft, [first, first, first, south]);
  const ids = [...at(a, 0, 1, 2), south].map(publicKeyHex);
  const signatures = sealed.signatures.map(({ sig }, i) => ({ keyid: ids[i] ?? "", sig }));
  const text = encodeEnvelope({ ...sealed, signatures });
  assert.throws(() => openWhitelist(Buffer.from(text), root), { code: "whitelist.unsigned" });
});

test("whitelist: key ids empty, swapped or long -> nothing changes", () => {
  const sealed = parseEnvelope(encode(...at(a, 0, 1), ...at(b, 0)));
  for (const keyid of ["", "x".repeat(5000), publicKeyHex(keyOf(12))]) {
    const signatures = sealed.signatures.map(({ sig }) => ({ keyid, sig }));
    const text = encodeEnvelope({ ...sealed, signatures });
    assert.equal(openWhitelist(Buffer.from(text), root).version, 3);
  }
});

test("whitelist: signed for another version of the root -> refused, whoever signed", () => {
  const sealed = sealWhitelist({ ...draft, rootVersion: 2 }, all);
  assert.throws(() => openWhitelist(Buffer.from(encodeEnvelope(sealed)), root), {
    code: "whitelist.root",
    message: /root version 2/,
  });
});

test("whitelist: the first format, or a root in its place -> refused by its type", () => {
  const old = sealEnvelope(
    "application/vnd.weir.whitelist+json;v=1",
    sealWhitelist(draft, []).payload,
    all,
  );
  for (const envelope of [old, sealedRoot]) {
    assert.throws(() => openWhitelist(Buffer.from(encodeEnvelope(envelope)), root), {
      code: "dsse.type",
    });
  }
});

test("whitelist: each number changes the digest", () => {
  const digestOf = (change: Partial<typeof entry>): string => {
    const { payload } = sealWhitelist({ ...draft, entries: [{ ...entry, ...change }] }, []);
    return parseWhitelist(payload).entries[0]?.digest.toString("hex") ?? "";
  };
  const digests = new Set([
    digestOf({}),
    digestOf({ engine: "other" }),
    digestOf({ engineBuild: Buffer.alloc(32, 6) }),
    digestOf({ tokenizerDigest: Buffer.alloc(32, 6) }),
    digestOf({ templateDigest: Buffer.alloc(32, 6) }),
    digestOf({ noiseLaw: "other" }),
    digestOf({ generation: { ...entry.generation, topKMax: 65 } }),
    digestOf({ profile: Buffer.alloc(32, 6) }),
    digestOf({ weights: { ...entry.weights, sizeBytes: 10_001 } }),
  ]);
  assert.equal(digests.size, 9);
});

test("whitelist: wrong entries -> InvalidError that names the field", () => {
  const json = entryJson(entry);
  const generation = json["generation"] as object;
  const one = (change: object): unknown => ({ ...whole, entries: [{ ...json, ...change }] });
  const older = { ...json, engineBuild: undefined };
  const bad: [unknown, RegExp][] = [
    [{ ...whole, version: 0 }, /whitelist\.version/],
    [{ ...whole, rootVersion: 0 }, /whitelist\.rootVersion/],
    [{ ...whole, expiresMs: "never" }, /whitelist\.expiresMs/],
    [{ version: 1, entries: [] }, /rootVersion/],
    [{ ...whole, more: 1 }, /"more"/],
    [{ ...whole, entries: [json, json] }, /twice/],
    [{ ...whole, entries: [older] }, /engineBuild/],
    [{ ...whole, entries: Array.from({ length: 257 }, () => json) }, /more than 256/],
    [one({ modelId: "../x" }), /no model id/],
    [one({ extra: 1 }), /"extra"/],
    [one({ tokenizerDigest: "ab" }), /hex/],
    [one({ generation: { ...generation, topKMax: 0 } }), /topKMax/],
    [one({ generation: { ...generation, topKMax: 1.5 } }), /topKMax/],
    [one({ profile: {} }), /profile must be a string/],
    [one({ profile: "AB" }), /hex/],
  ];
  for (const [value, message] of bad) {
    assert.throws(() => openWhitelist(raw(value), root), { name: "InvalidError", message });
  }
});

test("whitelist: a key that occurs twice, although JSON.parse takes the last -> refused", () => {
  const { payload } = sealWhitelist(draft, []);
  const text = payload.toString().replace('"version":3', '"version":3,"version":4');
  assert.equal((JSON.parse(text) as { version: number }).version, 4);
  const sealed = sealEnvelope(whitelistType, Buffer.from(text), all);
  assert.throws(() => openWhitelist(Buffer.from(encodeEnvelope(sealed)), root), {
    message: /occurs twice/,
  });
});

test("whitelist: any JSON that all signed, any bytes -> a whitelist or InvalidError", () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      assert.throws(() => openWhitelist(raw({ ...whole, entries: [value] }), root), InvalidError);
    }),
    { numRuns: 50 },
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
      assert.throws(() => openWhitelist(bytes, root), InvalidError);
    }),
    { numRuns: 100 },
  );
});

test("whitelist: one byte of a signed one changed -> the same list, or refused", () => {
  const good = encode(...at(a, 0, 1), ...at(b, 0));
  const list = openWhitelist(good, root);
  fc.assert(
    fc.property(fc.nat(good.length - 1), fc.integer({ min: 1, max: 255 }), (index, flip) => {
      const bad = Buffer.from(good);
      bad[index] = (bad[index] ?? 0) ^ flip;
      try {
        assert.deepEqual(openWhitelist(bad, root), list);
      } catch (error) {
        assert.ok(error instanceof InvalidError);
      }
    }),
    { numRuns: 200 },
  );
});
