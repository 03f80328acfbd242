/**
 * The pair: one input, its output, and the binary forms in which both are recorded, hashed and
 * sent for proof. spec/pair.md. Each value has exactly one encoding.
 */
import { InvalidError } from "../base/assert.ts";
import { Reader, Writer } from "../base/bytes.ts";
import { limits } from "../base/limits.ts";

export const chatRoles = ["system", "user", "assistant"] as const;
export type ChatRole = (typeof chatRoles)[number];

export interface ChatMessage {
  readonly role: ChatRole;
  readonly content: string;
}

/** What the client asked for. `prompt` is raw text, `chat` goes through the model's template. */
export type Prompt =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "chat"; readonly messages: readonly ChatMessage[] };

/**
 * How tokens are drawn, under the entry's noise law (format/noise.ts).
 * temperature 0 is greedy. topK counts tokens and is never 0: "off" means the entry's maximum.
 */
export interface SamplingParams {
  readonly maxTokens: number;
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  /** The output ends before the first of these strings in its text. */
  readonly stops: readonly string[];
}

export interface Input {
  readonly modelId: string;
  readonly params: SamplingParams;
  readonly prompt: Prompt;
}

/** stop: the model drew an end-of-generation token, or a stop string came up. */
export const finishReasons = ["stop", "length", "cut-off"] as const;
export type FinishReason = (typeof finishReasons)[number];

/**
 * What the server gave. `tokenIds` includes the end-of-generation token where one was drawn, so
 * that ending early can be checked. `text` is what those ids spell, cut at a stop string.
 * `cut-off`: the pair did not complete (cancelled, server lost, gateway crashed).
 */
export interface Output {
  readonly promptIds: Uint32Array;
  readonly tokenIds: Uint32Array;
  readonly text: string;
  readonly finish: FinishReason;
}

function writePrompt(out: Writer, prompt: Prompt): void {
  if (prompt.kind === "text") {
    out.u8(0).text(prompt.text);
    return;
  }
  out.u8(1).u32(prompt.messages.length);
  for (const message of prompt.messages) {
    out.u8(chatRoles.indexOf(message.role)).text(message.content);
  }
}

/** Appends the canonical encoding of `input`. */
export function writeInput(out: Writer, input: Input): void {
  const { params } = input;
  out.text(input.modelId);
  out.u32(params.maxTokens).f64(params.temperature).u32(params.topK).f64(params.topP);
  out.u8(params.stops.length);
  for (const stop of params.stops) out.text(stop);
  writePrompt(out, input.prompt);
}

export function encodeInput(input: Input): Buffer {
  const out = new Writer(512);
  writeInput(out, input);
  return out.bytes();
}

/** Reads over a prompt: every check of `readPrompt`, and no string. */
function checkPrompt(from: Reader): void {
  const kind = from.u8();
  if (kind === 0) {
    from.rawText(limits.input);
    return;
  }
  if (kind !== 1) throw new InvalidError("pair.prompt-kind", `unknown prompt kind ${kind}`);
  const count = from.count(limits.messages);
  if (count === 0) throw new InvalidError("pair.no-messages", "a chat has at least one message");
  for (let i = 0; i < count; i++) {
    if (chatRoles[from.u8()] === undefined) {
      throw new InvalidError("pair.role", "unknown chat role");
    }
    from.rawText(limits.input);
  }
}

function readPrompt(from: Reader): Prompt {
  const kind = from.u8();
  if (kind === 0) return { kind: "text", text: from.text(limits.input) };
  if (kind !== 1) throw new InvalidError("pair.prompt-kind", `unknown prompt kind ${kind}`);
  const count = from.count(limits.messages);
  if (count === 0) throw new InvalidError("pair.no-messages", "a chat has at least one message");
  const messages: ChatMessage[] = [];
  for (let i = 0; i < count; i++) {
    const role = chatRoles[from.u8()];
    if (role === undefined) throw new InvalidError("pair.role", "unknown chat role");
    messages.push({ role, content: from.text(limits.input) });
  }
  return { kind: "chat", messages };
}

/** An input without its prompt, which may be long. */
export type InputHead = Omit<Input, "prompt">;

function readHead(from: Reader, bytes: Uint8Array): InputHead {
  if (bytes.length > limits.input + 4096) {
    throw new InvalidError("pair.input-too-long", "the input is too long");
  }
  const modelId = from.text(limits.name);
  const maxTokens = from.u32();
  const temperature = from.f64();
  const topK = from.u32();
  const topP = from.f64();
  const stopCount = from.u8();
  if (stopCount > limits.stops) throw new InvalidError("pair.stops", "too many stop strings");
  const stops: string[] = [];
  for (let i = 0; i < stopCount; i++) {
    const stop = from.text(limits.stopBytes);
    if (stop === "") throw new InvalidError("pair.stops", "a stop string is empty");
    stops.push(stop);
  }
  return { modelId, params: { maxTokens, temperature, topK, topP, stops } };
}

/** Parses an input. Throws InvalidError `pair.*`. Policy ranges are checked by gateway/admit. */
export function decodeInput(bytes: Uint8Array): Input {
  const from = new Reader(bytes, "pair");
  const head = readHead(from, bytes);
  const prompt = readPrompt(from);
  from.end();
  return { ...head, prompt };
}

/** Accepts and refuses exactly as `decodeInput` does, and gives all but the prompt. */
export function checkInput(bytes: Uint8Array): InputHead {
  const from = new Reader(bytes, "pair");
  const head = readHead(from, bytes);
  checkPrompt(from);
  from.end();
  return head;
}

/** The canonical encoding of `output`. */
export function encodeOutput(output: Output): Buffer {
  const size = 32 + 4 * (output.promptIds.length + output.tokenIds.length) + output.text.length;
  const out = new Writer(size);
  out.u8(finishReasons.indexOf(output.finish));
  out.ids(output.promptIds).ids(output.tokenIds).text(output.text);
  return out.bytes();
}

/**
 * Appends the encoding of an output whose parts are encoded already: `promptIds` with its count, the
 * output's ids and its UTF-8 without.
 */
export function writeOutput(
  out: Writer,
  finish: FinishReason,
  promptIds: Uint8Array,
  tokenIds: Uint8Array,
  text: Uint8Array,
): void {
  out.u8(finishReasons.indexOf(finish)).raw(promptIds);
  out
    .u32(tokenIds.length / 4)
    .raw(tokenIds)
    .blob(text);
}

/** Parses an output. Throws InvalidError `pair.*`. */
export function decodeOutput(bytes: Uint8Array): Output {
  const from = new Reader(bytes, "pair");
  const finish = finishReasons[from.u8()];
  if (finish === undefined) throw new InvalidError("pair.finish", "unknown finish reason");
  const promptIds = from.ids(limits.tokens);
  const tokenIds = from.ids(limits.tokens);
  const text = from.text(limits.outputText);
  from.end();
  return { promptIds, tokenIds, text, finish };
}
