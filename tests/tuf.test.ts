/**
 * The trust root and the whitelist beside TUF: the same histories are given to our parsers and to tuf-js
 * (TrustedMetadataStore; its timestamp role stands for our whitelist), and the same must count. TUF has one
 * threshold per role, so "two of each party" is asked of it as five of six: T >= max(nA, nB) + k forces k of each.
 * It then refuses two and two, which we accept; that, and what is said below, is all that differs.
 */
import assert from "node:assert/strict";
import type { KeyObject } from "node:crypto";
import { test } from "node:test";
import { Key, Metadata, MetaFile, Root, Signature, Timestamp } from "@tufjs/models";
import { Role } from "@tufjs/models/dist/role.js";
import fc from "fast-check";
import { TrustedMetadataStore } from "tuf-js/dist/store.js";
import { InvalidError } from "../src/base/assert.ts";
import { privateKeyFromSeed, publicKeyHex, sign } from "../src/base/sign.ts";
import { encodeEnvelope, type Envelope } from "../src/format/dsse.ts";
import { expiryAt, remember, trustEnds, type TrustSeen } from "../src/format/trust-memory.ts";
import {
  encodeRootLines,
  openRootChain,
  sealTrustRoot,
  type RootChain,
  type RootParty,
} from "../src/format/trust-root.ts";
import { openWhitelist, sealWhitelist } from "../src/format/whitelist.ts";

const keyOf = (fill: number): KeyObject => privateKeyFromSeed(Buffer.alloc(32, fill));
/** Four keys of each party; a root names three of them. */
const pool = { a: [1, 2, 3, 4].map(keyOf), b: [11, 12, 13, 14].map(keyOf) };
const pastMs = Date.UTC(2020, 0, 1);
const futureMs = Date.UTC(2099, 0, 1);

interface Named {
  readonly a: readonly KeyObject[];
  readonly b: readonly KeyObject[];
}

const party = (name: string, keys: readonly KeyObject[]): RootParty => ({
  ...{ name, keys: keys.map(publicKeyHex), operators: [] },
  thresholds: { whitelist: 2, root: 2 },
});

/** Signs as TUF does; `ids` gives the key ids, by default the public keys. */
function tufSign<T extends Root | Timestamp>(
  metadata: Metadata<T>,
  keys: readonly KeyObject[],
  idOf: (key: KeyObject) => string = publicKeyHex,
): Buffer {
  for (const key of keys) {
    metadata.sign(
      (data) => new Signature({ keyID: idOf(key), sig: sign(key, data).toString("hex") }),
      true,
    );
  }
  return Buffer.from(JSON.stringify(metadata.toJSON()));
}

/** A root that gives every role to these key ids. */
function tufRoot(
  version: number,
  expiresMs: number,
  keys: Record<string, string>,
  threshold: number,
): Metadata<Root> {
  const role = (): Role => new Role({ keyIDs: Object.keys(keys), threshold });
  return new Metadata(
    new Root({
      ...{ version, specVersion: "1.0.31", expires: new Date(expiresMs).toISOString() },
      consistentSnapshot: false,
      keys: Object.fromEntries(
        Object.entries(keys).map(([keyID, publicKey]) => [
          keyID,
          new Key({
            ...{ keyID, keyType: "ed25519", scheme: "ed25519" },
            keyVal: { public: publicKey },
          }),
        ]),
      ),
      roles: { root: role(), timestamp: role(), snapshot: role(), targets: role() },
    }),
  );
}

function tufList(version: number, expiresMs: number): Metadata<Timestamp> {
  return new Metadata(
    new Timestamp({
      ...{ version, specVersion: "1.0.31", expires: new Date(expiresMs).toISOString() },
      snapshotMeta: new MetaFile({ version: 1 }),
    }),
  );
}

const namesOf = ({ a, b }: Named): Record<string, string> =>
  Object.fromEntries([...a, ...b].map((key) => [publicKeyHex(key), publicKeyHex(key)]));

/** What went wrong, or null. Anything but a refusal is a failure of the test. */
function refusal(action: () => void): string | null {
  try {
    action();
    return null;
  } catch (error) {
    if (error instanceof InvalidError) return error.code;
    if (error instanceof Error) return error.constructor.name;
    throw error;
  }
}

/** Both consumers, side by side. */
class Twins {
  #named: Named = { a: pool.a.slice(0, 3), b: pool.b.slice(0, 3) };
  readonly #store: TrustedMetadataStore;
  #envelopes: Envelope[];
  #chain: RootChain;
  #seen: TrustSeen | null = null;

