import assert from "node:assert/strict";
import { test } from "node:test";
import { commitmentOf, type DrawCommit, type DrawOpen, type DrawParty } from "../format/draw.ts";
import { encodeRoundOpen } from "../format/leaf.ts";
import {
  decodeShares,
  encodeShares,
  openShare,
  refusesEntry,
  releaseShare,
  type HeldShare,
} from "./share.ts";

const bytes = (byte: number): Buffer => Buffer.alloc(32, byte);
const open = (round: bigint, commitment = bytes(1)): DrawOpen => ({
  ...{ gateway: "g1", epoch: 1, round, commitment, sealTo: bytes(2) },
});

function held(round: bigint, released = false): HeldShare {
  return { round, answers: bytes(1), sealTo: bytes(2), secret: bytes(7), released };
}

const cA = commitmentOf("a", 3n, bytes(7));
const cB = commitmentOf("b", 3n, bytes(8));
const commitOf = (party: DrawParty, changes: Partial<DrawCommit> = {}): DrawCommit => ({
  ...{ gateway: "g1", round: 3n, party, answers: bytes(1), commitment: party === "a" ? cA : cB },
  ...changes,
});
const both = { a: commitOf("a"), b: commitOf("b") };
const entry = (
  changes: { gateway?: Buffer; a?: Buffer; b?: Buffer; round?: bigint } = {},
): Buffer =>
  encodeRoundOpen({
    ...{ round: 3n, atMs: 1, gateway: bytes(1), a: cA, b: cB, threshold: 1n },
    ...changes,
  });

test("share: a first round -> a fresh secret is held; asked again in the same words -> the same one", () => {
  const first = openShare(null, 2n, open(3n), bytes(7));
  assert.deepEqual(first, { kind: "held", share: held(3n) });
  assert.deepEqual(openShare(held(3n), 2n, open(3n), bytes(9)), first);
});

test("share: a second c_G or key for a round, a round that is over, a round too early -> refused", () => {
  const cases: [HeldShare | null, DrawOpen, boolean][] = [
    [held(3n), open(3n, bytes(4)), true],
    [held(3n), { ...open(3n), sealTo: bytes(4) }, true],
    [held(3n, true), open(2n), false],
    [held(3n), open(4n), true],
    [held(3n, true), open(5n), true],
    [null, open(3n), false],
    [null, open(5n), false],
  ];
  for (const [has, asked, suspect] of cases) {
    const answer = openShare(has, 3n, asked, bytes(9));
    assert.ok(answer.kind === "refused" && answer.suspect === suspect);
  }
  assert.equal(openShare(held(3n, true), 3n, open(4n), bytes(9)).kind, "held");
});

test("share: the entry stands with both commitments and the same c_G -> the secret is given, again as often as asked", () => {
  const answer = releaseShare("a", held(3n), "g1", 3n, entry(), both);
  assert.deepEqual(answer, { kind: "held", share: held(3n, true) });
  assert.deepEqual(releaseShare("a", held(3n, true), "g1", 3n, entry(), both), answer);
});

test("share: anything else in the log, or no entry yet -> the secret stays", () => {
  const other = { b: commitOf("b", { commitment: bytes(5) }) };
  const cases: [string, HeldShare | null, Buffer | null, Record<DrawParty, DrawCommit>][] = [
    ["nothing held", null, entry(), both],
    ["another round held", held(2n), entry(), both],
    ["not mirrored yet", held(3n), null, both],
    ["another c_G logged", held(3n), entry({ gateway: bytes(6) }), both],
    ["another c_A logged", held(3n), entry({ a: bytes(6) }), both],
    ["another c_B logged", held(3n), entry({ b: bytes(6) }), both],
    ["another round logged", held(3n), entry({ round: 4n }), both],
    ["another c_B signed", held(3n), entry(), { ...both, ...other }],
    [
      "c_B signed for another c_G",
      held(3n),
      entry(),
      { ...both, b: commitOf("b", { answers: bytes(6) }) },
    ],
    [
      "c_B signed for another gateway",
      held(3n),
      entry(),
      { ...both, b: commitOf("b", { gateway: "g2" }) },
    ],
    ["A's commit in place of B's", held(3n), entry({ b: cA }), { a: both.a, b: both.a }],
  ];
  for (const [what, has, bytesThere, commits] of cases) {
    assert.equal(releaseShare("a", has, "g1", 3n, bytesThere, commits).kind, "refused", what);
  }
});

test("share: a log that opens a round in the party's name without it -> not to be cosigned", () => {
  assert.equal(refusesEntry("a", held(3n), 2n, entry()), null);
  assert.match(refusesEntry("a", held(3n), 2n, entry({ a: bytes(6) })) ?? "", /never gave/);
  assert.match(refusesEntry("a", held(2n, true), 2n, entry()) ?? "", /never gave/);
  assert.match(refusesEntry("a", null, 2n, entry()) ?? "", /never gave/);
  // Looked at when it came: a mirror made anew reads it again.
  assert.equal(refusesEntry("a", held(4n), 2n, entry({ a: bytes(6) })), null);
});

test("share: a round opened again, whatever the entry holds, or out of turn -> not to be cosigned", () => {
  const own = [entry(), entry({ b: bytes(6) }), entry({ gateway: bytes(6) })];
  for (const has of [held(3n), held(3n, true), held(4n), null]) {
    for (const again of own) {
      assert.match(refusesEntry("a", has, 3n, again) ?? "", /opens round 3 again/);
      assert.match(refusesEntry("a", has, 4n, again) ?? "", /again, after round 4/);
      assert.match(refusesEntry("a", has, 1n, again) ?? "", /after round 1: rounds rise by one/);
      assert.match(refusesEntry("a", has, 0n, again) ?? "", /after round 0: rounds rise by one/);
    }
  }
});

test("shares: the file, there and back; damaged -> refused", () => {
  const shares = new Map([
    ["g1", held(3n)],
    ["g2", held(9n, true)],
  ]);
  const file = encodeShares(shares);
  assert.deepEqual(decodeShares(file), shares);
  assert.throws(() => decodeShares(file.subarray(0, 60)), { code: "shares.truncated" });
  assert.throws(() => decodeShares(Buffer.concat([file, bytes(1)])), /shares/);
});
