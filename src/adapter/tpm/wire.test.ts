import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { InvalidError } from "../../base/assert.ts";
import { Writer } from "../../base/bytes.ts";
import { parseBlob } from "./uid.ts";
import {
  command,
  emptyPassword,
  encodeCommand,
  parseResponse,
  plainCode,
  responseCode,
  responseLength,
  sized,
} from "./wire.ts";

/** A response as a TPM builds it, by part 1, chapter 18. */
function respond(
  handles: readonly number[],
  parameters: Uint8Array,
  auths: readonly { nonce: Uint8Array; attributes: number; hmac: Uint8Array }[],
): Buffer {
  const writer = new Writer()
    .u16(auths.length === 0 ? 0x8001 : 0x8002)
    .u32(0)
    .u32(0);
  for (const handle of handles) writer.u32(handle);
  if (auths.length > 0) writer.u32(parameters.length);
  writer.raw(parameters);
  for (const { nonce, attributes, hmac } of auths) {
    writer.raw(sized(nonce)).u8(attributes).raw(sized(hmac));
  }
  writer.patchU32(2, writer.length);
  return Buffer.from(writer.bytes());
}

const bytes = (maxLength: number): fc.Arbitrary<Uint8Array> => fc.uint8Array({ maxLength });

test("tpm wire: what a TPM builds is read back as it was", () => {
  const auth = fc.record({
    nonce: bytes(32),
    attributes: fc.integer({ min: 0, max: 255 }),
    hmac: bytes(32),
  });
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 0, max: 2 ** 32 - 1 }), { maxLength: 2 }),
      bytes(300),
      fc.array(auth, { maxLength: 3 }),
      (handles, parameters, auths) => {
        const response = parseResponse(respond(handles, parameters, auths), handles.length);
        assert.deepEqual(response.handles, handles);
        assert.deepEqual(response.parameters, Buffer.from(parameters));
        const read = response.auths.map((a) => ({ ...a, nonce: [...a.nonce], hmac: [...a.hmac] }));
        assert.deepEqual(
          read,
          auths.map((a) => ({ ...a, nonce: [...a.nonce], hmac: [...a.hmac] })),
        );
      },
    ),
  );
});

test("tpm wire: any bytes -> a response or InvalidError; any change of length -> InvalidError", () => {
  const invalid = (action: () => unknown): void => {
    assert.throws(action, InvalidError);
  };
  fc.assert(
    fc.property(bytes(120), fc.integer({ min: 0, max: 2 }), (junk, handles) => {
      try {
        parseResponse(junk, handles);
      } catch (error) {
        assert.ok(error instanceof InvalidError);
      }
      const good = respond([], junk, [
        { nonce: junk.subarray(0, 9), attributes: 1, hmac: junk.subarray(9) },
      ]);
      for (let cut = 0; cut < good.length; cut++)
        invalid(() => parseResponse(good.subarray(0, cut), 0));
      invalid(() => parseResponse(Buffer.concat([good, Buffer.alloc(1)]), 0));
    }),
    { numRuns: 50 },
  );
});

test("tpm wire: a stated length that no TPM has -> refused before anything is waited for", () => {
  const header = (length: number): Buffer =>
    Buffer.from(new Writer().u16(0x8001).u32(length).u32(0).bytes());
  assert.equal(responseLength(header(10)), 10);
  for (const length of [0, 9, 4097, 2 ** 32 - 1]) {
    assert.throws(() => responseLength(header(length)), InvalidError);
  }
});

test("tpm wire: commands are those of the specification, byte for byte", () => {
  // TPM2_Startup(CLEAR) and TPM2_GetRandom(8), as every manual prints them.
  assert.equal(
    encodeCommand(command.startup, [], [], Buffer.from([0, 0])).toString("hex"),
    "80010000000c000001440000",
  );
  assert.equal(
    encodeCommand(command.getRandom, [], [], Buffer.from([0, 8])).toString("hex"),
    "80010000000c0000017b0008",
  );
  const withPassword = encodeCommand(command.nvIncrement, [1, 2], [emptyPassword], Buffer.alloc(0));
  assert.equal(
    withPassword.toString("hex"),
    "80020000001f00000134" + "0000000100000002" + "00000009" + "40000009" + "0000" + "00" + "0000",
  );
});

test("tpm wire: response codes lose the number that they blame, and only that", () => {
  assert.equal(plainCode(0x1df), responseCode.integrity);
  assert.equal(plainCode(0x5db), responseCode.signature);
  assert.equal(plainCode(0x99d), responseCode.policyFail);
  assert.equal(plainCode(0x18b), responseCode.handle);
  assert.equal(plainCode(0x126), responseCode.policy);
});

test("sealed blob: any bytes -> a blob or InvalidError", () => {
  fc.assert(
    fc.property(bytes(200), (junk) => {
      for (const input of [junk, Buffer.concat([Buffer.from("WT01"), junk])]) {
        try {
          parseBlob(input);
        } catch (error) {
          assert.ok(error instanceof InvalidError);
        }
      }
    }),
  );
});
