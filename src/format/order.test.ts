import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { InvalidError } from "../base/assert.ts";
import { privateKeyFromSeed, publicKeyHex } from "../base/sign.ts";
import { encodeEnvelope, sealEnvelope } from "./dsse.ts";
import {
  decodeOrderResult,
  encodeOrderResult,
  openOrder,
  orderType,
  sealOrder,
  type Order,
  type OrderResult,
} from "./order.ts";

const recomputer = privateKeyFromSeed(Buffer.alloc(32, 1));
const operator = privateKeyFromSeed(Buffer.alloc(32, 2));
const allowed = { shutdown: [publicKeyHex(recomputer)], release: [publicKeyHex(operator)] };
const common = {
  gateway: "g1",
  reason: "it cheated",
  issuedMs: 1_700_000_000_000,
  nonce: "0f".repeat(16),
};
const shutdown: Order = { action: "shutdown", ...common };
const sample: Order = { action: "sample", ...common, epsilon: 0.5 };
const recheck: Order = { action: "recheck", ...common };
const quarantine: Order = { action: "quarantine", ...common };
const release: Order = { action: "release", ...common, halt: "ab".repeat(32) };

/** An order as its signer might wrongly write it. */
const sealed = (json: unknown): Buffer =>
  Buffer.from(
    encodeEnvelope(sealEnvelope(orderType, Buffer.from(JSON.stringify(json)), [recomputer])),
  );

test("order: sealed by whoever may give it -> opened, with digest and signer", () => {
  const opened = openOrder(sealOrder(shutdown, recomputer), allowed);
  assert.deepEqual(opened.order, shutdown);
  assert.equal(opened.signer, publicKeyHex(recomputer));
  assert.deepEqual(openOrder(sealOrder(release, operator), allowed).order, release);
  for (const order of [sample, recheck, quarantine]) {
    assert.deepEqual(openOrder(sealOrder(order, recomputer), allowed).order, order);
    assert.throws(() => openOrder(sealOrder(order, operator), allowed), {
      code: "order.signature",
    });
  }
});

test("order: the vector of spec/order.md -> the same bytes and digest", () => {
  const opened = openOrder(sealOrder(shutdown, recomputer), allowed);
  assert.equal(opened.digest, "f232dd493f37893b1215ac05f52ff917f31f91f50f5b7ad1bf77ecd966c4a60d");
});

test("order: the second vector of spec/order.md -> the same digest", () => {
  const opened = openOrder(sealOrder(sample, recomputer), allowed);
  assert.equal(opened.digest, "306e5c6b63eac8e1b785b2cf1f84b80220e27054559120d82c57604c34948555");
});

test("order: signed by somebody else, or for another action -> order.signature", () => {
  assert.throws(() => openOrder(sealOrder(shutdown, operator), allowed), {
    code: "order.signature",
  });
  assert.throws(() => openOrder(sealOrder(release, recomputer), allowed), {
    code: "order.signature",
  });
  const nobody = { shutdown: [], release: [] };
  assert.throws(() => openOrder(sealOrder(shutdown, recomputer), nobody), {
    code: "order.signature",
  });
});

test("order: wrong fields -> InvalidError that names them", () => {
  const bad: [unknown, RegExp][] = [
    [{ ...shutdown, action: "explode" }, /unknown action/],
    [{ ...shutdown, halt: "ab".repeat(32) }, /unknown field "halt"/],
    [{ ...shutdown, epsilon: 1 }, /unknown field "epsilon"/],
    [{ ...recheck, epsilon: 1 }, /unknown field "epsilon"/],
    [{ ...quarantine, halt: "ab".repeat(32) }, /unknown field "halt"/],
    [{ ...sample, epsilon: 0 }, /order\.epsilon must be above 0/],
    [{ ...sample, epsilon: 1.5 }, /order\.epsilon/],
    [{ ...recheck, action: "sample" }, /order\.epsilon/],
    [{ ...shutdown, gateway: 1 }, /order\.gateway/],
    [{ ...shutdown, issuedMs: -1 }, /order\.issuedMs/],
    [{ ...shutdown, nonce: "0F".repeat(16) }, /hex/],
    [{ ...shutdown, reason: "x".repeat(2001) }, /too long/],
    [{ ...release, halt: "ab" }, /hex/],
    [{ ...release, extra: true }, /extra/],
  ];
  for (const [json, message] of bad) {
    assert.throws(() => openOrder(sealed(json), allowed), { name: "InvalidError", message });
  }
  assert.throws(() => openOrder(Buffer.alloc(70_000, 0x20), allowed), { code: "order.too-long" });
});

test("order: any damage to a sealed order -> InvalidError, or an order that was signed", () => {
  const honest = sealOrder(shutdown, recomputer);
  fc.assert(
    fc.property(fc.nat(honest.length - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
      const bytes = Buffer.from(honest);
      bytes[at] = (bytes[at] ?? 0) ^ flip;
      try {
        assert.deepEqual(openOrder(bytes, allowed).order, shutdown);
      } catch (error) {
        assert.ok(error instanceof InvalidError, String(error));
      }
    }),
  );
});

test("order result: encode then decode -> the same; anything else -> order.result", () => {
  const results: OrderResult[] = [
    { kind: "obeyed", detail: "" },
    { kind: "already-obeyed", detail: "" },
    { kind: "already-halted", detail: "" },
    { kind: "already-released", detail: "" },
    { kind: "refused", detail: "nobody signed this" },
  ];
  for (const result of results) {
    assert.deepEqual(decodeOrderResult(encodeOrderResult(result)), result);
  }
  assert.equal(
    encodeOrderResult(results[4] ?? results[0]!).toString(),
    "refused: nobody signed this",
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
      assert.throws(() => decodeOrderResult(bytes), InvalidError);
    }),
  );
});
