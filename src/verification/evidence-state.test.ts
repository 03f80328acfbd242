import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { InvalidError } from "../base/assert.ts";
import { decodeEvidence, encodeEvidence } from "./evidence-state.ts";
import { addPair, emptyEvidence, type EvidenceState } from "./sequential.ts";

const nulls = [
  { id: "a", nullMean: 0.01 },
  { id: "b", nullMean: 0.001 },
  { id: "c", nullMean: 0.2 },
];

const states: fc.Arbitrary<EvidenceState> = fc
  .array(
    fc.record({
      x: fc.double({ min: 0, max: 1, noNaN: true }),
      log: fc.oneof(fc.constant(-Infinity), fc.double({ min: -50, max: 50, noNaN: true })),
      extra: fc.boolean(),
      tokens: fc.integer({ min: 1, max: 4096 }),
    }),
    { maxLength: 10 },
  )
  .map((pairs) =>
    pairs.reduce<EvidenceState>(
      (state, { x, log, extra, tokens }) =>
        addPair(
          state,
          [
            { id: "a", evidence: { kind: "bounded", value: x } },
            { id: "b", evidence: { kind: "ratios", logs: [log, 0] } },
            ...(extra ? [{ id: "c", evidence: { kind: "bounded", value: x } } as const] : []),
          ],
          tokens,
          nulls,
        ),
      emptyEvidence([
        { id: "a", kind: "bounded", alternatives: 1 },
        { id: "b", kind: "ratios", alternatives: 2 },
      ]),
    ),
  );

test("evidence-state: any state -> comes back as it was", () => {
  fc.assert(
    fc.property(states, (state) => {
      assert.deepEqual(decodeEvidence(encodeEvidence(state)), state);
    }),
  );
});

/** A valid document with one change made to it. */
function changed(
  change: (document: Record<string, unknown>, first: Record<string, unknown>) => void,
): string {
  const state = addPair(
    emptyEvidence([
      { id: "a", kind: "bounded", alternatives: 1 },
      { id: "b", kind: "ratios", alternatives: 1 },
    ]),
    [{ id: "a", evidence: { kind: "bounded", value: 0.5 } }],
    3,
    nulls,
  );
  const document = JSON.parse(encodeEvidence(state)) as Record<string, unknown>;
  const [first] = document["detectors"] as [Record<string, unknown>];
  change(document, first);
  return JSON.stringify(document);
}

const refusals: [string, RegExp, string][] = [
  ["another schema", /evidence\.schema must be/, changed((d) => (d["schema"] = 2))],
  ["no schema", /evidence\.schema/, changed((d) => delete d["schema"])],
  ["an unknown field", /unknown field "more"/, changed((d) => (d["more"] = 1))],
  ["negative pairs", /evidence\.pairs/, changed((d) => (d["pairs"] = -1))],
  ["fewer tokens than pairs", /evidence\.tokens/, changed((d) => (d["tokens"] = 0))],
  [
    "null for a log",
    /detectors\[0\]\.start\[2\]/,
    changed((_, a) => ((a["start"] as unknown[])[2] = null)),
  ],
  [
    "a missing bettor",
    /detectors\[0\]\.start has 7 bettors/,
    changed((_, a) => (a["start"] as unknown[]).pop()),
  ],
  [
    "accounts of different length",
    /\.change has 7/,
    changed((_, a) => (a["change"] as unknown[]).pop()),
  ],
  ["an unknown kind", /detectors\[0\]\.kind/, changed((_, a) => (a["kind"] = "guess"))],
  ["wealth without bets", /detectors\[0\]\.bets is 0/, changed((_, a) => (a["bets"] = 0))],
  ["more bets than pairs", /detectors\[0\]\.bets exceeds/, changed((_, a) => (a["bets"] = 2))],
  ["capital from nowhere", /add up to 1\.4/, changed((_, a) => (a["share"] = 0.9))],
  ["no reserve", /evidence\.reserve/, changed((d) => (d["reserve"] = 0))],
  ["one id twice", /detectors\[1\]\.id must come after b/, changed((_, a) => (a["id"] = "b"))],
];

for (const [name, message, text] of refusals) {
  test(`evidence-state: ${name} -> InvalidError that names it`, () => {
    assert.throws(
      () => decodeEvidence(text),
      (error: unknown) => error instanceof InvalidError && message.test(error.message),
    );
  });
}

test("evidence-state: numbers that are not finite -> not JSON", () => {
  const text = changed(() => undefined).replace(/"reserve":[^,]*/, '"reserve":1e999');
  assert.throws(() => decodeEvidence(text), InvalidError);
});

test("evidence-state: any text -> a state or InvalidError", () => {
  const valid = changed(() => undefined);
  const cuts = fc.tuple(fc.nat(valid.length), fc.nat(20), fc.string({ maxLength: 8 }));
  fc.assert(
    fc.property(cuts, ([at, drop, put]) => {
      try {
        decodeEvidence(valid.slice(0, at) + put + valid.slice(at + drop));
      } catch (error) {
        assert.ok(error instanceof InvalidError, String(error));
      }
    }),
  );
});
