/**
 * Builds the bytes that clients get. Field order, names and spacing are ours and fixed: of what a
 * server produced, only its text, its token counts and its finish reason appear here. Pure.
 *
 * Everything of a reply but its text is made once per pair (`Voice`), so that a chunk costs one
 * JSON.stringify of its text.
 */
import { formatTag, type Tag } from "../format/tag.ts";
import { errorJson, type ApiError } from "./errors.ts";
import type { HttpReply } from "./http.port.ts";
import type { Model } from "./openai.ts";
import type { RequestKind } from "./openai-params.ts";

/** What OpenAI knows as finish reasons; a pair that was cut off has no reply. */
export type ReplyFinish = "stop" | "length";

export interface Usage {
  readonly promptTokens: number;
  readonly completionTokens: number;
}

export interface VoiceOptions {
  readonly kind: RequestKind;
  readonly model: Model;
  readonly gateway: string;
  readonly tag: Tag;
  /** Seconds since the Unix epoch. */
  readonly created: number;
  readonly seedGiven: boolean;
  readonly includeUsage: boolean;
}

/** The fixed parts of one pair's reply. */
export interface Voice {
  readonly kind: RequestKind;
  /** `g1.0000010000000001` */
  readonly tag: string;
  /** `chatcmpl-` or `cmpl-`, then the tag. */
  readonly id: string;
  readonly created: number;
  readonly model: Model;
  readonly seedGiven: boolean;
  readonly includeUsage: boolean;
}

export function voiceOf(options: VoiceOptions): Voice {
  const { gateway, tag: pair, ...rest } = options;
  const tag = formatTag(gateway, pair);
  return { ...rest, tag, id: `${rest.kind === "chat" ? "chatcmpl" : "cmpl"}-${tag}` };
}

function head(voice: Voice, object: string): string {
  const { id, created, model } = voice;
  const named = JSON.stringify(model.id);
  return `{"id":"${id}","object":"${object}","created":${created},"model":${named},"system_fingerprint":"${model.fingerprint}"`;
}

/** Our addition to OpenAI's object: the name of the receipt, and what became of a client's seed. */
function weir(voice: Voice): string {
  return `"weir":{"tag":"${voice.tag}"${voice.seedGiven ? ',"seed":"overridden"' : ""}}`;
}

function usageJson(usage: Usage): string {
  const { promptTokens, completionTokens } = usage;
  const total = promptTokens + completionTokens;
  return `"usage":{"prompt_tokens":${promptTokens},"completion_tokens":${completionTokens},"total_tokens":${total}}`;
}

/** The whole reply of a request without `stream`. */
export function jsonReply(voice: Voice, text: string, finish: ReplyFinish, usage: Usage): string {
  const body = JSON.stringify(text);
  const choice =
    voice.kind === "chat"
      ? `"message":{"role":"assistant","content":${body},"refusal":null}`
      : `"text":${body}`;
  const object = voice.kind === "chat" ? "chat.completion" : "text_completion";
  return `${head(voice, object)},"choices":[{"index":0,${choice},"logprobs":null,"finish_reason":"${finish}"}],${usageJson(usage)},${weir(voice)}}`;
}

/** Writes the events of one streamed reply, each as `data: <json>\n\n`. */
export class EventWriter {
  readonly #voice: Voice;
  readonly #start: string;
  readonly #chunkStart: string;
  readonly #chunkEnd: string;
  readonly #usage: string;

  constructor(voice: Voice) {
    const chat = voice.kind === "chat";
    this.#voice = voice;
    this.#usage = voice.includeUsage ? ',"usage":null' : "";
    this.#start = `data: ${head(voice, chat ? "chat.completion.chunk" : "text_completion")},"choices":[`;
    this.#chunkStart = `${this.#start}{"index":0,${chat ? '"delta":{"content":' : '"text":'}`;
    this.#chunkEnd = `${chat ? "}" : ""},"logprobs":null,"finish_reason":null}]${this.#usage}}\n\n`;
  }

  /** Chat: the chunk that names the role. Completions: an empty chunk that carries the tag. */
  first(): string {
    const chat = this.#voice.kind === "chat";
    const choice = chat ? '"delta":{"role":"assistant","content":""}' : '"text":""';
    return `${this.#start}{"index":0,${choice},"logprobs":null,"finish_reason":null}]${this.#usage},${weir(this.#voice)}}\n\n`;
  }

  text(text: string): string {
    return this.#chunkStart + JSON.stringify(text) + this.#chunkEnd;
  }

  /** The finish chunk, the usage chunk where it was asked for, and the terminator. */
  last(finish: ReplyFinish, usage: Usage): string {
    const choice = this.#voice.kind === "chat" ? '"delta":{}' : '"text":""';
    const end = `${this.#start}{"index":0,${choice},"logprobs":null,"finish_reason":"${finish}"}]${this.#usage}}\n\n`;
    const counted = this.#voice.includeUsage ? `${this.#start}],${usageJson(usage)}}\n\n` : "";
    return `${end}${counted}data: [DONE]\n\n`;
  }
}

/** The in-band event that ends a stream which failed after its first byte. Never followed by [DONE]. */
export function errorEvent(errorBody: string): string {
  return `data: ${errorBody}\n\n`;
}

/** `GET /v1/models`: the whole whitelist, served now or not; `created` is 0, for it is not known. */
export function modelsJson(
  models: ReadonlyMap<string, Model>,
  serving: ReadonlySet<string>,
): string {
  const data = [...models.values()].map((model) => modelObject(model, serving));
  return JSON.stringify({ object: "list", data });
}

/** `GET /v1/models/{id}` */
export function modelJson(model: Model, serving: ReadonlySet<string>): string {
  return JSON.stringify(modelObject(model, serving));
}

function modelObject(model: Model, serving: ReadonlySet<string>): Record<string, unknown> {
  const { generation } = model.entry;
  return {
    id: model.id,
    object: "model",
    created: 0,
    owned_by: "weir",
    weir: {
      serving: serving.has(model.id),
      entry: model.entry.digest.toString("hex"),
      max_tokens: generation.maxTokens,
      context_tokens: generation.contextTokens,
      temperature_max: generation.temperatureMax,
      top_k_max: generation.topKMax,
      top_p_min: generation.topPMin,
    },
  };
}

/** Headers of a complete reply. */
export function jsonHeaders(voice: Voice): string[] {
  return ["content-type", "application/json", ...named(voice)];
}

/** Headers of a stream; the third asks proxies (nginx) not to gather chunks. */
export function streamHeaders(voice: Voice): string[] {
  const headers = ["content-type", "text/event-stream; charset=utf-8", "cache-control", "no-cache"];
  return [...headers, "x-accel-buffering", "no", ...named(voice)];
}

function named(voice: Voice): string[] {
  const names = ["x-weir-tag", voice.tag, "x-request-id", voice.id];
  return voice.seedGiven ? [...names, "x-weir-seed", "overridden"] : names;
}

export function errorReply(error: ApiError): HttpReply {
  const headers = ["content-type", "application/json"];
  if (error.retryAfter > 0) headers.push("retry-after", String(error.retryAfter));
  return { status: error.status, headers, body: errorJson(error) };
}
