/**
 * Reads a request in OpenAI's form: body bytes in, one Input out, or the error to answer with.
 * Strict: what is not understood is refused by name, never dropped. Pure.
 */
import { InvalidError } from "../base/assert.ts";
import { decodeUtf8 } from "../base/bytes.ts";
import type { Input } from "../format/pair.ts";
import type { Whitelist, WhitelistEntry } from "../format/whitelist.ts";
import { invalid, modelNotFound, type ApiError } from "./errors.ts";
import { chatPrompt, textPrompt } from "./openai-messages.ts";
import { checkNames, samplingOf, seedGiven, streaming, type RequestKind } from "./openai-params.ts";
import { isObject, Refused, short, wrongType } from "./openai-values.ts";

/** A whitelisted model as the router knows it. */
export interface Model {
  readonly id: string;
  readonly entry: WhitelistEntry;
  /** OpenAI's `system_fingerprint`: `weir-` and 16 hex digits of the whitelist entry's digest. */
  readonly fingerprint: string;
}

export function modelsOf(whitelist: Pick<Whitelist, "entries">): ReadonlyMap<string, Model> {
  const models = whitelist.entries.map((entry) => ({
    id: entry.modelId,
    entry,
    fingerprint: `weir-${entry.digest.toString("hex", 0, 8)}`,
  }));
  return new Map(models.map((model) => [model.id, model]));
}

export interface ParsedRequest {
  readonly kind: RequestKind;
  readonly model: Model;
  readonly input: Input;
  readonly stream: boolean;
  readonly includeUsage: boolean;
  /** The client sent a seed; the reply says that it was overridden. */
  readonly seedGiven: boolean;
}

export type Parsed =
  | { readonly ok: true; readonly request: ParsedRequest }
  | { readonly ok: false; readonly error: ApiError };

/** Parses the body of `POST /v1/chat/completions` (chat) or `POST /v1/completions`. Never throws. */
export function parseRequest(
  kind: RequestKind,
  body: Buffer,
  models: ReadonlyMap<string, Model>,
): Parsed {
  try {
    return { ok: true, request: read(kind, jsonOf(body), models) };
  } catch (error) {
    if (error instanceof Refused) return { ok: false, error: error.error };
    throw error;
  }
}

function jsonOf(body: Buffer): unknown {
  let text: string;
  try {
    text = decodeUtf8(body);
  } catch (error) {
    if (!(error instanceof InvalidError)) throw error;
    throw new Refused(invalid("invalid_utf8", "The request body is not valid UTF-8."));
  }
  try {
    return JSON.parse(text);
  } catch {
    throw new Refused(invalid("invalid_json", "The request body is not valid JSON."));
  }
}

function read(kind: RequestKind, body: unknown, models: ReadonlyMap<string, Model>): ParsedRequest {
  if (!isObject(body)) {
    throw new Refused(invalid("invalid_type", "The request body must be a JSON object."));
  }
  const name = body["model"];
  if (typeof name !== "string") throw wrongType("model", "a string", name);
  const model = models.get(name);
  if (model === undefined) throw new Refused(modelNotFound(short(name)));
  checkNames(body, kind);
  const { stream, includeUsage } = streaming(body);
  const params = samplingOf(body, model.entry.generation);
  const seeded = seedGiven(body);
  const prompt = kind === "chat" ? chatPrompt(body["messages"]) : textPrompt(body["prompt"]);
  const input = { modelId: model.id, params, prompt };
  return { kind, model, input, stream, includeUsage, seedGiven: seeded };
}
