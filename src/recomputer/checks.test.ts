import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { UnavailableError } from "../base/assert.ts";
import { decodeProofRequest } from "../format/proof-request.ts";
import { makeTag } from "../format/tag.ts";
import { checkAgainstModel, checkSeed, openPair, unsupported, type Opening } from "./checks.ts";
import {
  endId,
  entry,
  epochKey,
  FakeEngine,
  proofRequest,
  type Cheat,
} from "../../tests/fake-recomputer.ts";

const tag = makeTag(1, 7);

/** Ids of the findings that all checks before a replay give. */
function findings(cheat: Cheat, at = tag): string[] {
  const opening = openPair(proofRequest(at, cheat), tag, [entry], () => epochKey);
  if (opening.pair === null) return opening.findings.map(({ id }) => id);
  const found = [
    ...checkSeed(opening.pair.leaf, epochKey),
    ...checkAgainstModel(opening.pair, new FakeEngine()),
  ];
  return found.map(({ id }) => id);
}

test("checks: an honest pair -> no finding", () => {
  assert.deepEqual(findings({}), []);
  assert.deepEqual(findings({ params: { temperature: 0 } }), []);
  assert.deepEqual(findings({ params: { maxTokens: 1 } }), []);
});

test("checks: a pair of another tag -> leaf.mismatch", () => {
  assert.deepEqual(findings({}, makeTag(1, 8)), ["leaf.mismatch"]);
});

test("checks: input or output that do not hash to the leaf -> leaf.mismatch", () => {
  const other = decodeProofRequest(proofRequest(makeTag(1, 9)));
  assert.deepEqual(findings({ request: (r) => ({ ...r, input: other.input }) }), ["leaf.mismatch"]);
  assert.deepEqual(findings({ request: (r) => ({ ...r, output: other.output }) }), [
    "leaf.mismatch",
  ]);
  assert.deepEqual(findings({ leaf: { finish: "cut-off" } }), ["leaf.mismatch"]);
  assert.deepEqual(findings({ leaf: { tokens: 3 } }), ["leaf.mismatch"]);
});

test("checks: an entry that is not on our whitelist -> unable, for it says nothing about the server", () => {
  assert.throws(
    () => findings({ leaf: { entryDigest: Buffer.alloc(32, 8) } }),
    (error) => error instanceof UnavailableError && error.code === "recomputer.no-entry",
  );
});

test("checks: another model, or parameters outside the entry's policy -> request.invalid", () => {
  assert.deepEqual(findings({ input: { modelId: "other" } }), ["request.invalid"]);
  assert.deepEqual(findings({ params: { temperature: 2.1 } }), ["request.invalid"]);
  assert.deepEqual(findings({ params: { topP: 0.05 } }), ["request.invalid"]);
  assert.deepEqual(findings({ params: { topK: 41 } }), ["request.invalid"]);
  assert.deepEqual(findings({ params: { topK: 0 } }), ["request.invalid"]);
  assert.deepEqual(findings({ params: { maxTokens: 201 } }), ["request.invalid"]);
});

test("checks: a seed that the epoch key does not give -> seed.law", () => {
  assert.deepEqual(findings({ leaf: { seed: 1n } }), ["seed.law"]);
});

test("checks: other prompt ids than the template gives -> prompt.mismatch", () => {
  const change = (ids: Uint32Array): Uint32Array => ids.map((id, i) => (i === 2 ? id + 1 : id));
  assert.deepEqual(findings({ output: (o) => ({ ...o, promptIds: change(o.promptIds) }) }), [
    "prompt.mismatch",
  ]);
  assert.deepEqual(findings({ output: (o) => ({ ...o, promptIds: o.promptIds.slice(1) }) }), [
    "prompt.mismatch",
  ]);
});

test("checks: text that the ids do not spell -> text.mismatch", () => {
  assert.deepEqual(findings({ output: (o) => ({ ...o, text: `${o.text}!` }) }), ["text.mismatch"]);
  assert.deepEqual(findings({ output: (o) => ({ ...o, text: o.text.slice(1) }) }), [
    "text.mismatch",
  ]);
});

test("checks: a finish reason that does not follow, or ids after the end -> finish.mismatch", () => {
  const short = { params: { maxTokens: 5 } };
  assert.deepEqual(findings({ ...short, output: (o) => ({ ...o, finish: "stop" }) }), [
    "finish.mismatch",
  ]);
  const longer = (ids: Uint32Array): Uint32Array => Uint32Array.from([...ids, endId]);
  assert.deepEqual(
    findings({ ...short, output: (o) => ({ ...o, tokenIds: longer(o.tokenIds) }) }),
    ["finish.mismatch"],
  );
});

test("checks: a pair that was cut off -> held to what is there", () => {
  const cut = (text: (whole: string) => string): Cheat => ({
    params: { maxTokens: 20 },
    output: (o) => ({
      ...o,
      tokenIds: o.tokenIds.slice(0, 4),
      text: text(o.text.slice(0, 4)),
      finish: "cut-off",
    }),
  });
  assert.deepEqual(findings(cut((text) => text)), []);
  assert.deepEqual(findings(cut((text) => text.slice(0, 2))), []);
  assert.deepEqual(findings(cut((text) => `${text}x`)), ["text.mismatch"]);
  const empty = new Uint32Array(0);
  const nothing: Cheat["output"] = () => ({
    ...{ promptIds: empty, tokenIds: empty, text: "", finish: "cut-off" },
  });
  assert.deepEqual(findings({ output: nothing }), []);
  const text: Cheat["output"] = () => ({
    ...{ promptIds: empty, tokenIds: empty, text: "hello", finish: "cut-off" },
  });
  assert.deepEqual(findings({ output: text }), ["prompt.mismatch", "text.mismatch"]);
});

test("checks: any bytes as a proof request -> a finding, never an exception", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 600 }), (bytes) => {
      const opening = openPair(bytes, tag, [entry], () => epochKey);
      assert.equal(opening.pair, null);
      assert.equal(opening.findings.length, 1);
    }),
  );
});

test("checks: any damage to an honest request -> a finding, unable, or the same pair", () => {
  const honest = proofRequest(tag);
  fc.assert(
    fc.property(fc.nat(honest.length - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
      const bytes = Buffer.from(honest);
      bytes[at] = (bytes[at] ?? 0) ^ flip;
      let opening: Opening;
      try {
        opening = openPair(bytes, tag, [entry], () => epochKey);
      } catch (error) {
        assert.ok(error instanceof UnavailableError, String(error)); // the entry's digest was hit
        return;
      }
      if (opening.pair === null) return;
      // The leaf's index, time and seed are covered by later checks, not by the digests.
      const seedHolds = checkSeed(opening.pair.leaf, epochKey).length === 0;
      assert.ok(!seedHolds || at < 8 || (at >= 20 && at < 28), `byte ${at} may change unseen`);
    }),
  );
});

test("checks: a noise law that is not known -> unsupported, in words", () => {
  assert.equal(unsupported(entry), null);
  assert.match(unsupported({ ...entry, noiseLaw: "other/2" }) ?? "", /other\/2/);
});
