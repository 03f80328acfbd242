/** Every payload parser of the links: what is written is read back, and no other bytes are. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { InvalidError } from "../base/assert.ts";
import { Writer } from "../base/bytes.ts";
import {
  decodeChunk,
  decodeFetch,
  decodeOffer,
  encodeChunk,
  encodeFetch,
  encodeOffer,
} from "./depot-link.ts";
import { decodeLeaf, encodeLeaf, leafBytes } from "./leaf.ts";
import {
  chatRoles,
  decodeInput,
  decodeOutput,
  encodeInput,
  encodeOutput,
  finishReasons,
  type Input,
} from "./pair.ts";
import * as router from "./router-link.ts";
import * as server from "./server-link.ts";
import { asTag, formatTag, makeTag, parseTag } from "./tag.ts";

/** Plain objects only: what the parsers return has Object's prototype. */
function record<T>(model: { [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<T> {
  return fc.record<T>(model, { noNullPrototype: true });
}

const u32 = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const u64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
const text = fc.string({ unit: "grapheme", maxLength: 60 });
const name = fc.string({ unit: "grapheme-ascii", maxLength: 20 });
const ids = fc.array(u32, { maxLength: 40 }).map((values) => Uint32Array.from(values));
const digest = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes));
const tag = fc
  .tuple(fc.integer({ min: 1, max: 2 ** 24 - 1 }), fc.integer({ min: 1, max: 2 ** 40 - 1 }))
  .map(([epoch, counter]) => makeTag(epoch, counter));
const finite = fc.double({ noNaN: true, noDefaultInfinity: true }).map((x) => (x === 0 ? 0 : x));

const input: fc.Arbitrary<Input> = record({
  modelId: name,
  params: record({
    maxTokens: u32,
    temperature: finite,
    topK: u32,
    topP: finite,
    stops: fc.array(
      text.filter((stop) => stop !== "" && Buffer.byteLength(stop) <= 128),
      { maxLength: 4 },
    ),
  }),
  prompt: fc.oneof(
    record({ kind: fc.constant("text" as const), text }),
    record({
      kind: fc.constant("chat" as const),
      messages: fc.array(record({ role: fc.constantFrom(...chatRoles), content: text }), {
        minLength: 1,
        maxLength: 5,
      }),
    }),
  ),
});

const output = record({
  promptIds: ids,
  tokenIds: ids,
  text,
  finish: fc.constantFrom(...finishReasons),
});

const leaf = record({
  tag,
  completedMs: fc.nat(),
  seed: u64,
  entryDigest: digest,
  inputDigest: digest,
  outputDigest: digest,
  finish: fc.constantFrom(...finishReasons),
  tokens: u32,
});

const state = record({
  gateway: name,
  modelId: name,
  mode: fc.constantFrom(...router.modes),
  accepting: fc.boolean(),
  halted: fc.boolean(),
  quarantined: fc.boolean(),
  inflight: u32,
  capacity: u32,
});

const part = record({
  text,
  final: fc.option(
    record({
      finish: fc.constantFrom(...finishReasons),
      promptTokens: u32,
      completionTokens: u32,
    }),
  ),
});

function encodePart(value: router.OutputPart): Buffer {
  const out = new Writer();
  router.writeOutputPart(out, value);
  return out.bytes();
}

/** Round trip; then every truncation, one byte more, and random flips: value or InvalidError. */
function check<T>(
  what: string,
  values: fc.Arbitrary<T>,
  encode: (value: T) => Buffer,
  decode: (bytes: Buffer) => unknown,
  growsFreely = false,
): void {
  const total = (bytes: Buffer): void => {
    try {
      decode(bytes);
    } catch (error) {
      assert.ok(error instanceof InvalidError, `${what}: ${String(error)}`);
    }
  };
  test(`payload ${what}: written -> read back the same, and written again the same`, () => {
    fc.assert(
      fc.property(values, (value) => {
        const bytes = Buffer.from(encode(value));
        const read = decode(bytes) as T;
        assert.deepEqual(read, value);
        assert.deepEqual(encode(read), bytes);
      }),
    );
  });
  test(`payload ${what}: truncated or with a byte too many -> invalid`, () => {
    fc.assert(
      fc.property(values, fc.nat(), (value, at) => {
        const bytes = Buffer.from(encode(value));
        if (growsFreely) return;
        assert.throws(() => decode(bytes.subarray(0, at % bytes.length)), InvalidError);
        assert.throws(() => decode(Buffer.concat([bytes, Buffer.of(0)])), InvalidError);
      }),
    );
  });
  test(`payload ${what}: any bytes, and any flip of good ones -> value or InvalidError`, () => {
    fc.assert(
      fc.property(values, fc.nat(), fc.uint8Array({ maxLength: 80 }), (value, at, random) => {
        total(Buffer.from(random));
        const bytes = Buffer.from(encode(value));
        const bit = at % (8 * bytes.length);
        bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) ^ (1 << (bit & 7));
        total(bytes);
      }),
    );
  });
}

