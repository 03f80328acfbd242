import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { InvalidError } from "../base/assert.ts";
import { sha256 } from "../base/hash.ts";
import { privateKeyFromSeed, publicKeyHex } from "../base/sign.ts";
import { encodeEnvelope, sealEnvelope } from "./dsse.ts";
import {
  entryJson,
  openWhitelist,
  sealWhitelist,
  whitelistType,
  type WhitelistEntry,
} from "./whitelist.ts";

const a = privateKeyFromSeed(Buffer.alloc(32, 1));
const b = privateKeyFromSeed(Buffer.alloc(32, 2));
const parties = { a: publicKeyHex(a), b: publicKeyHex(b) };

const entry: Omit<WhitelistEntry, "digest"> = {
  modelId: "weir-demo",
  weights: { sizeBytes: 10_000, chunkBytes: 4096, root: Buffer.alloc(32, 1) },
  tokenizerDigest: Buffer.alloc(32, 2),
  templateDigest: Buffer.alloc(32, 3),
  engine: "some engine",
  noiseLaw: "gumbel-philox/1",
  generation: { temperatureMax: 2, topPMin: 0.1, topKMax: 64, maxTokens: 512, contextTokens: 1024 },
  profile: Buffer.alloc(32, 5),
};

const encode = (...keys: (typeof a)[]): Buffer =>
  Buffer.from(encodeEnvelope(sealWhitelist(3, [entry], keys)));

/** A payload as the parties might wrongly write it. */
const raw = (json: unknown): Buffer =>
  Buffer.from(
    encodeEnvelope(sealEnvelope(whitelistType, Buffer.from(JSON.stringify(json)), [a, b])),
  );

test("whitelist: signed by both parties -> opened; the digest covers the entry's own JSON", () => {
  const list = openWhitelist(encode(a, b), parties);
  assert.equal(list.version, 3);
  const digest = sha256(Buffer.from(JSON.stringify(entryJson(entry))));
  assert.deepEqual(list.entries, [{ ...entry, digest }]);
});

test("whitelist: a signature short, or one party in both roles -> refused", () => {
  assert.throws(() => openWhitelist(encode(a), parties), {
    code: "whitelist.unsigned",
    message: /party B/,
  });
  assert.throws(() => openWhitelist(encode(b), parties), {
    code: "whitelist.unsigned",
    message: /party A/,
  });
  assert.throws(() => openWhitelist(encode(a, a), parties), { code: "whitelist.unsigned" });
  const one = { a: parties.a, b: parties.a };
  assert.throws(() => openWhitelist(encode(a, b), one), { code: "whitelist.parties" });
});

test("whitelist: each number changes the digest", () => {
  const digestOf = (change: Partial<typeof entry>): string => {
    const sealed = sealWhitelist(3, [{ ...entry, ...change }], [a, b]);
    const list = openWhitelist(Buffer.from(encodeEnvelope(sealed)), parties);
    return list.entries[0]?.digest.toString("hex") ?? "";
  };
  const digests = new Set([
    digestOf({}),
    digestOf({ engine: "other" }),
    digestOf({ generation: { ...entry.generation, topKMax: 65 } }),
    digestOf({ profile: Buffer.alloc(32, 6) }),
    digestOf({ weights: { ...entry.weights, sizeBytes: 10_001 } }),
  ]);
  assert.equal(digests.size, 5);
});

test("whitelist: wrong entries -> InvalidError that names the field", () => {
  const json = entryJson(entry);
  const generation = json["generation"] as object;
  const bad: [unknown, RegExp][] = [
    [{ version: 0, entries: [] }, /whitelist\.version/],
    [{ version: 1, entries: [], more: 1 }, /"more"/],
    [{ version: 1, entries: [json, json] }, /twice/],
    [{ version: 1, entries: [{ ...json, modelId: "../x" }] }, /no model id/],
    [{ version: 1, entries: [{ ...json, extra: 1 }] }, /"extra"/],
    [{ version: 1, entries: [{ ...json, tokenizerDigest: "ab" }] }, /hex/],
    [{ version: 1, entries: [{ ...json, generation: { ...generation, topKMax: 0 } }] }, /topKMax/],
    [
      { version: 1, entries: [{ ...json, generation: { ...generation, topKMax: 1.5 } }] },
      /topKMax/,
    ],
    [{ version: 1, entries: [{ ...json, profile: {} }] }, /profile must be a string/],
    [{ version: 1, entries: [{ ...json, profile: "AB" }] }, /hex/],
  ];
  for (const [value, message] of bad) {
    assert.throws(() => openWhitelist(raw(value), parties), { name: "InvalidError", message });
  }
});

test("whitelist: any JSON that both signed -> a whitelist or InvalidError", () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      assert.throws(
        () => openWhitelist(raw({ version: 1, entries: [value] }), parties),
        InvalidError,
      );
    }),
    { numRuns: 50 },
  );
});
