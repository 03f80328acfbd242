import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { InvalidError } from "../base/assert.ts";
import type { Json } from "../format/json.ts";
import { configNumber, difrText, parseDifr, type DifrFile } from "./difr.ts";

/** The example of the public repository's README, character by character. */
const readme = `{
    "config": {
        "model": "model_name",
        "temperature": 0.0
    },
    "samples": [
        {
            "prompt_token_ids": [1, 2, 3],
            "outputs": [
                {
                    "token_ids": [4, 5, 6]
                }
            ]
        }
    ]
}`;

/** Objects of the parser have no prototype; compared as plain ones. */
const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value));

test("difr: the public README's example -> its ids and metadata", () => {
  const file = parseDifr(readme);
  assert.deepEqual(file.samples, [{ promptTokenIds: [1, 2, 3], outputs: [[4, 5, 6]] }]);
  assert.deepEqual(plain(file.config), { model: "model_name", temperature: 0 });
  assert.equal(configNumber(file.config, "temperature"), 0);
  assert.equal(configNumber(file.config, "seed"), null);
  assert.equal(configNumber(file.config, "toString"), null);
  assert.throws(() => configNumber(file.config, "model"), { code: "difr.config" });
});

const id = fc.integer({ min: 0, max: 2 ** 31 - 1 });
const ids = fc.array(id, { maxLength: 12 });
const files: fc.Arbitrary<DifrFile> = fc.record({
  config: fc.dictionary(
    fc.string({ unit: "grapheme" }).filter((key) => key !== "__proto__"),
    fc.oneof(fc.string({ unit: "grapheme" }), fc.integer(), fc.boolean(), fc.constant(null)),
  ),
  samples: fc.array(
    fc.record({
      promptTokenIds: fc.array(id, { minLength: 1, maxLength: 12 }),
      outputs: fc.array(ids, { maxLength: 3 }),
    }),
    { minLength: 1, maxLength: 5 },
  ),
});

test("difr: written and parsed again -> the same, for any metadata and ids", () => {
  fc.assert(
    fc.property(files, (file) => {
      assert.deepEqual(plain(parseDifr(difrText(file))), plain(file));
    }),
  );
});

test("difr: any JSON -> parsed, or an error that names what is wrong; never another one", () => {
  const json = fc.jsonValue() as fc.Arbitrary<Json>;
  const almost = fc.record(
    { config: json, samples: fc.oneof(json, fc.array(json)) },
    { requiredKeys: [] },
  );
  fc.assert(
    fc.property(fc.oneof(json, almost), (value) => {
      try {
        parseDifr(JSON.stringify(value));
      } catch (error) {
        assert.ok(error instanceof InvalidError, String(error));
      }
    }),
    { numRuns: 1000 },
  );
});

test("difr: wrong files -> a message with the field's place", () => {
  const sample = (text: string): string => `{"config": {}, "samples": [${text}]}`;
  const cases: [string, RegExp][] = [
    ["{", /JSON at character/],
    ['{"samples": []}', /config must be an object/],
    ['{"config": {}, "samples": []}', /samples is empty/],
    ['{"config": {}, "samples": [], "more": 1}', /unknown field "more"/],
    [sample('{"prompt_token_ids": [], "outputs": []}'), /samples\[0\]\.prompt_token_ids is empty/],
    [
      sample('{"prompt_token_ids": [1, 2.5], "outputs": []}'),
      /prompt_token_ids\[1\] must be a whole/,
    ],
    [sample('{"prompt_token_ids": [-1], "outputs": []}'), /prompt_token_ids\[0\] must be a number/],
    [
      sample('{"prompt_token_ids": [1], "outputs": [{"token_ids": ["4"]}]}'),
      /outputs\[0\]\.token_ids\[0\]/,
    ],
    [sample('{"prompt_token_ids": [1], "outputs": [{"token_ids": [], "text": ""}]}'), /"text"/],
  ];
  for (const [text, message] of cases) {
    assert.throws(
      () => parseDifr(text),
      (error) => error instanceof InvalidError && message.test(error.message),
      text,
    );
  }
});