check("input", input, encodeInput, decodeInput);
check("output", output, encodeOutput, decodeOutput);
check("leaf", leaf, encodeLeaf, decodeLeaf);
check("state", state, router.encodeState, router.decodeState);
check("output part", part, encodePart, router.decodeOutputPart);
check("admitted", tag, router.encodeAdmitted, router.decodeAdmitted);
check(
  "refused",
  record({ code: fc.constantFrom(...router.refusals), detail: text }),
  ({ code, detail }) => router.encodeRefused(code, detail),
  router.decodeRefused,
);
check("abort", fc.constantFrom(...router.aborts), router.encodeAbort, router.decodeAbort);
check(
  "load-begin",
  record({ gateway: name, modelId: name, sizeBytes: u64, topKMax: u32, contextTokens: u32 }),
  server.encodeLoadBegin,
  server.decodeLoadBegin,
);
check(
  "generate",
  record({ seed: u64, input }),
  ({ seed, input: value }) => server.encodeGenerate(seed, encodeInput(value)),
  server.decodeGenerate,
);
check("prompt", ids, server.encodePrompt, server.decodePrompt);
check(
  "tokens",
  record({ ids, text }),
  (value) => server.encodeTokens(value.ids, value.text),
  server.decodeTokens,
);
check(
  "end",
  fc.constantFrom("stop" as const, "length" as const),
  server.encodeEnd,
  server.decodeEnd,
);
check(
  "failed",
  fc.constantFrom(...server.serverFailures),
  server.encodeFailed,
  server.decodeFailed,
);
check(
  "fetch",
  record({
    root: digest,
    first: u32,
    certificate: fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
  }),
  encodeFetch,
  decodeFetch,
);
check("offer", record({ sizeBytes: u64, chunkBytes: u32, enc: digest }), encodeOffer, decodeOffer);
check(
  "chunk",
  record({
    proof: fc.array(digest, { maxLength: 20 }),
    data: fc.uint8Array({ maxLength: 100 }).map((bytes) => Buffer.from(bytes)),
  }),
  ({ proof, data }) => encodeChunk(proof, data),
  decodeChunk,
  true, // its data is the rest of the frame, whatever its length
);

test("payload leaf: it has its fixed size", () => {
  fc.assert(fc.property(leaf, (value) => encodeLeaf(value).length === leafBytes));
});

test("payload end: a server that says cut-off -> invalid", () => {
  assert.throws(() => server.decodeEnd(Buffer.of(2)), { code: "end.finish" });
});

test("tag: text form -> the same tag, also inside a completion id", () => {
  fc.assert(
    fc.property(tag, (value) => {
      const spelled = formatTag("g1", value);
      assert.deepEqual(parseTag(spelled), { gateway: "g1", tag: value });
      assert.deepEqual(parseTag(`chatcmpl-${spelled}`), { gateway: "g1", tag: value });
    }),
  );
});

test("tag: later epoch or later counter -> higher tag", () => {
  fc.assert(
    fc.property(tag, tag, (a, b) => {
      const [epochA, epochB] = [a >> 40n, b >> 40n];
      if (epochA < epochB) assert.ok(a < b);
    }),
  );
});

test("tag: no epoch, no counter, bad text -> invalid", () => {
  for (const value of [0n, 1n, 1n << 40n]) assert.throws(() => asTag(value), { code: "tag.zero" });
  for (const bad of ["", "g1", "g1.12", "G1.0000010000000001", "g1.0000010000000001x"]) {
    assert.throws(() => parseTag(bad), { code: "tag.text" });
  }
});
