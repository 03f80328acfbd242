import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { decodeInput, encodeInput } from "../format/pair.ts";
import type { Whitelist } from "../format/whitelist.ts";
import { modelsOf, parseRequest, type ParsedRequest } from "./openai.ts";
import type { ApiError } from "./errors.ts";
import type { RequestKind } from "./openai-params.ts";

const digest = Buffer.alloc(32, 0xab);
const whitelist: Pick<Whitelist, "entries"> = {
  entries: [
    {
      modelId: "m",
      weights: { sizeBytes: 1, chunkBytes: 4096, root: digest },
      tokenizerDigest: digest,
      templateDigest: digest,
      engine: "e",
      engineBuild: digest,
      noiseLaw: "gumbel-philox/1",
      generation: {
        temperatureMax: 1.5,
        topPMin: 0.1,
        topKMax: 40,
        maxTokens: 256,
        contextTokens: 512,
      },
      profile: digest,
      digest,
    },
  ],
};
const models = modelsOf(whitelist);

function parse(body: unknown, kind: RequestKind = "chat"): ParsedRequest {
  const parsed = parseRequest(kind, Buffer.from(JSON.stringify(body)), models);
  assert.ok(parsed.ok, parsed.ok ? "" : parsed.error.message);
  return parsed.request;
}

function refuse(body: unknown, kind: RequestKind = "chat"): ApiError {
  const bytes = Buffer.isBuffer(body) ? body : Buffer.from(JSON.stringify(body));
  const parsed = parseRequest(kind, bytes, models);
  assert.ok(!parsed.ok, "was accepted");
  return parsed.error;
}

const user = { role: "user", content: "hi" };
const chat = (more: object = {}): object => ({ model: "m", messages: [user], ...more });

test("openai: a bare chat -> OpenAI's defaults within the policy", () => {
  const { input, stream, includeUsage, seedGiven, kind } = parse(chat());
  assert.deepEqual(input, {
    modelId: "m",
    params: { maxTokens: 256, temperature: 1, topK: 40, topP: 1, stops: [] },
    prompt: { kind: "chat", messages: [user] },
  });
  assert.deepEqual(
    { stream, includeUsage, seedGiven, kind },
    {
      stream: false,
      includeUsage: false,
      seedGiven: false,
      kind: "chat",
    },
  );
});

test("openai: everything that is supported -> the Input says it", () => {
  const { input, stream, includeUsage, seedGiven } = parse(
    chat({
      messages: [
        { role: "developer", content: "be brief" },
        {
          role: "user",
          content: [
            { type: "text", text: "a" },
            { type: "text", text: "b" },
          ],
        },
        { role: "assistant", content: "c", refusal: null, tool_calls: [] },
        user,
      ],
      max_completion_tokens: 7,
      temperature: 0,
      top_p: 0.5,
      top_k: 3,
      stop: ["x", "yy"],
      stream: true,
      stream_options: { include_usage: true },
      seed: -4,
    }),
  );
  assert.deepEqual(input.params, {
    maxTokens: 7,
    temperature: 0,
    topK: 3,
    topP: 0.5,
    stops: ["x", "yy"],
  });
  assert.deepEqual(input.prompt, {
    kind: "chat",
    messages: [
      { role: "system", content: "be brief" },
      { role: "user", content: "ab" },
      { role: "assistant", content: "c" },
      user,
    ],
  });
  assert.deepEqual([stream, includeUsage, seedGiven], [true, true, true]);
});

test("openai: a completion -> a text prompt, also as a list of one", () => {
  for (const prompt of ["hello", ["hello"]]) {
    const { input, kind } = parse({ model: "m", prompt }, "completion");
    assert.deepEqual(input.prompt, { kind: "text", text: "hello" });
    assert.equal(kind, "completion");
  }
});

