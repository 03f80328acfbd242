/**
 * Ordinary OpenAI clients against the router, unchanged: the official `openai` package, Vercel's
 * AI SDK and curl. Behind it stands a fake gateway that says "Hello there.".
 */
import assert from "node:assert/strict";
import { execFile, spawnSync } from "node:child_process";
import { test, type TestContext } from "node:test";
import { promisify } from "node:util";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, streamText } from "ai";
import OpenAI, {
  APIConnectionError,
  APIError,
  APIUserAbortError,
  BadRequestError,
  InternalServerError,
  NotFoundError,
  RateLimitError,
} from "openai";
import { startRouter, type RouterStart } from "../../src/bin/router.ts";
import { parseTag } from "../../src/format/tag.ts";
import { demoModel, demoWhitelist, FakeGateway, silent } from "../fake-gateway.ts";

interface Site {
  readonly url: string;
  readonly gateway: FakeGateway;
  readonly client: OpenAI;
}

async function site(t: TestContext, limits: RouterStart["limits"] = {}): Promise<Site> {
  const gateway = new FakeGateway("g1");
  const router = await startRouter({
    name: "r1",
    host: "127.0.0.1",
    port: 0,
    whitelist: demoWhitelist,
    gateways: ["g1"],
    dial: () => gateway.dial(),
    logger: silent,
    limits,
  });
  t.after(() => router.close(0));
  const url = `http://127.0.0.1:${router.port}`;
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "any", maxRetries: 0 });
  return { url, gateway, client };
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

/** Deprecated at OpenAI and still sent by many: spread, so that types do not see it. */
const seed: object = { seed: 1 };

const messages = [{ role: "user" as const, content: "hi" }];

test("openai client: chat -> text, usage, tag as id and header, receipt's name", async (t) => {
  const { client, gateway } = await site(t);
  const { data, response, request_id } = await client.chat.completions
    .create({ model: demoModel, messages, temperature: 0.5, max_completion_tokens: 9, ...seed })
    .withResponse();
  assert.equal(data.choices[0]?.message.content, "Hello there.");
  assert.equal(data.choices[0]?.finish_reason, "stop");
  assert.deepEqual(data.usage, { prompt_tokens: 5, completion_tokens: 3, total_tokens: 8 });
  assert.equal(request_id, data.id);
  assert.equal(parseTag(data.id).gateway, "g1");
  assert.equal(data.id, `chatcmpl-${response.headers.get("x-weir-tag") ?? ""}`);
  assert.equal(response.headers.get("x-weir-seed"), "overridden");
  assert.equal(gateway.calls[0]?.input.params.maxTokens, 9);
  const next = await client.chat.completions.create({
    model: demoModel,
    messages: [...messages, data.choices[0].message, ...messages],
  });
  assert.notEqual(next.id, data.id);
});

test("openai client: streamed chat -> role, deltas, finish, usage", async (t) => {
  const { client } = await site(t);
  const stream = await client.chat.completions.create({
    model: demoModel,
    messages,
    stream: true,
    stream_options: { include_usage: true },
  });
  const chunks = await collect(stream);
  const deltas = chunks.flatMap((chunk) => chunk.choices.map((choice) => choice.delta));
  assert.equal(deltas[0]?.role, "assistant");
  assert.equal(deltas.map((delta) => delta.content ?? "").join(""), "Hello there.");
  assert.equal(chunks.at(-2)?.choices[0]?.finish_reason, "stop");
  assert.equal(chunks.at(-1)?.usage?.total_tokens, 8);
  assert.equal(new Set(chunks.map((chunk) => chunk.id)).size, 1);
});

test("openai client: its stream helper and legacy completions -> the same text", async (t) => {
  const { client } = await site(t);
  const helper = client.chat.completions.stream({ model: demoModel, messages });
  assert.equal((await helper.finalChatCompletion()).choices[0]?.message.content, "Hello there.");
  const plain = await client.completions.create({ model: demoModel, prompt: "Once" });
  assert.equal(plain.choices[0]?.text, "Hello there.");
  const stream = await client.completions.create({
    model: demoModel,
    prompt: "Once",
    stream: true,
  });
  const chunks = await collect(stream);
  assert.equal(chunks.map((chunk) => chunk.choices[0]?.text ?? "").join(""), "Hello there.");
});

test("openai client: models -> the whitelist", async (t) => {
  const { client } = await site(t);
  const models = await collect(client.models.list());
  assert.deepEqual(
    models.map((model) => model.id),
    [demoModel],
  );
  assert.equal((await client.models.retrieve(demoModel)).id, demoModel);
  await assert.rejects(client.models.retrieve("other"), NotFoundError);
});

test("openai client: abort -> the gateway hears WITHDRAW, before and after the first byte", async (t) => {
  const { client, gateway } = await site(t);
  gateway.behave = (call): void => void call.admit();
  const before = new AbortController();
  const waiting = client.chat.completions.create(
    { model: demoModel, messages },
    { signal: before.signal },
  );
  const aborted = assert.rejects(waiting, APIUserAbortError);
  await gateway.until(() => gateway.calls.length === 1);
  before.abort();
  await aborted;
  await gateway.calls[0]!.withdrawn;

  gateway.behave = (call): void => void call.admit().text("first");
  const stream = await client.chat.completions.create({ model: demoModel, messages, stream: true });
  for await (const chunk of stream) {
    if (chunk.choices[0]?.delta.content === "first") break;
  }
  await gateway.calls[1]!.withdrawn;
});

