import assert from "node:assert/strict";
import type { KeyObject } from "node:crypto";
import { test } from "node:test";
import fc from "fast-check";
import { InvalidError } from "../base/assert.ts";
import { limits } from "../base/limits.ts";
import { privateKeyFromSeed, publicKeyHex } from "../base/sign.ts";
import { sealEnvelope, type Envelope } from "./dsse.ts";
import {
  encodeRootLines,
  openRootChain,
  parseTrustRoot,
  quorumGap,
  rootJson,
  sealTrustRoot,
  signedBy,
  trustRootType,
  type RootContents,
  type RootParty,
} from "./trust-root.ts";

const keyOf = (fill: number): KeyObject => privateKeyFromSeed(Buffer.alloc(32, fill));
const a = [1, 2, 3].map(keyOf);
const b = [11, 12, 13].map(keyOf);
const hex = (keys: readonly KeyObject[]): string[] => keys.map(publicKeyHex);

const party = (name: string, keys: readonly KeyObject[], k: number): RootParty => ({
  ...{ name, keys: hex(keys), thresholds: { whitelist: k, root: k }, operators: [] },
});
const root = (change: Partial<RootContents> = {}): RootContents => ({
  version: 1,
  expiresMs: 8e15,
  a: party("North", a, 2),
  b: party("South", b, 2),
  ...change,
});
const bothSign = [a[0], a[1], b[0], b[1]].filter((key) => key !== undefined);
const chain = (...envelopes: Envelope[]): Buffer => Buffer.from(encodeRootLines(envelopes));
const first = sealTrustRoot(root(), bothSign);
const anchor = parseTrustRoot(first.payload).digest.toString("hex");

/** A payload as the parties might wrongly write it, signed by everybody. */
const raw = (json: unknown): Envelope =>
  sealEnvelope(trustRootType, Buffer.from(JSON.stringify(json)), [...a, ...b]);

test("root: signed by enough keys of both, under its anchor -> opened", () => {
  const { roots, current } = openRootChain(chain(first), anchor);
  assert.equal(roots.length, 1);
  assert.deepEqual(current, { ...root(), digest: Buffer.from(anchor, "hex") });
});

test("root: each combination of signatures -> counts only with both parties' thresholds", () => {
  const all = [...a, ...b];
  for (let bits = 0; bits < 64; bits++) {
    const signing = all.filter((_, i) => ((bits >> i) & 1) === 1);
    const ofA = signing.filter((key) => a.includes(key)).length;
    const open = (): unknown => openRootChain(chain(sealTrustRoot(root(), signing)), anchor);
    if (ofA >= 2 && signing.length - ofA >= 2) assert.ok(open());
    else assert.throws(open, { code: "root.unsigned", message: /North|South/ });
  }
});

test("root: one key that signs three times, under key ids of others -> one signature", () => {
  const sealed = sealTrustRoot(root(), [keyOf(1), keyOf(1), keyOf(1), ...b]);
  const ids = [...hex(a), ...hex(b)];
  const renamed = {
    ...sealed,
    signatures: sealed.signatures.map(({ sig }, i) => ({ keyid: ids[i] ?? "", sig })),
  };
  assert.throws(() => openRootChain(chain(renamed), anchor), {
    code: "root.unsigned",
    message: /North has given 1 of 2/,
  });
});

test("root: another anchor -> refused before anything in it is believed", () => {
  const other = sealTrustRoot(root({ expiresMs: 7e15 }), bothSign);
  assert.throws(() => openRootChain(chain(other), anchor), { code: "root.anchor" });
});