test("openai: parameters at values that change nothing -> accepted", () => {
  const neutral = {
    n: 1,
    presence_penalty: 0,
    frequency_penalty: 0,
    logit_bias: {},
    logprobs: false,
    response_format: { type: "text" },
    tools: [],
    tool_choice: "auto",
    parallel_tool_calls: true,
    store: false,
    metadata: { a: "b" },
    service_tier: "auto",
    user: "u",
    modalities: ["text"],
    top_k: -1,
  };
  assert.equal(parse(chat(neutral)).input.params.topK, 40);
  const nulls = Object.fromEntries(Object.keys(neutral).map((key) => [key, null]));
  parse(
    chat({ ...nulls, stop: null, stream: null, max_tokens: null, temperature: null, seed: null }),
  );
  parse({ model: "m", prompt: "x", best_of: 1, echo: false, suffix: null }, "completion");
});

const refusals: readonly [string, object, string, string | null][] = [
  ["n", { n: 2 }, "unsupported_parameter", "n"],
  ["logprobs", { logprobs: true }, "unsupported_parameter", "logprobs"],
  ["a penalty", { presence_penalty: 0.5 }, "unsupported_parameter", "presence_penalty"],
  ["tools", { tools: [{ type: "function" }] }, "unsupported_parameter", "tools"],
  [
    "json mode",
    { response_format: { type: "json_object" } },
    "unsupported_parameter",
    "response_format",
  ],
  ["min_p", { min_p: 0.1 }, "unsupported_parameter", "min_p"],
  ["store", { store: true }, "unsupported_parameter", "store"],
  ["audio", { audio: {} }, "unsupported_parameter", "audio"],
  ["unknown", { frobnicate: 1 }, "unknown_parameter", "frobnicate"],
  ["unknown null", { frobnicate: null }, "unknown_parameter", "frobnicate"],
  ["prompt in a chat", { prompt: "x" }, "unknown_parameter", "prompt"],
  ["text as number", { temperature: "1" }, "invalid_type", "temperature"],
  ["over the policy", { temperature: 1.6 }, "invalid_value", "temperature"],
  ["negative", { temperature: -0.1 }, "invalid_value", "temperature"],
  ["top_p below the policy", { top_p: 0.05 }, "invalid_value", "top_p"],
  ["top_k over the policy", { top_k: 41 }, "invalid_value", "top_k"],
  ["too many tokens", { max_tokens: 257 }, "invalid_value", "max_tokens"],
  ["no tokens", { max_tokens: 0 }, "invalid_value", "max_tokens"],
  ["half a token", { max_tokens: 1.5 }, "invalid_type", "max_tokens"],
  ["two maxima", { max_tokens: 1, max_completion_tokens: 2 }, "invalid_value", "max_tokens"],
  ["five stops", { stop: ["a", "b", "c", "d", "e"] }, "invalid_value", "stop"],
  ["an empty stop", { stop: ["a", ""] }, "invalid_value", "stop[1]"],
  ["a long stop", { stop: "x".repeat(129) }, "invalid_value", "stop"],
  ["stream", { stream: 1 }, "invalid_type", "stream"],
  ["stream_options", { stream_options: [] }, "invalid_type", "stream_options"],
  [
    "usage",
    { stream_options: { include_usage: 1 } },
    "invalid_type",
    "stream_options.include_usage",
  ],
  ["seed", { seed: "1" }, "invalid_type", "seed"],
  ["no messages", { messages: [] }, "invalid_value", "messages"],
  ["missing messages", { messages: undefined }, "missing_parameter", "messages"],
  ["messages as text", { messages: "hi" }, "invalid_type", "messages"],
  ["message as text", { messages: ["hi"] }, "invalid_type", "messages[0]"],
  [
    "content as number",
    { messages: [user, { role: "user", content: 3 }] },
    "invalid_type",
    "messages[1].content",
  ],
  ["role", { messages: [{ role: "tool", content: "x" }] }, "unsupported_role", "messages[0].role"],
  ["field", { messages: [{ ...user, name: "bob" }] }, "unsupported_parameter", "messages[0].name"],
  [
    "image",
    { messages: [{ role: "user", content: [{ type: "image_url" }] }] },
    "unsupported_content",
    "messages[0].content[0].type",
  ],
  [
    "part",
    { messages: [{ role: "user", content: [{ type: "text", text: 1 }] }] },
    "invalid_type",
    "messages[0].content[0].text",
  ],
  [
    "surrogate",
    { messages: [{ role: "user", content: "\ud800" }] },
    "invalid_value",
    "messages[0].content",
  ],
];

