import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { makeTag } from "../format/tag.ts";
import type { WhitelistEntry } from "../format/whitelist.ts";
import { invalid } from "./errors.ts";
import { errorReply, EventWriter, jsonReply, voiceOf, type Voice } from "./reply.ts";

const digest = Buffer.alloc(32, 0xcd);
const entry: WhitelistEntry = {
  modelId: "org/m:1",
  weights: { sizeBytes: 1, chunkBytes: 4096, root: digest },
  tokenizerDigest: digest,
  templateDigest: digest,
  engine: "e",
  engineBuild: digest,
  noiseLaw: "l",
  generation: { temperatureMax: 1, topPMin: 0, topKMax: 1, maxTokens: 1, contextTokens: 2 },
  profile: digest,
  digest,
};

function voice(more: Partial<Parameters<typeof voiceOf>[0]> = {}): Voice {
  return voiceOf({
    kind: "chat",
    model: { id: entry.modelId, entry, fingerprint: "weir-cd" },
    gateway: "g1",
    tag: makeTag(1, 2),
    created: 7,
    seedGiven: false,
    includeUsage: false,
    ...more,
  });
}

const usage = { promptTokens: 5, completionTokens: 3 };

test("reply: a chat -> exactly these bytes", () => {
  assert.equal(
    jsonReply(voice({ seedGiven: true }), 'a"b', "stop", usage),
    '{"id":"chatcmpl-g1.0000010000000002","object":"chat.completion","created":7,"model":"org/m:1",' +
      '"system_fingerprint":"weir-cd","choices":[{"index":0,"message":{"role":"assistant",' +
      '"content":"a\\"b","refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{' +
      '"prompt_tokens":5,"completion_tokens":3,"total_tokens":8},"weir":{' +
      '"tag":"g1.0000010000000002","seed":"overridden"}}',
  );
});

interface Chunk {
  readonly id: string;
  readonly object: string;
  readonly usage?: unknown;
  readonly weir?: unknown;
  readonly choices: readonly {
    readonly text?: string;
    readonly delta?: { readonly role?: string; readonly content?: string };
    readonly finish_reason: string | null;
  }[];
}

function chunksOf(stream: string): Chunk[] {
  assert.ok(stream.endsWith("data: [DONE]\n\n"));
  const events = stream.split("\n\n").slice(0, -2);
  return events.map((event) => {
    assert.ok(event.startsWith("data: ") && !event.includes("\n"));
    return JSON.parse(event.slice(6)) as Chunk;
  });
}

test("reply: any text, streamed in any parts -> the chunks spell it", () => {
  const parts = fc.array(fc.string({ unit: "binary" }), { maxLength: 5 });
  fc.assert(
    fc.property(parts, fc.boolean(), fc.boolean(), (texts, chat, includeUsage) => {
      const out = new EventWriter(voice({ kind: chat ? "chat" : "completion", includeUsage }));
      const chunks = chunksOf(
        out.first() + texts.map((t) => out.text(t)).join("") + out.last("length", usage),
      );
      const choices = chunks.flatMap((chunk) => chunk.choices);
      const spelled = choices.map((c) => (chat ? (c.delta?.content ?? "") : (c.text ?? "")));
      assert.equal(spelled.join(""), texts.join(""));
      assert.equal(choices.at(-1)?.finish_reason, "length");
      assert.ok(choices.slice(0, -1).every((c) => c.finish_reason === null));
      assert.deepEqual(chunks[0]?.weir, { tag: "g1.0000010000000002" });
      assert.equal(chunks.length, texts.length + (includeUsage ? 3 : 2));
      const counted = { prompt_tokens: 5, completion_tokens: 3, total_tokens: 8 };
      if (includeUsage)
        assert.deepEqual([chunks.at(-1)?.usage, chunks.at(-1)?.choices], [counted, []]);
      else assert.ok(chunks.every((chunk) => chunk.usage === undefined));
    }),
  );
});

test("reply: any text -> a JSON reply that holds it and counts", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => {
      const reply = JSON.parse(
        jsonReply(voice({ kind: "completion" }), text, "stop", usage),
      ) as Chunk;
      assert.equal(reply.choices[0]?.text, text);
      assert.equal(reply.id, "cmpl-g1.0000010000000002");
    }),
  );
});

test("reply: an error -> OpenAI's shape, and Retry-After where it helps", () => {
  const reply = errorReply({ ...invalid("c", "m", "p"), retryAfter: 3 });
  assert.deepEqual(JSON.parse(reply.body), {
    error: { message: "m", type: "invalid_request_error", param: "p", code: "c" },
  });
  assert.deepEqual(reply.headers, ["content-type", "application/json", "retry-after", "3"]);
  assert.ok(!errorReply(invalid("c", "m")).headers.includes("retry-after"));
});