test("root: a key of both parties, twice in one party, or an operator's as well -> refused", () => {
  const shared = hex([keyOf(1)]);
  const cases: [Partial<RootContents>, RegExp][] = [
    [{ b: { ...party("South", b, 2), keys: [...hex(b), ...shared] } }, /two places/],
    [{ a: { ...party("North", a, 2), keys: [...hex(a), ...shared] } }, /two places/],
    [{ b: { ...party("South", b, 2), operators: shared } }, /two places/],
    [{ b: party("North", b, 2) }, /both parties/],
  ];
  for (const [change, message] of cases) {
    assert.throws(() => openRootChain(chain(raw(rootJson(root(change)))), null), { message });
  }
});

test("root: keys that verify for anybody, or are spelt in two ways -> refused", () => {
  const bad = [
    `01${"00".repeat(31)}`,
    `ee${"ff".repeat(30)}7f`,
    hex([keyOf(1)])[0]?.toUpperCase() ?? "",
    "ab",
  ];
  for (const key of bad) {
    const json = rootJson(root({ a: { ...party("North", a, 1), keys: [key] } }));
    assert.throws(() => openRootChain(chain(raw(json)), null), { code: "root.key" });
  }
});

test("root: thresholds of nobody, or of more keys than there are -> refused", () => {
  const wrong = [0, -1, 1.5, 4].flatMap((k) => [
    { whitelist: k, root: 2 },
    { whitelist: 2, root: k },
  ]);
  for (const thresholds of wrong) {
    const json = rootJson(root({ a: { ...party("North", a, 2), thresholds } }));
    assert.throws(() => openRootChain(chain(raw(json)), null), { message: /thresholds/ });
  }
});

const secondA = [keyOf(4), keyOf(5)];
const second = root({ version: 2, a: party("North", secondA, 2) });

test("root: a change -> needs the old and the new thresholds of both parties", () => {
  const next = (keys: readonly KeyObject[]): Buffer => chain(first, sealTrustRoot(second, keys));
  const old = [a[0], a[1]].filter((key) => key !== undefined);
  const south = [b[0], b[1]].filter((key) => key !== undefined);
  const { current } = openRootChain(next([...old, ...secondA, ...south]), anchor);
  assert.equal(current.version, 2);
  const wrong: [readonly KeyObject[], RegExp][] = [
    [[...old, ...south], /under version 2: North/],
    [[...secondA, ...south], /under version 1: North/],
    [[...old, ...secondA], /under version 1: South.*under version 2: South/],
    [[...old, ...secondA, ...south.slice(1)], /South has given 1 of 2/],
  ];
  for (const [keys, message] of wrong) {
    assert.throws(() => openRootChain(next(keys), anchor), { code: "root.unsigned", message });
  }
});

test("root: version 1 to 3, 1 to 1, 2 first, a chain cut off in front -> refused", () => {
  const everyone = [...a, ...secondA, ...b];
  const at = (version: number): Envelope => sealTrustRoot({ ...second, version }, everyone);
  const code = "root.version";
  assert.throws(() => openRootChain(chain(first, at(3)), anchor), { code });
  assert.throws(() => openRootChain(chain(first, at(1)), anchor), { code });
  assert.throws(() => openRootChain(chain(at(2)), null), { code });
  assert.throws(() => openRootChain(chain(at(2)), anchor), { code: "root.anchor" });
  assert.equal(openRootChain(chain(first, at(2), at(3)), anchor).current.version, 3);
});

test("root: a signature on another type of payload -> counts for nothing", () => {
  const elsewhere = sealEnvelope("application/other", first.payload, bothSign);
  const moved = { ...elsewhere, payloadType: trustRootType };
  assert.throws(() => openRootChain(chain(moved), anchor), { code: "root.unsigned" });
  assert.throws(() => openRootChain(chain(elsewhere), anchor), { code: "dsse.type" });
});

test("root: quorum per party -> whatever is too much on one side makes up for nothing on the other", () => {
  const parsed = parseTrustRoot(first.payload);
  fc.assert(
    fc.property(fc.subarray([...a, ...b]), (keys) => {
      const signed = signedBy(sealTrustRoot(root(), keys), trustRootType, parsed);
      const ofA = keys.filter((key) => a.includes(key)).length;
      const enough = ofA >= 2 && keys.length - ofA >= 2;
      assert.equal(quorumGap(parsed, "root", signed) === null, enough);
    }),
    { numRuns: 20 },
  );
});

