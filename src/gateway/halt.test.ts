import assert from "node:assert/strict";
import { test } from "node:test";
import type { Order, VerifiedOrder } from "../format/order.ts";
import { makeTag } from "../format/tag.ts";
import {
  decideOrder,
  haltsPerSigner,
  type OrderDecision,
  type OrderOutcome,
  type OrdersOnDisk,
} from "./halt.ts";

const context = { gateway: "g1", nowMs: 7, lastTag: makeTag(1, 1) };
const common = { gateway: "g1", reason: "r", issuedMs: 1, nonce: "00".repeat(16) };
const nothing: OrdersOnDisk = {
  ...{ halts: [], quarantine: null, sample: null, recheck: null, released: new Set<string>() },
};

function give(standing: OrdersOnDisk, order: Order, digest: string, signer: string): OrderDecision {
  const verified: VerifiedOrder = { order, digest, signer };
  return decideOrder(verified, Buffer.from(digest), standing, context);
}

const halt = (standing: OrdersOnDisk, digest: string, signer = "a"): OrderDecision =>
  give(standing, { action: "shutdown", ...common }, digest, signer);
const release = (standing: OrdersOnDisk, digest: string): OrderDecision =>
  give(standing, { action: "release", halt: digest, ...common }, `release of ${digest}`, "o");

/** The state after a decision, as the state file makes it. */
function after(standing: OrdersOnDisk, { change }: OrderDecision): OrdersOnDisk {
  const { released = [], ...orders } = change ?? {};
  return { ...standing, ...orders, released: new Set([...standing.released, ...released]) };
}

const names = ({ halts }: OrdersOnDisk): string[] => halts.map(({ digest }) => digest);
const halted: OrderOutcome = { kind: "halted", reason: "r" };

test("halt: a second one, of whatever key -> stored too; each ends by its own release, in any order", () => {
  const one = after(nothing, halt(nothing, "h1", "a"));
  const second = halt(one, "h2", "b");
  assert.deepEqual(second.outcome, halted);
  const two = after(one, second);
  assert.deepEqual(names(two), ["h1", "h2"]);
  assert.deepEqual(two.halts[1], { digest: "h2", reason: "r", sinceMs: 7, signer: "b" });
  assert.deepEqual(halt(two, "h1").outcome, { kind: "already-halted" });
  assert.equal(release(two, "h3").outcome.kind, "refused");
  for (const [first, last] of [
    ["h1", "h2"],
    ["h2", "h1"],
  ] as const) {
    const part = release(two, first);
    assert.deepEqual(part.outcome, { kind: "released", ended: ["halt"], halts: 1 });
    const left = after(two, part);
    assert.deepEqual(names(left), [last]);
    assert.deepEqual(halt(left, first), { outcome: { kind: "already-released" }, change: null });
    assert.equal(release(left, first).outcome.kind, "refused");
    const whole = release(left, last);
    assert.deepEqual(whole.outcome, { kind: "released", ended: ["halt"], halts: 0 });
    assert.deepEqual(names(after(left, whole)), []);
  }
});

test("halt: what is milder stands until the last halt is released, and ends with it", () => {
  const stored = { digest: "q", reason: "r", sinceMs: 1 };
  const held = { ...nothing, quarantine: stored, sample: { ...stored, digest: "s", epsilon: 1 } };
  let standing = after(held, halt(held, "h1"));
  standing = after(standing, halt(standing, "h2", "b"));
  assert.equal(release(standing, "q").outcome.kind, "refused");
  standing = after(standing, release(standing, "h1"));
  assert.deepEqual([standing.quarantine, standing.sample], [held.quarantine, held.sample]);
  const last = release(standing, "h2");
  assert.deepEqual(last.outcome, {
    ...{ kind: "released", ended: ["halt", "quarantine", "sample"], halts: 0 },
  });
  const end = after(standing, last);
  assert.deepEqual([end.halts, end.quarantine, end.sample], [[], null, null]);
  assert.deepEqual([...end.released].sort(), ["h1", "h2", "q", "s"]);
});

test("halt: a key with as many as may stand -> one more is refused; another key's is stored", () => {
  let standing = nothing;
  for (let i = 0; i < haltsPerSigner; i++) {
    const decision = halt(standing, `h${i}`);
    assert.equal(decision.outcome.kind, "halted");
    standing = after(standing, decision);
  }
  const more = halt(standing, "more");
  assert.deepEqual([more.outcome.kind, more.change], ["refused", null]);
  assert.equal(halt(standing, "h0").outcome.kind, "already-halted");
  assert.deepEqual(halt(standing, "other", "b").outcome, halted);
  const room = after(standing, release(standing, "h3"));
  assert.deepEqual(halt(room, "more").outcome, halted);
});
