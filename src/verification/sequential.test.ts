import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  addPair,
  cashAfter,
  detectorLogs,
  emptyEvidence,
  logChange,
  logE,
  logEntryWeight,
  type DetectorEvidence,
  type DetectorShape,
  type EvidenceState,
} from "./sequential.ts";

const shapes: DetectorShape[] = [
  { id: "margin", kind: "bounded", alternatives: 1 },
  { id: "temper", kind: "ratios", alternatives: 2 },
];
const nulls = [
  { id: "margin", nullMean: 0.1 },
  { id: "temper", nullMean: 0 },
  { id: "later", nullMean: 0.2 },
];
const margin = (value: number): DetectorEvidence => ({
  id: "margin",
  evidence: { kind: "bounded", value },
});
const later = (value: number): DetectorEvidence => ({
  id: "later",
  evidence: { kind: "bounded", value },
});
const temper = (...logs: number[]): DetectorEvidence => ({
  id: "temper",
  evidence: { kind: "ratios", logs },
});

interface Pair {
  readonly evidence: DetectorEvidence[];
  readonly tokens: number;
}

const pairs: fc.Arbitrary<Pair> = fc.record({
  evidence: fc
    .record({
      x: fc.option(fc.double({ min: 0, max: 1, noNaN: true })),
      logs: fc.option(
        fc.tuple(fc.double({ min: -9, max: 9, noNaN: true }), fc.constant(-Infinity)),
      ),
      y: fc.option(fc.double({ min: 0, max: 1, noNaN: true })),
    })
    .map(({ x, logs, y }) => [
      ...(x === null ? [] : [margin(x)]),
      ...(logs === null ? [] : [temper(...logs)]),
      ...(y === null ? [] : [later(y)]),
    ]),
  tokens: fc.integer({ min: 1, max: 1000 }),
});

const after = (list: readonly Pair[], from = emptyEvidence(shapes)): EvidenceState =>
  list.reduce((state, { evidence, tokens }) => addPair(state, evidence, tokens, nulls), from);

test("sequential: nothing seen -> both e-values are 1", () => {
  for (const state of [emptyEvidence(shapes), emptyEvidence([])]) {
    assert.ok(Math.abs(logE(state)) < 1e-12);
    assert.ok(Math.abs(logChange(state)) < 1e-12);
  }
});

test("sequential: whatever came before, an honest next pair -> neither account gains, by enumeration", () => {
  // Joint outcomes in which the detectors depend on each other as they like; each marginal is at its null.
  const joint = [
    { p: 0.7, evidence: [margin(0), temper(Math.log(0.5), -Infinity), later(0)] },
    { p: 0.1, evidence: [margin(0.2), temper(Math.log(0.5), Math.log(2)), later(0.2)] },
    { p: 0.1, evidence: [margin(0.05), temper(Math.log(2), Math.log(3)), later(1)] },
    { p: 0.1, evidence: [margin(0.75), temper(Math.log(4), Math.log(5)), later(0.8)] },
  ];
  fc.assert(
    fc.property(
      fc.array(pairs, { maxLength: 12 }),
      fc.integer({ min: 1, max: 999 }),
      (past, tokens) => {
        const state = after(past);
        for (const account of [logE, logChange]) {
          const before = Math.exp(account(state));
          const mean = joint.reduce(
            (sum, { p, evidence }) =>
              sum + p * Math.exp(account(addPair(state, evidence, tokens, nulls))),
            0,
          );
          assert.ok(mean <= before * (1 + 1e-9), `${mean} after ${before}`);
        }
      },
    ),
  );
});

test("sequential: a dishonest next pair -> the enumeration would see the gain", () => {
  const outcomes = [0, 0.75].map((value) =>
    addPair(emptyEvidence(shapes), [margin(value)], 64, nulls),
  );
  const mean = outcomes.reduce((sum, state) => sum + Math.exp(logE(state)) / 2, 0);
  assert.ok(mean > 1.1);
});

test("sequential: the change account -> sum over change points of weight times product", () => {
  const values = [0, 0.3, 0, 0.9, 0.05, 0, 0.6];
  const only: DetectorShape[] = [{ id: "margin", kind: "bounded", alternatives: 1 }];
  const state = values.reduce(
    (from, value) => addPair(from, [margin(value)], 64, nulls),
    emptyEvidence(only),
  );
  const stakes = Array.from({ length: 8 }, (_, j) => 0.9 * 2 ** -j);
  const product = (stake: number, from: number): number =>
    values.slice(from).reduce((wealth, value) => wealth * (1 + stake * (value / 0.1 - 1)), 1);
  const weight = (j: number): number => 1 / (1 + Math.log(j)) - 1 / (1 + Math.log(j + 1));
  const wealth = stakes.map(
    (stake) =>
      values.reduce((sum, _, j) => sum + weight(j + 1) * product(stake, j), 0) +
      1 / (1 + Math.log(values.length + 1)),
  );
  const expected = 1 / 8 + (7 / 8) * (wealth.reduce((a, b) => a + b, 0) / stakes.length);
  assert.ok(Math.abs(Math.exp(logChange(state)) - expected) < 1e-12);
  const fromStart = stakes.reduce((sum, stake) => sum + product(stake, 0), 0) / stakes.length;
  assert.ok(Math.abs(Math.exp(logE(state)) - (1 / 8 + (7 / 8) * fromStart)) < 1e-12);
});

