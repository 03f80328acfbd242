/** The checks that read over a payload agree with the parsers that decode it, on any bytes. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { InvalidError } from "../base/assert.ts";
import { Writer } from "../base/bytes.ts";
import { encodeLeaf, tagOfLeaf } from "./leaf.ts";
import {
  checkInput,
  decodeInput,
  decodeOutput,
  encodeInput,
  encodeOutput,
  writeOutput,
} from "./pair.ts";
import { writeOutputPart, writeRawOutputPart } from "./router-link.ts";
import {
  checkPromptFrame,
  checkTokensFrame,
  decodePrompt,
  decodeTokens,
  encodePrompt,
  encodeTokens,
} from "./server-link.ts";
import { makeTag } from "./tag.ts";

const text = fc.string({ unit: "grapheme", maxLength: 40 });
const ids = fc.array(fc.nat(2 ** 32 - 1), { maxLength: 20 });

/** Valid encodings, and the same with a byte changed, cut off or added. */
function spoilt(valid: fc.Arbitrary<Buffer>): fc.Arbitrary<Buffer> {
  const changed = fc.tuple(valid, fc.nat(), fc.nat(255)).map(([bytes, at, byte]) => {
    const copy = Buffer.from(bytes);
    if (copy.length > 0) copy[at % copy.length] = byte;
    return copy;
  });
  const cut = fc
    .tuple(valid, fc.nat())
    .map(([bytes, n]) => bytes.subarray(0, n % (bytes.length + 1)));
  return fc.oneof(
    valid,
    changed,
    cut,
    valid.map((bytes) => Buffer.concat([bytes, Buffer.of(0)])),
  );
}

/** What an action gives, or the code of its InvalidError. */
function outcome(action: () => unknown): unknown {
  try {
    return action();
  } catch (error) {
    assert.ok(error instanceof InvalidError);
    return error.code;
  }
}

const input = fc
  .record({
    modelId: fc.string({ maxLength: 10 }),
    temperature: fc.constantFrom(0, 0.7, 1),
    stops: fc.array(fc.string({ unit: "grapheme", minLength: 1, maxLength: 8 }), { maxLength: 3 }),
    prompt: fc.oneof(
      text.map((value) => ({ kind: "text" as const, text: value })),
      fc
        .array(
          text.map((content) => ({ role: "user" as const, content })),
          { minLength: 1, maxLength: 3 },
        )
        .map((messages) => ({ kind: "chat" as const, messages })),
    ),
  })
  .map(({ modelId, temperature, stops, prompt }) =>
    encodeInput({
      modelId,
      params: { maxTokens: 9, temperature, topK: 3, topP: 1, stops },
      prompt,
    }),
  );

test("raw input: any bytes -> accepted and refused exactly as the decoder does", () => {
  fc.assert(
    fc.property(spoilt(input), (bytes) => {
      const decoded = outcome(() => {
        const { modelId, params } = decodeInput(bytes);
        return { modelId, params };
      });
      assert.deepEqual(
        outcome(() => checkInput(bytes)),
        decoded,
      );
    }),
    { numRuns: 2000 },
  );
});

test("raw PROMPT: any bytes -> as the decoder; the view is the encoding of the same ids", () => {
  fc.assert(
    fc.property(spoilt(ids.map((values) => encodePrompt(values))), (bytes) => {
      const decoded = outcome(() => encodePrompt(decodePrompt(bytes)));
      assert.deepEqual(
        outcome(() => Buffer.from(checkPromptFrame(bytes))),
        decoded,
      );
    }),
    { numRuns: 1000 },
  );
});

test("raw TOKENS: any bytes -> as the decoder; the views spell the same ids and text", () => {
  const frame = fc.tuple(ids, text).map(([values, value]) => encodeTokens(values, value));
  fc.assert(
    fc.property(spoilt(frame), (bytes) => {
      const decoded = outcome(() => {
        const tokens = decodeTokens(bytes);
        return { ids: [...tokens.ids], text: tokens.text };
      });
      const raw = outcome(() => {
        const tokens = checkTokensFrame(bytes);
        assert.equal(tokens.ids.length, 4 * tokens.count);
        const values = Array.from({ length: tokens.count }, (_, i) =>
          tokens.ids.readUInt32BE(4 * i),
        );
        return { ids: values, text: tokens.text.toString("utf8") };
      });
      assert.deepEqual(raw, decoded);
    }),
    { numRuns: 2000 },
  );
});

test("raw output: encoded parts -> the same bytes as the encoder's", () => {
  fc.assert(
    fc.property(ids, ids, text, (prompt, tokens, value) => {
      const [promptIds, tokenIds] = [Uint32Array.from(prompt), Uint32Array.from(tokens)];
      const expected = encodeOutput({ promptIds, tokenIds, text: value, finish: "length" });
      const out = new Writer();
      writeOutput(
        out,
        "length",
        encodePrompt(prompt),
        encodePrompt(tokens).subarray(4),
        Buffer.from(value),
      );
      assert.deepEqual(out.bytes(), expected);
      assert.equal(decodeOutput(out.bytes()).text, value);
    }),
  );
});

test("raw OUTPUT part: UTF-8 -> the same bytes as from the string", () => {
  fc.assert(
    fc.property(text, (value) => {
      const final = { finish: "stop" as const, promptTokens: 3, completionTokens: 4 };
      for (const end of [null, final]) {
        const [a, b] = [new Writer(), new Writer()];
        writeOutputPart(a, { text: value, final: end });
        writeRawOutputPart(b, Buffer.from(value), end);
        assert.deepEqual(b.bytes(), a.bytes());
      }
    }),
  );
});

test("leaf: encoded -> its tag can be read from its place", () => {
  const tag = makeTag(3, 77);
  const digest = Buffer.alloc(32, 5);
  const digests = { entryDigest: digest, inputDigest: digest, outputDigest: digest };
  const leaf = encodeLeaf({ tag, completedMs: 1, seed: 2n, ...digests, finish: "stop", tokens: 1 });
  assert.equal(tagOfLeaf(leaf), tag);
});