test("openai client: errors -> its own error classes, with code and param", async (t) => {
  const { client, gateway } = await site(t, { inflight: 1, queueMs: 0 });
  const ask = (more: object = {}): Promise<unknown> =>
    client.chat.completions.create({ model: demoModel, messages, ...more });
  const fails = (
    promise: Promise<unknown>,
    kind: abstract new (...args: never) => unknown,
    code: string,
    param?: string,
  ): Promise<void> =>
    assert.rejects(promise, (error) => {
      assert.ok(error instanceof APIError && error instanceof kind, String(error));
      assert.equal(error.code, code);
      if (param !== undefined) assert.equal(error.param, param);
      return true;
    });
  await fails(ask({ n: 2 }), BadRequestError, "unsupported_parameter", "n");
  await fails(ask({ logprobs: true }), BadRequestError, "unsupported_parameter", "logprobs");
  await fails(ask({ nonsense: 1 }), BadRequestError, "unknown_parameter", "nonsense");
  await fails(ask({ model: "gpt" }), NotFoundError, "model_not_found", "model");
  gateway.behave = (call): void => call.admit().abort("server-lost");
  await fails(ask(), InternalServerError, "server_lost");
  gateway.behave = (call): void => void call.admit();
  const held = new AbortController();
  const holding = client.chat.completions.create(
    { model: demoModel, messages },
    { signal: held.signal },
  );
  const ended = assert.rejects(holding, APIUserAbortError);
  const before = gateway.calls.length;
  await gateway.until(() => gateway.calls.length === before + 1);
  await fails(ask(), RateLimitError, "too_many_requests");
  held.abort();
  await ended;
});

test("openai client: a server fails mid-stream -> an error, never a short answer", async (t) => {
  const { client, gateway } = await site(t);
  gateway.behave = (call): void => call.admit().text("half").abort("server-lost");
  const stream = await client.chat.completions.create({ model: demoModel, messages, stream: true });
  let text = "";
  await assert.rejects(
    async () => {
      for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? "";
    },
    (error) => error instanceof APIError && !(error instanceof APIConnectionError),
  );
  assert.equal(text, "half");
});

test("openai client: no gateway is serving for a moment -> its own retry gets the answer", async (t) => {
  const { url, gateway } = await site(t, { queueMs: 0 });
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "any", maxRetries: 1 });
  gateway.behave = (call): void => {
    gateway.behave = (again): void => again.admit().text("second try").finish();
    call.refuse("draining");
    gateway.announce({ accepting: true });
  };
  const reply = await client.chat.completions.create({ model: demoModel, messages });
  assert.equal(reply.choices[0]?.message.content, "second try");
});

test("AI SDK: generateText and streamText -> text and usage", async (t) => {
  const { url, gateway } = await site(t);
  const provider = createOpenAICompatible({
    name: "weir",
    baseURL: `${url}/v1`,
    includeUsage: true,
  });
  const { text, usage, finishReason } = await generateText({
    model: provider(demoModel),
    instructions: "Be brief.",
    prompt: "hi",
    temperature: 0,
    maxOutputTokens: 20,
    stopSequences: ["\n\n"],
    seed: 7,
  });
  assert.deepEqual([text, finishReason, usage.outputTokens], ["Hello there.", "stop", 3]);
  assert.deepEqual(gateway.calls[0]?.input.params.stops, ["\n\n"]);
  const stream = streamText({ model: provider(demoModel), messages });
  const parts = await collect(stream.textStream);
  assert.equal(parts.join(""), "Hello there.");
  assert.equal((await stream.usage).totalTokens, 8);
  const legacy = await generateText({ model: provider.completionModel(demoModel), prompt: "hi" });
  assert.equal(legacy.text, "Hello there.");
});

test("curl: JSON and SSE, and an error status for a broken stream", async (t) => {
  if (spawnSync("curl", ["--version"]).status !== 0) {
    t.skip("SKIPPED: curl is not installed");
    return;
  }
  const { url, gateway } = await site(t);
  const curl = async (path: string, body: object): Promise<string> => {
    const args = ["-sS", "--no-buffer", "-H", "Content-Type: application/json"];
    const sent = ["-d", JSON.stringify(body), `${url}${path}`];
    return (await promisify(execFile)("curl", [...args, ...sent])).stdout;
  };
  const whole = await curl("/v1/chat/completions", { model: demoModel, messages });
  assert.ok(whole.includes('"content":"Hello there."'));
  const stream = await curl("/v1/completions", { model: demoModel, prompt: "x", stream: true });
  assert.ok(stream.startsWith("data: {") && stream.endsWith("data: [DONE]\n\n"));
  gateway.behave = (call): void => call.admit().text("half").abort("server-lost");
  await assert.rejects(
    curl("/v1/completions", { model: demoModel, prompt: "x", stream: true }),
    (error: { stdout?: string; code?: number }) => {
      assert.match(error.stdout ?? "", /half[\s\S]*"error":\{/);
      assert.ok(!(error.stdout ?? "").includes("[DONE]"));
      return error.code === 18 || error.code === 56;
    },
  );
});