test("sequential: entry weights -> all money enters in the end, none twice", () => {
  let entered = 0;
  for (let j = 1; j <= 100_000; j++) {
    entered += Math.exp(logEntryWeight(j));
    if (j === 1 || j === 1000 || j === 100_000) {
      assert.ok(Math.abs(entered + cashAfter(j) - 1) < 1e-9, `after ${j}`);
    }
  }
  assert.ok(
    Math.abs(logEntryWeight(1e12) - (-Math.log(1e12) - 2 * Math.log1p(Math.log(1e12)))) < 1e-6,
  );
});

test("sequential: order of detectors and of nulls -> the same state", () => {
  fc.assert(
    fc.property(fc.array(pairs, { minLength: 1, maxLength: 8 }), (list) => {
      const reversed = list.reduce(
        (state, { evidence, tokens }) =>
          addPair(state, [...evidence].reverse(), tokens, [...nulls].reverse()),
        emptyEvidence([...shapes].reverse()),
      );
      assert.deepEqual(reversed, after(list));
    }),
  );
});

test("sequential: adding a pair -> the state before is untouched", () => {
  const state = after([{ evidence: [margin(0.4)], tokens: 10 }]);
  const copy = structuredClone(state);
  addPair(state, [margin(1), later(1)], 10, nulls);
  assert.deepEqual(state, copy);
});

test("sequential: a detector that comes later -> paid from the reserve, no free money", () => {
  const before = after(Array.from({ length: 500 }, () => ({ evidence: [margin(0)], tokens: 64 })));
  assert.ok(logE(before) < -0.5);
  const fresh = addPair(before, [later(0.2)], 64, nulls);
  assert.ok(
    Math.abs(logE(fresh) - logE(before)) < 1e-12,
    "a pair at the null mean changes nothing",
  );
  assert.deepEqual(
    fresh.detectors.map(({ id, share, bets }) => [id, share, bets]),
    [
      ["later", 1 / 16, 1],
      ["margin", 7 / 16, 500],
      ["temper", 7 / 16, 0],
    ],
  );
  const [first] = detectorLogs(fresh);
  assert.ok(Math.abs(first?.logE ?? NaN) < 1e-12);
});

test("sequential: no null mean or no evidence -> no bet, but the pair counts", () => {
  const state = addPair(emptyEvidence(shapes), [margin(1)], 7, []);
  assert.deepEqual([state.pairs, state.tokens, logE(state)], [1, 7, logE(emptyEvidence(shapes))]);
  assert.deepEqual(state.detectors, emptyEvidence(shapes).detectors);
});

test("sequential: ten million honest pairs, then a cheat -> finite logs, and the change is still seen", () => {
  // Honest pairs show nothing: each multiplies by the same factors, so the sum is known in closed form.
  const honest = addPair(emptyEvidence(shapes), [margin(0)], 64, nulls);
  const stored: EvidenceState = {
    ...honest,
    pairs: 1e7,
    tokens: 64e7,
    detectors: honest.detectors.map((account) =>
      account.id === "margin"
        ? {
            ...account,
            bets: 1e7,
            start: account.start.map((log) => log * 1e7),
            change: account.start.map(
              (log) => logEntryWeight(1e7) + log - Math.log(-Math.expm1(log)),
            ),
          }
        : account,
    ),
  };
  let state = stored;
  let used = 0;
  while (logChange(state) < 18.4) {
    state = addPair(state, [margin(0.5)], 64, nulls);
    used++;
    assert.ok(used < 100 && Number.isFinite(logE(state)));
  }
  assert.ok(used > 20 && used < 40, `${used} pairs`);
});

test("sequential: a detector that changed its shape under its id, or occurs twice -> BugError", () => {
  const state = emptyEvidence(shapes);
  const add =
    (...evidence: DetectorEvidence[]) =>
    () =>
      addPair(state, evidence, 1, nulls);
  assert.throws(add(temper(0)), /temper has 6 bettors, its evidence feeds 3/);
  assert.throws(
    add({ id: "temper", evidence: { kind: "bounded", value: 0 } }),
    /account of temper is of kind ratios/,
  );
  assert.throws(add(margin(0), margin(0)), /margin, margin/);
});