  constructor() {
    const all = [...this.#named.a, ...this.#named.b];
    const bytes = tufSign(tufRoot(1, futureMs, namesOf(this.#named), 5), all);
    this.#store = new TrustedMetadataStore(bytes);
    this.#envelopes = [this.#seal(1, this.#named, all)];
    this.#chain = openRootChain(Buffer.from(encodeRootLines(this.#envelopes)), null);
  }

  #seal(version: number, { a, b }: Named, keys: readonly KeyObject[]): Envelope {
    const contents = { version, expiresMs: futureMs };
    return sealTrustRoot({ ...contents, a: party("North", a), b: party("South", b) }, keys);
  }

  #count(named: Named, keys: readonly KeyObject[]): number {
    return [...named.a, ...named.b].filter((key) => keys.includes(key)).length;
  }

  /** Four signatures are enough for us, and one short of what TUF can ask for, only as two and two. */
  #twoAndTwo(named: Named, keys: readonly KeyObject[]): void {
    assert.equal(named.a.filter((key) => keys.includes(key)).length, 2);
  }

  /** The next root: `step` above the present one, naming all of the pool but the keys `without`. */
  root(step: number, without: { a: number; b: number }, keys: readonly KeyObject[]): void {
    const named = {
      a: pool.a.filter((_, i) => i !== without.a),
      b: pool.b.filter((_, i) => i !== without.b),
    };
    const version = this.#chain.current.version + step;
    if (version < 1) return;
    const envelope = this.#seal(version, named, keys);
    const ours = refusal(() => {
      const chain = openRootChain(
        Buffer.from(encodeRootLines([...this.#envelopes, envelope])),
        null,
      );
      this.#chain = chain;
    });
    const four = [this.#named, named].filter((those) => this.#count(those, keys) === 4);
    if (ours === null) for (const those of four) this.#twoAndTwo(those, keys);
    const before = this.#store.root;
    const tuf = refusal(() => {
      this.#store.updateRoot(tufSign(tufRoot(version, futureMs, namesOf(named), 5), keys));
    });
    // Two of each party are enough for us, and one short of what TUF can say.
    if (ours === null && four.length > 0) assert.equal(tuf, "UnsignedMetadataError");
    else assert.equal(tuf === null, ours === null, `${tuf ?? "taken"} ${ours ?? "taken"}`);
    if (ours === null && tuf !== null) {
      const all = [...new Set([...this.#named.a, ...this.#named.b, ...named.a, ...named.b])];
      this.#store.updateRoot(tufSign(tufRoot(version, futureMs, namesOf(named), 5), all));
    }
    assert.equal(this.#store.root === before, ours !== null);
    if (ours === null) {
      this.#named = named;
      this.#envelopes = [...this.#envelopes, envelope];
    }
  }

  list(version: number, expiresMs: number, keys: readonly KeyObject[]): void {
    const rootVersion = this.#chain.current.version;
    const sealed = sealWhitelist({ version, rootVersion, expiresMs, entries: [] }, keys);
    const before = this.#seen;
    const ours = refusal(() => {
      const list = openWhitelist(Buffer.from(encodeEnvelope(sealed)), this.#chain.current);
      this.#seen = remember(before, this.#chain, list);
      const { over } = expiryAt(trustEnds(this.#chain, list), Date.now(), 0);
      if (over !== null) throw new InvalidError("whitelist.expired", over);
    });
    const all = this.#count(this.#named, keys);
    if (all === 4 && ours !== "whitelist.unsigned") this.#twoAndTwo(this.#named, keys);
    const signers =
      all === 4 && ours !== "whitelist.unsigned" ? [...this.#named.a, ...this.#named.b] : keys;
    const tuf = refusal(() => {
      this.#store.updateTimestamp(tufSign(tufList(version, expiresMs), signers));
    });
    const same: Readonly<Record<string, string>> = {
      "whitelist.unsigned": "UnsignedMetadataError",
      "trust.rollback": "BadVersionError",
      "whitelist.expired": "ExpiredMetadataError",
      // TUF keeps the old one without a word; we refuse, for nobody signs one version twice by mistake.
      "trust.fork": "EqualVersionError",
    };
    const equal = before !== null && before.whitelistVersion === version;
    // The very same whitelist again is nothing new to us, and to TUF an equal version.
    if (equal && (ours === null || ours === "whitelist.expired")) {
      assert.equal(tuf, "EqualVersionError");
    } else assert.equal(tuf, ours === null ? null : same[ours], ours ?? "taken");
  }
}

const everyone = [...pool.a, ...pool.b];
const signers = fc.oneof(
  { weight: 3, arbitrary: fc.constant(everyone) },
  {
    weight: 5,
    arbitrary: fc
      .tuple(fc.subarray(pool.a, { minLength: 1 }), fc.subarray(pool.b, { minLength: 1 }))
      .map(([ofA, ofB]) => [...ofA, ...ofB]),
  },
  { weight: 3, arbitrary: fc.subarray(pool.a, { minLength: 2 }).map((ofA) => [...ofA, ...pool.b]) },
  { weight: 1, arbitrary: fc.subarray(everyone) },
);
const index = fc.integer({ min: 0, max: 3 });
type Step = (twins: Twins) => void;
const rootStep = fc
  .tuple(fc.constantFrom(1, 1, 1, 0, 2, -1), fc.record({ a: index, b: index }), signers)
  .map(([step, without, keys]): Step => (twins) => {
    twins.root(step, without, keys);
  });
const listStep = fc
  .tuple(fc.integer({ min: 1, max: 6 }), fc.constantFrom(futureMs, futureMs, pastMs), signers)
  .map(([version, expiresMs, keys]): Step => (twins) => {
    twins.list(version, expiresMs, keys);
  });

test("tuf: any history of roots and whitelists -> tuf-js and we let the same things count", () => {
  fc.assert(
    fc.property(fc.array(fc.oneof(rootStep, listStep, listStep), { maxLength: 8 }), (steps) => {
      const twins = new Twins();
      for (const step of steps) step(twins);
    }),
    { numRuns: 60 },
  );
});

test("tuf: one key under two ids, by which one party becomes two -> tuf-js accepts it, we refuse", () => {
  const mine = keyOf(1);
  const yours = keyOf(11);
  // A proposes a root in which B's second key is, under another id, A's own; everybody signs without looking.
  const keys = { "id of A": publicKeyHex(mine), "id of B": publicKeyHex(mine) };
  const first = tufRoot(1, futureMs, { one: publicKeyHex(mine), two: publicKeyHex(yours) }, 2);
  const store = new TrustedMetadataStore(
    tufSign(first, [mine, yours], (key) => (key === mine ? "one" : "two")),
  );
  const second = tufRoot(2, futureMs, keys, 2);
  const ids = ["id of A", "id of B", "one", "two"];
  const by = [mine, mine, mine, yours];
  ids.forEach((keyID, i) => {
    second.sign(
      (data) => new Signature({ keyID, sig: sign(by[i] ?? mine, data).toString("hex") }),
      true,
    );
  });
  store.updateRoot(Buffer.from(JSON.stringify(second.toJSON())));
  // From here on one private key is both parties.
  const list = tufList(1, futureMs);
  for (const keyID of ["id of A", "id of B"]) {
    list.sign((data) => new Signature({ keyID, sig: sign(mine, data).toString("hex") }), true);
  }
  store.updateTimestamp(Buffer.from(JSON.stringify(list.toJSON())));
  assert.equal(store.timestamp?.signed.version, 1, "tuf-js takes one signature for two");

  const alias = sealTrustRoot(
    {
      ...{ version: 1, expiresMs: futureMs },
      a: { ...party("North", [mine]), thresholds: { whitelist: 1, root: 1 } },
      b: { ...party("South", [mine]), thresholds: { whitelist: 1, root: 1 } },
    },
    [mine, yours],
  );
  const code = refusal(() => openRootChain(Buffer.from(encodeRootLines([alias])), null));
  assert.equal(code, "root.twice");
});

test("tuf: one threshold for two parties -> a party alone can meet it, unless one lost key stops everything", () => {
  const named = { a: pool.a.slice(0, 3), b: pool.b.slice(0, 3) };
  const takes = (threshold: number, keys: readonly KeyObject[]): boolean => {
    const all = [...named.a, ...named.b];
    const root = tufSign(tufRoot(1, futureMs, namesOf(named), threshold), all);
    const store = new TrustedMetadataStore(root);
    return refusal(() => store.updateTimestamp(tufSign(tufList(1, futureMs), keys))) === null;
  };
  const [a1, a2, a3] = named.a;
  const [b1, b2, b3] = named.b;
  assert.ok(a1 && a2 && a3 && b1 && b2 && b3);
  assert.equal(takes(3, [a1, a2, a3]), true, "three of six: party A alone");
  assert.equal(takes(4, [a1, a2, a3, b1]), true, "four of six: one key of B");
  assert.equal(takes(5, [a1, a2, a3, b1]), false, "five of six: two of each");
  assert.equal(takes(5, [a1, a2, b1, b2]), false, "and no quorum with one key of each lost");
});
