import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { InvalidError } from "../base/assert.ts";
import { leafBytes } from "./leaf.ts";
import {
  decodeEpoch,
  decodeHeartbeat,
  decodeProofRequest,
  decodeVerdictNotice,
  encodeEpoch,
  encodeHeartbeat,
  encodeProofRequest,
  encodeVerdictNotice,
  verdictNotices,
} from "./proof-request.ts";

const bytes = (max: number, min = 0): fc.Arbitrary<Buffer> =>
  fc.uint8Array({ minLength: min, maxLength: max }).map((list) => Buffer.from(list));

const u64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });

test("epoch: encode then decode -> the same notice", () => {
  const gateway = fc
    .string({ unit: "grapheme", maxLength: 20 })
    .filter((text) => text.isWellFormed());
  const notices = fc.record(
    { gateway, epoch: fc.nat(2 ** 24 - 1), epochKey: bytes(32, 32) },
    { noNullPrototype: true },
  );
  fc.assert(
    fc.property(notices, (notice) => assert.deepEqual(decodeEpoch(encodeEpoch(notice)), notice)),
  );
});

test("proof request: encode then decode -> the same request, in memory of its own", () => {
  const leaf = bytes(leafBytes, leafBytes);
  const requests = fc.record(
    {
      leafIndex: fc.bigInt({ min: 0n, max: 2n ** 63n - 1n }),
      ...{ leaf, input: bytes(300), output: bytes(300), rechecked: fc.constant(true as const) },
    },
    { noNullPrototype: true, requiredKeys: ["leafIndex", "leaf", "input", "output"] },
  );
  fc.assert(
    fc.property(requests, (request) => {
      const encoded = encodeProofRequest(request);
      const decoded = decodeProofRequest(encoded);
      encoded.fill(0);
      assert.deepEqual(decoded, request);
    }),
  );
});

test("proof request: the example of spec/proof-request.md -> its bytes", () => {
  const request = { leafIndex: 5n, leaf: Buffer.alloc(leafBytes, 0xaa) };
  const encoded = encodeProofRequest({
    ...request,
    input: Buffer.from("in"),
    output: Buffer.from("out"),
  });
  const leaf = "aa".repeat(leafBytes);
  assert.equal(encoded.toString("hex"), `0000000000000005${leaf}00000002696e000000036f7574`);
});

test("heartbeat: encode then decode -> the same", () => {
  fc.assert(
    fc.property(fc.nat(2 ** 31), u64, (queued, judged) => {
      assert.deepEqual(decodeHeartbeat(encodeHeartbeat({ queued, judged })), { queued, judged });
    }),
  );
});

test("verdict notice: pass and fail -> bare words; anything else -> verdict.kind", () => {
  assert.deepEqual(
    verdictNotices.map((kind) => encodeVerdictNotice(kind).toString()),
    ["pass", "fail"],
  );
  for (const kind of verdictNotices) {
    assert.equal(decodeVerdictNotice(encodeVerdictNotice(kind)), kind);
  }
  for (const text of ["", "unable", "PASS", "pass ", '"pass"']) {
    assert.throws(() => decodeVerdictNotice(Buffer.from(text)), { code: "verdict.kind" });
  }
});

test("recomputer payloads: any bytes, cut or too long -> a value that encodes to them, or InvalidError", () => {
  const forms: [(b: Buffer) => Buffer, string][] = [
    [(b) => encodeEpoch(decodeEpoch(b)), "epoch"],
    [(b) => encodeProofRequest(decodeProofRequest(b)), "proof request"],
    [(b) => encodeHeartbeat(decodeHeartbeat(b)), "heartbeat"],
  ];
  for (const [again, name] of forms) {
    fc.assert(
      fc.property(bytes(250), (payload) => {
        try {
          assert.deepEqual(Buffer.from(again(payload)), payload, name);
        } catch (error) {
          assert.ok(error instanceof InvalidError, `${name}: ${String(error)}`);
        }
      }),
    );
  }
});
