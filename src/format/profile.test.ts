import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import fc from "fast-check";
import { InvalidError } from "../base/assert.ts";
import { openProfile, profileMismatch, sealProfile, type Profile } from "./profile.ts";

const spec = readFileSync(new URL("../../spec/profile.md", import.meta.url), "utf8");
/** The example of spec/profile.md, with the line end that a file has. */
const example = `${/```json\n([\s\S]*?)\n```/.exec(spec)?.[1] ?? ""}\n`;
const digestOfExample = /digest of this example is `([0-9a-f]{64})`/.exec(spec)?.[1];

const { profile } = openProfile(Buffer.from(example));
const encode = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));

test("profile: the example of spec/profile.md -> parsed, encoded to the same bytes, this digest", () => {
  const sealed = sealProfile(profile);
  assert.equal(sealed.bytes.toString(), example);
  assert.equal(sealed.digest.toString("hex"), digestOfExample);
  assert.deepEqual(sealed.profile, profile);
});

test("profile: each wrong field -> InvalidError that names it", () => {
  const bad: [Partial<Record<keyof Profile | "more", unknown>>, RegExp][] = [
    [{ schema: 2 }, /profile\.schema/],
    [{ basis: "guessed" }, /profile\.basis/],
    [{ model: { name: "m", root: "00" } }, /profile\.model\.root/],
    [{ engines: { server: "s" } }, /profile\.engines\.reference/],
    [{ edge: -1 }, /profile\.edge/],
    [{ clip: 0 }, /profile\.clip/],
    [{ sigma: 0 }, /profile\.sigma/],
    [{ tail: [{ margin: 1, share: 2, upper: 1 }] }, /profile\.tail\[0\]\.share/],
    [{ detectors: [...profile.detectors, ...profile.detectors] }, /twice/],
    [{ detectors: [{ id: "x", nullMean: -1, observed: 0, upper: 0 }] }, /detectors\[0\]\.nullMean/],
    [{ runs: [{ ...profile.runs[0], tokens: 1.5 }] }, /profile\.runs\[0\]\.tokens/],
    [{ runs: [] }, /profile\.runs/],
    [{ provenance: { ...profile.provenance, seed: -1 } }, /profile\.provenance\.seed/],
    [{ more: 1 }, /"more"/],
  ];
  for (const [change, message] of bad) {
    const bytes = encode({ ...profile, ...change });
    assert.throws(() => openProfile(bytes), { name: "InvalidError", message }, message.source);
  }
  assert.throws(() => openProfile(Buffer.alloc(5_000_000, " ")), { code: "profile.size" });
});

test("profile: measured on other weights or for another law -> does not speak for the entry", () => {
  const entry = {
    weights: { root: Buffer.from(profile.model.root, "hex") },
    noiseLaw: profile.noiseLaw,
  };
  const other = { ...entry, weights: { root: Buffer.alloc(32, 9) } };
  assert.equal(profileMismatch(profile, entry), null);
  assert.match(profileMismatch(profile, other) ?? "", /other weights/);
  assert.equal(profileMismatch({ ...profile, basis: "assumed" }, other), null);
  assert.match(profileMismatch(profile, { ...entry, noiseLaw: "x" }) ?? "", /noise law/);
});

const nats = fc.double({ min: 0, max: 1000, noNaN: true });
const share = fc.double({ min: 0, max: 1, noNaN: true });
const count = fc.nat();
const text = fc.string({ unit: "grapheme", maxLength: 20 });

test("profile: any sound numbers -> encoded and parsed to the same", () => {
  const arbitrary = fc.record({
    edge: nats,
    clip: fc.double({ min: 1e-6, max: 1000, noNaN: true }),
    tokenMax: nats,
    meanMax: nats,
    meanSpread: nats,
    sigma: fc.double({ min: 1e-9, max: 1000, noNaN: true }),
    tail: fc.array(fc.record({ margin: nats, share, upper: share }), { maxLength: 4 }),
    confidence: fc.double({ min: 0.5, max: 1, noNaN: true }),
    detectors: fc.uniqueArray(
      fc.record({ id: text, nullMean: nats, observed: nats, upper: nats }),
      { selector: ({ id }) => id, maxLength: 4 },
    ),
    runs: fc.array(
      fc.record({
        ...{ condition: text, pairs: count, tokens: fc.integer({ min: 1 }), mismatches: count },
        ...{ outside: count, meanMargin: nats, maxMargin: nats },
      }),
      { minLength: 1, maxLength: 3 },
    ),
  });
  fc.assert(
    fc.property(arbitrary, (numbers) => {
      const { bytes } = sealProfile({ ...profile, ...numbers });
      const again = openProfile(bytes);
      // -0 has no form of its own in JSON.
      assert.deepEqual(JSON.stringify(again.profile), JSON.stringify({ ...profile, ...numbers }));
      assert.deepEqual(sealProfile(again.profile).digest, again.digest);
    }),
    { numRuns: 60 },
  );
});

test("profile: any bytes, any JSON, any cut or changed byte -> a profile or InvalidError", () => {
  const refused = (bytes: Uint8Array): void => {
    assert.throws(() => openProfile(bytes), InvalidError);
  };
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), refused), { numRuns: 100 });
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      refused(encode(value));
    }),
    { numRuns: 100 },
  );
  const bytes = Buffer.from(example);
  fc.assert(
    fc.property(fc.nat(bytes.length - 1), fc.nat(255), (at, byte) => {
      const changed = Buffer.from(bytes);
      changed[at] = byte;
      try {
        openProfile(changed);
      } catch (error) {
        assert.ok(error instanceof InvalidError, String(error));
      }
    }),
    { numRuns: 200 },
  );
});
