import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { parties, partyKeys } from "../../tests/support.ts";
import { InvalidError } from "../base/assert.ts";
import type { Json } from "./json.ts";
import { encodeEnvelope } from "./dsse.ts";
import {
  encodeRootLines,
  openRootChain,
  sealTrustRoot,
  type RootChain,
  type RootParty,
} from "./trust-root.ts";
import { expiryAt, parseTrustSeen, remember, trustEnds, type TrustSeen } from "./trust-memory.ts";
import { openWhitelist, sealWhitelist, type Whitelist } from "./whitelist.ts";

const keys = [parties.a, parties.b];
const party = (name: string, key: string): RootParty => ({
  ...{ name, keys: [key], thresholds: { whitelist: 1, root: 1 }, operators: [] },
});
const a = party("North", partyKeys.a);
const b = party("South", partyKeys.b);

/** A chain of so many versions; `last` tells apart two that have the same number. */
function chainOf(versions: number, last = 8e15): RootChain {
  const envelopes = Array.from({ length: versions }, (_, i) =>
    sealTrustRoot({ version: i + 1, expiresMs: i + 1 === versions ? last : 8e15, a, b }, keys),
  );
  return openRootChain(Buffer.from(encodeRootLines(envelopes)), null);
}

function listOf(chain: RootChain, version: number, expiresMs = 8e15): Whitelist {
  const rootVersion = chain.current.version;
  const sealed = sealWhitelist({ version, rootVersion, expiresMs, entries: [] }, keys);
  return openWhitelist(Buffer.from(encodeEnvelope(sealed)), chain.current);
}

const two = chainOf(2);
const seen = remember(null, two, listOf(two, 5));

test("memory: a newer whitelist, a newer root, the same again -> remembered, or nothing to remember", () => {
  assert.equal(remember(seen, two, listOf(two, 5)), seen);
  assert.equal(remember(seen, two, listOf(two, 9)).whitelistVersion, 9);
  const three = chainOf(3);
  const later = remember(seen, three, listOf(three, 6));
  assert.deepEqual([later.rootVersion, later.whitelistVersion], [3, 6]);
});

test("memory: an older whitelist, which both parties once signed -> trust.rollback", () => {
  const old = listOf(two, 4);
  // Without the memory it is as good as any: that is the attack.
  assert.equal(remember(null, two, old).whitelistVersion, 4);
  assert.throws(() => remember(seen, two, old), { code: "trust.rollback", message: /version 4/ });
});

test("memory: an older root, cut off at the end -> trust.rollback", () => {
  const one = chainOf(1);
  assert.ok(remember(null, one, listOf(one, 9)));
  assert.throws(() => remember(seen, one, listOf(one, 9)), { code: "trust.rollback" });
});

test("memory: two whitelists, or two roots, of one version -> trust.fork", () => {
  assert.throws(() => remember(seen, two, listOf(two, 5, 7e15)), { code: "trust.fork" });
  const other = chainOf(2, 7e15);
  assert.throws(() => remember(seen, other, listOf(other, 6)), { code: "trust.fork" });
});

test("memory: any sequence of what the parties signed -> versions never go back, a version is one digest", () => {
  const chains = [chainOf(1), two, chainOf(2, 7e15), chainOf(3)];
  const step = fc.record({
    chain: fc.constantFrom(...chains),
    version: fc.integer({ min: 1, max: 4 }),
    expiresMs: fc.constantFrom(7e15, 8e15),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
      let memory: TrustSeen | null = null;
      const digests = new Map<string, string>();
      for (const { chain, version, expiresMs } of steps) {
        const before: TrustSeen | null = memory;
        try {
          memory = remember(before, chain, listOf(chain, version, expiresMs));
        } catch (error) {
          assert.ok(error instanceof InvalidError && error.code.startsWith("trust."));
          continue;
        }
        if (before !== null) {
          assert.ok(memory.rootVersion >= before.rootVersion);
          assert.ok(memory.whitelistVersion >= before.whitelistVersion);
        }
        for (const [name, digest] of [
          [`r${memory.rootVersion}`, memory.rootDigest],
          [`w${memory.whitelistVersion}`, memory.whitelistDigest],
        ] as const) {
          assert.equal(digests.get(name) ?? digest, digest);
          digests.set(name, digest);
        }
      }
    }),
    { numRuns: 60 },
  );
});

test("memory: what was stored -> read back; anything else -> InvalidError", () => {
  assert.deepEqual(parseTrustSeen(JSON.parse(JSON.stringify(seen)) as Json), seen);
  assert.throws(() => parseTrustSeen({ ...seen, rootDigest: "ab" }), InvalidError);
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      assert.throws(() => parseTrustSeen(value as Json), InvalidError);
    }),
    { numRuns: 50 },
  );
});

test("expiry: before, shortly before, at the end -> nothing, a warning, no more boots", () => {
  const day = 86_400_000;
  const end = 1000 * day;
  assert.deepEqual(expiryAt(end, end - 20 * day, 14 * day), { over: null, soon: null });
  assert.match(expiryAt(end, end - 14 * day, 14 * day).soon ?? "", /less than 14 days/);
  assert.match(expiryAt(end, end - 1, 14 * day).soon ?? "", /less than a day/);
  const { over, soon } = expiryAt(end, end, 14 * day);
  assert.match(over ?? "", /has expired/);
  assert.equal(soon, null);
  assert.equal(trustEnds(two, listOf(two, 1, 7e15)), 7e15);
  const short = chainOf(2, 6e15);
  assert.equal(trustEnds(short, listOf(short, 1, 7e15)), 6e15);
});
