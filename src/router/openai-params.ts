/**
 * The parameters of an OpenAI request: which are understood, which are accepted because their value
 * changes nothing, and which are refused by name. docs/operating/api.md lists them. Pure.
 */
import { limits } from "../base/limits.ts";
import type { SamplingParams } from "../format/pair.ts";
import type { GenerationPolicy } from "../format/whitelist.ts";
import { invalid } from "./errors.ts";
import {
  isObject,
  Refused,
  short,
  wellFormed,
  wrongType,
  wrongValue,
  type JsonObject,
} from "./openai-values.ts";

export type RequestKind = "chat" | "completion";

/** Read by name elsewhere in this file or in openai.ts. */
const understood: ReadonlySet<string> = new Set([
  "model",
  "max_tokens",
  "temperature",
  "top_p",
  "top_k",
  "stop",
  "stream",
  "stream_options",
  "seed",
]);
const understoodOnly: Readonly<Record<RequestKind, ReadonlySet<string>>> = {
  chat: new Set(["messages", "max_completion_tokens"]),
  completion: new Set(["prompt"]),
};

const oneOf =
  (...allowed: readonly unknown[]) =>
  (value: unknown): boolean =>
    allowed.includes(value);
const emptyList = (value: unknown): boolean => Array.isArray(value) && value.length === 0;
const emptyObject = (value: unknown): boolean => isObject(value) && Object.keys(value).length === 0;
const text = (value: unknown): boolean => typeof value === "string";
const onlyText = (value: unknown): boolean =>
  Array.isArray(value) && value.every((entry) => entry === "text");
const textFormat = (value: unknown): boolean => isObject(value) && value["type"] === "text";

/**
 * Parameters of OpenAI, vLLM and llama.cpp that are accepted at these values, which change no
 * output, and refused at any other. `null` counts as absent everywhere.
 */
const neutral: ReadonlyMap<string, (value: unknown) => boolean> = new Map([
  ["n", oneOf(1)],
  ["best_of", oneOf(1)],
  ["presence_penalty", oneOf(0)],
  ["frequency_penalty", oneOf(0)],
  ["repetition_penalty", oneOf(1)],
  ["repeat_penalty", oneOf(1)],
  ["min_p", oneOf(0)],
  ["typical_p", oneOf(1)],
  ["logit_bias", emptyObject],
  ["logprobs", oneOf(false)],
  ["top_logprobs", oneOf(0)],
  ["echo", oneOf(false)],
  ["suffix", oneOf("")],
  ["response_format", textFormat],
  ["tools", emptyList],
  ["tool_choice", oneOf("none", "auto")],
  ["parallel_tool_calls", oneOf(true, false)],
  ["functions", emptyList],
  ["function_call", oneOf("none", "auto")],
  ["modalities", onlyText],
  ["reasoning_effort", oneOf("none")],
  ["verbosity", oneOf("medium")],
  ["store", oneOf(false)],
  ["metadata", isObject],
  ["service_tier", oneOf("auto", "default")],
  ["user", text],
  ["safety_identifier", text],
  ["prompt_cache_key", text],
]);

/** Known to OpenAI's API with no value that we could accept; named so that the message is right. */
const refused: ReadonlySet<string> = new Set([
  "audio",
  "prediction",
  "web_search_options",
  "prompt_cache_retention",
  "moderation",
]);

/** Throws Refused at the first parameter that is unknown, or known and would change the output. */
export function checkNames(body: JsonObject, kind: RequestKind): void {
  const only = understoodOnly[kind];
  for (const key of Object.keys(body)) {
    if (understood.has(key) || only.has(key)) continue;
    const value = body[key];
    const accepts = neutral.get(key);
    if (accepts === undefined && !refused.has(key)) {
      const message = `Unknown parameter: \`${short(key)}\`.`;
      throw new Refused(invalid("unknown_parameter", message, short(key)));
    }
    if (value === null || accepts?.(value) === true) continue;
    const message =
      accepts === undefined
        ? `\`${key}\` is not supported.`
        : `\`${key}\` is not supported at this value: its effect on the output cannot be verified.`;
    throw new Refused(invalid("unsupported_parameter", message, key));
  }
}