for (const [name, more, code, param] of refusals) {
  test(`openai: ${name} -> 400 ${code} that names ${String(param)}`, () => {
    const error = refuse(chat(more));
    assert.deepEqual([error.status, error.code, error.param], [400, code, param]);
    if (param !== null) assert.ok(error.message.includes(param));
  });
}

test("openai: token ids, several prompts or an empty one -> refused", () => {
  for (const prompt of [[1, 2], ["a", "b"], [[1]], "", []]) {
    assert.equal(refuse({ model: "m", prompt }, "completion").param, "prompt");
  }
});

test("openai: an unknown model -> 404 model_not_found", () => {
  const error = refuse({ model: "nope", messages: [] });
  assert.deepEqual([error.status, error.code, error.param], [404, "model_not_found", "model"]);
});

test("openai: bytes that are no JSON object in UTF-8 -> 400 that says which", () => {
  assert.equal(refuse(Buffer.from([0x7b, 0xff, 0x7d])).code, "invalid_utf8");
  assert.equal(refuse(Buffer.from("\ufeff{}")).code, "invalid_json");
  assert.equal(refuse(Buffer.from("{")).code, "invalid_json");
  assert.equal(refuse(Buffer.from("")).code, "invalid_json");
  for (const value of [null, [], 3, "x"]) assert.equal(refuse(value).code, "invalid_type");
  assert.equal(refuse(Buffer.from("[".repeat(200_000))).code, "invalid_json");
  assert.equal(
    refuse(Buffer.from('{"__proto__":{},"model":"m","messages":[]}')).param,
    "__proto__",
  );
});

test("openai: any bytes and any JSON -> a request or an error, never an exception", () => {
  const keys = fc.constantFrom(
    "model",
    "messages",
    "stop",
    "top_p",
    "n",
    "stream_options",
    "seed",
    "x",
  );
  const near = fc.dictionary(keys, fc.oneof(fc.jsonValue(), fc.constant("m"), fc.constant([user])));
  fc.assert(
    fc.property(fc.oneof(fc.jsonValue(), near), (value) => {
      const parsed = parseRequest("chat", Buffer.from(JSON.stringify(value)), models);
      if (!parsed.ok) assert.ok(parsed.error.status >= 400 && parsed.error.message.length < 400);
    }),
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      assert.ok(!parseRequest("completion", Buffer.from(bytes), models).ok);
    }),
  );
});

test("openai: any accepted request -> an Input with one encoding, which reads back the same", () => {
  const request = fc.record(
    {
      temperature: fc.double({ min: 0, max: 1.5, noNaN: true }),
      top_p: fc.double({ min: 0.1, max: 1, noNaN: true }),
      top_k: fc.integer({ min: -1, max: 40 }),
      max_tokens: fc.integer({ min: 1, max: 256 }),
      stop: fc.array(fc.string({ minLength: 1, maxLength: 20 }), { maxLength: 4 }),
      content: fc.string({ unit: "binary" }),
    },
    { requiredKeys: ["content"] },
  );
  fc.assert(
    fc.property(request, ({ content, ...params }) => {
      const { input } = parse(chat({ ...params, messages: [{ role: "user", content }] }));
      const encoded = encodeInput(input);
      assert.deepEqual(encodeInput(decodeInput(encoded)), encoded);
    }),
  );
});
