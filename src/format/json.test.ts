import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { InvalidError } from "../base/assert.ts";
import { Fields, parseJson } from "./json.ts";

/** Objects of this parser have no prototype; deepEqual would mind. */
const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value)) as unknown;

test("json: whatever JSON.stringify writes -> the same value, but for numbers that lose precision", () => {
  const safe = fc.jsonValue({ maxDepth: 6, noUnicodeString: false }).filter((value) => {
    const text = JSON.stringify(value);
    return !/-0(?![.\d])/.test(text);
  });
  fc.assert(
    fc.property(safe, (value) => {
      const text = JSON.stringify(value);
      let parsed: unknown;
      try {
        parsed = parseJson(text);
      } catch (error) {
        assert.ok(error instanceof InvalidError);
        assert.match(error.message, /2\^53|surrogate/);
        return;
      }
      assert.deepEqual(plain(parsed), JSON.parse(text));
    }),
  );
});

test("json: any text -> a value that JSON.parse agrees with, or InvalidError json.syntax", () => {
  const texts = fc.oneof(
    fc.string(),
    fc
      .array(fc.constantFrom(...Array.from('{}[]",:\\ 0123456789.eE+-truefalsn\u00e9')), {
        maxLength: 30,
      })
      .map((parts) => parts.join("")),
  );
  fc.assert(
    fc.property(texts, (text) => {
      let parsed: unknown;
      try {
        parsed = parseJson(text);
      } catch (error) {
        assert.ok(error instanceof InvalidError && error.code === "json.syntax");
        return;
      }
      assert.deepEqual(plain(parsed), plain(JSON.parse(text)));
    }),
    { numRuns: 2000 },
  );
});

test("json: what strict JSON forbids -> json.syntax", () => {
  const bad = [
    ...[
      '{"a":1,"a":2}',
      '{"a":{"b":1,"b":1}}',
      "9007199254740993",
      "1e999",
      "01",
      "+1",
      ".5",
      "1.",
    ],
    ...[
      '"\\ud800"',
      '"\u0001"',
      "[1,]",
      '{"a":1,}',
      "{a:1}",
      "'a'",
      "NaN",
      "",
      " ",
      "1 2",
      "[",
      '"a',
    ],
    ...["[".repeat(40) + "]".repeat(40), '{"a" 1}', '"\\x41"', "tru", "\ufeff1"],
  ];
  for (const text of bad) assert.throws(() => parseJson(text), { code: "json.syntax" }, text);
});

test("json: __proto__ as a key -> an ordinary key", () => {
  const parsed = parseJson('{"__proto__":{"polluted":true}}') as Record<string, unknown>;
  assert.deepEqual(Object.keys(parsed), ["__proto__"]);
  assert.equal(({} as Record<string, unknown>)["polluted"], undefined);
});

test("fields: a field that is missing, of another type or out of range -> named by its path", () => {
  const fields = (): Fields =>
    new Fields(parseJson('{"a":{"n":5,"t":"x","l":[{"i":1.5}]}}'), "doc");
  const inner = fields().object("a");
  assert.equal(inner.number("n", 0, 5), 5);
  assert.throws(() => inner.number("n", 0, 4), /doc\.a\.n must be a number from 0 to 4/);
  assert.throws(() => inner.text("n"), /doc\.a\.n must be a string/);
  assert.throws(() => inner.text("missing"), /doc\.a\.missing must be a string/);
  const [first] = inner.objects("l");
  assert.throws(() => first?.integer("i", 0, 9), /doc\.a\.l\[0\]\.i must be an integer/);
  assert.throws(() => inner.objects("t"), /doc\.a\.t must be a list/);
  assert.throws(() => new Fields([], "doc"), /doc must be an object/);
});

test("fields: a field that nobody asked for -> refused by end()", () => {
  const fields = new Fields(parseJson('{"a":"x","b":"y"}'), "doc");
  fields.text("a");
  assert.throws(() => fields.end(), /doc has an unknown field "b"/);
  fields.text("b");
  fields.end();
});