function numberAt(body: JsonObject, key: string, min: number, max: number): number | null {
  const value = body[key] ?? null;
  if (value === null) return null;
  if (typeof value !== "number") throw wrongType(key, "a number", value);
  if (!(value >= min && value <= max)) throw wrongValue(key, `must be from ${min} to ${max}`);
  return value;
}

function integerAt(body: JsonObject, key: string, min: number, max: number): number | null {
  const value = numberAt(body, key, min, max);
  if (value !== null && !Number.isInteger(value)) throw wrongType(key, "an integer", value);
  return value;
}

function booleanAt(body: JsonObject, key: string, path = key): boolean {
  const value = body[key] ?? null;
  if (value === null) return false;
  if (typeof value !== "boolean") throw wrongType(path, "a boolean", value);
  return value;
}

/** `stream`, and whether a streamed reply ends with a usage chunk. */
export function streaming(body: JsonObject): { stream: boolean; includeUsage: boolean } {
  const stream = booleanAt(body, "stream");
  const options = body["stream_options"] ?? null;
  if (options === null) return { stream, includeUsage: false };
  if (!isObject(options)) throw wrongType("stream_options", "an object", options);
  for (const key of Object.keys(options)) {
    const path = `stream_options.${short(key)}`;
    if (key === "include_usage") continue;
    if (key === "include_obfuscation" && !booleanAt(options, key, path)) continue;
    throw new Refused(invalid("unsupported_parameter", `\`${path}\` is not supported.`, path));
  }
  const includeUsage = booleanAt(options, "include_usage", "stream_options.include_usage");
  return { stream, includeUsage };
}

/** Whether the client asked for a seed of its own: the gateway's seed is used all the same. */
export function seedGiven(body: JsonObject): boolean {
  const seed = body["seed"] ?? null;
  if (seed === null) return false;
  if (typeof seed !== "number" || !Number.isInteger(seed))
    throw wrongType("seed", "an integer", seed);
  return true;
}

function stopAt(value: unknown, path: string): string {
  if (typeof value !== "string") throw wrongType(path, "a string", value);
  if (value === "") throw wrongValue(path, "must not be empty");
  wellFormed(value, path);
  if (Buffer.byteLength(value) > limits.stopBytes) {
    throw wrongValue(path, `must not exceed ${limits.stopBytes} bytes`);
  }
  return value;
}

function stopsOf(value: unknown): readonly string[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) return [stopAt(value, "stop")];
  if (value.length > limits.stops)
    throw wrongValue("stop", `has more than ${limits.stops} strings`);
  return value.map((entry, i) => stopAt(entry, `stop[${i}]`));
}

function maxTokensOf(body: JsonObject, policy: GenerationPolicy): number {
  const max = policy.maxTokens;
  const older = integerAt(body, "max_tokens", 1, max);
  const newer = integerAt(body, "max_completion_tokens", 1, max);
  if (older !== null && newer !== null && older !== newer) {
    throw wrongValue("max_tokens", "and `max_completion_tokens` differ; send one of them");
  }
  return newer ?? older ?? Math.min(max, policy.contextTokens - 1);
}

/**
 * The sampling parameters of `body` under the model's policy; what is absent takes OpenAI's default,
 * or the policy's bound where that is narrower. `top_k` 0 and -1 mean off: the policy's maximum.
 * Throws Refused for anything outside the policy: nothing is clamped in silence.
 */
export function samplingOf(body: JsonObject, policy: GenerationPolicy): SamplingParams {
  const topK = integerAt(body, "top_k", -1, policy.topKMax) ?? 0;
  return {
    maxTokens: maxTokensOf(body, policy),
    temperature:
      numberAt(body, "temperature", 0, policy.temperatureMax) ?? Math.min(1, policy.temperatureMax),
    topK: topK <= 0 ? policy.topKMax : topK,
    topP: topPOf(body, policy),
    stops: stopsOf(body["stop"]),
  };
}

/** 0 would keep no token; OpenAI reads it as greedy, which `temperature` 0 says plainly. */
function topPOf(body: JsonObject, policy: GenerationPolicy): number {
  const topP = numberAt(body, "top_p", policy.topPMin, 1);
  if (topP === 0) throw wrongValue("top_p", "must be more than 0");
  return topP ?? 1;
}