test("root: any JSON that all signed, any bytes -> a root or InvalidError; what parses is what was written", () => {
  const piece = fc.oneof(
    fc.jsonValue(),
    fc.constant(rootJson(root())["a"]),
    fc.constant(rootJson(root())["b"]),
    fc.integer(),
  );
  const near = fc.record(
    { version: piece, expiresMs: piece, a: piece, b: piece },
    { requiredKeys: [] },
  );
  fc.assert(
    fc.property(fc.oneof(fc.jsonValue(), near), (value) => {
      const payload = Buffer.from(JSON.stringify(value));
      try {
        const parsed = parseTrustRoot(payload);
        assert.deepEqual(JSON.parse(JSON.stringify(rootJson(parsed))), value);
      } catch (error) {
        assert.ok(error instanceof InvalidError);
      }
    }),
    { numRuns: 300 },
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      assert.throws(() => openRootChain(bytes, null), InvalidError);
    }),
    { numRuns: 100 },
  );
});

test("root: one byte of a signed chain changed -> refused", () => {
  const good = chain(first);
  fc.assert(
    fc.property(fc.nat(good.length - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
      const bad = Buffer.from(good);
      bad[at] = (bad[at] ?? 0) ^ flip;
      try {
        // Key ids are hints: a change there alone changes nothing.
        assert.deepEqual(openRootChain(bad, anchor).current, openRootChain(good, anchor).current);
        assert.ok(good.indexOf('"signatures"') < at || at === good.length - 1);
      } catch (error) {
        assert.ok(error instanceof InvalidError);
      }
    }),
    { numRuns: 60 },
  );
});

test("root: a field too many anywhere, a name that is none, too many keys -> refused by name", () => {
  const json = rootJson(root());
  const north = json["a"] as Record<string, unknown>;
  const parse = (value: unknown): unknown => parseTrustRoot(Buffer.from(JSON.stringify(value)));
  assert.ok(parse(json));
  assert.throws(() => parse({ ...json, more: 1 }), InvalidError);
  assert.throws(() => parse({ ...json, a: { ...north, more: 1 } }), InvalidError);
  const thresholds = { whitelist: 1, root: 1, more: 1 };
  assert.throws(() => parse({ ...json, a: { ...north, thresholds } }), InvalidError);
  for (const name of ["", " North", "North\n", "n".repeat(65), "Süd"]) {
    assert.throws(() => parse({ ...json, a: { ...north, name } }), { code: "root.name" });
  }
  assert.ok(parse({ ...json, a: { ...north, name: "n".repeat(64) } }));
  const many = (count: number): string[] =>
    hex(Array.from({ length: count }, (_, i) => keyOf(100 + i)));
  const most = limits.partyKeys;
  assert.ok(parse({ ...json, a: { ...north, keys: many(most), operators: [] } }));
  assert.ok(parse({ ...json, a: { ...north, operators: many(most) } }));
  for (const wrong of [{ keys: many(most + 1) }, { operators: many(most + 1) }, { keys: [] }]) {
    assert.throws(() => parse({ ...json, a: { ...north, ...wrong } }), { code: "root.keys" });
  }
  const one = { keys: many(1), thresholds: { whitelist: 1, root: 1 } };
  assert.ok(parse({ ...json, a: { ...north, ...one } }));
});

test("root: an empty file, or one that is too long -> refused as such", () => {
  assert.throws(() => openRootChain(Buffer.alloc(0), anchor), InvalidError);
  const long = Buffer.alloc(limits.rootChainBytes + 1, 0x20);
  assert.throws(() => openRootChain(long, anchor), { code: "root.chain" });
});
