/**
 * Payloads between a gateway and its server, spec/link.md section 3. The server is not trusted:
 * these few fixed forms are all that is ever read from it.
 */
import { InvalidError } from "../base/assert.ts";
import { Reader, Writer } from "../base/bytes.ts";
import { limits } from "../base/limits.ts";
import { decodeInput, finishReasons, type FinishReason, type Input } from "./pair.ts";

/** LOAD_BEGIN, gateway -> server. */
export interface LoadBegin {
  readonly gateway: string;
  readonly modelId: string;
  readonly sizeBytes: bigint;
  readonly topKMax: number;
  readonly contextTokens: number;
}

export function encodeLoadBegin(load: LoadBegin): Buffer {
  const out = new Writer();
  out.text(load.gateway).text(load.modelId).u64(load.sizeBytes);
  return out.u32(load.topKMax).u32(load.contextTokens).bytes();
}

export function decodeLoadBegin(bytes: Uint8Array): LoadBegin {
  const from = new Reader(bytes, "load-begin");
  const gateway = from.text(limits.name);
  const modelId = from.text(limits.name);
  const sizeBytes = from.u64();
  const topKMax = from.u32();
  const contextTokens = from.u32();
  from.end();
  return { gateway, modelId, sizeBytes, topKMax, contextTokens };
}

/** GENERATE, gateway -> server; frame id = tag. The input is passed on exactly as recorded. */
export function encodeGenerate(seed: bigint, encodedInput: Uint8Array): Buffer {
  return new Writer(8 + encodedInput.length).u64(seed).raw(encodedInput).bytes();
}

export function decodeGenerate(bytes: Uint8Array): { seed: bigint; input: Input } {
  const from = new Reader(bytes, "generate");
  const seed = from.u64();
  return { seed, input: decodeInput(from.raw(from.remaining)) };
}

/** PROMPT, server -> gateway: the prompt's token ids, once, before any TOKENS. */
export function encodePrompt(ids: ArrayLike<number>): Buffer {
  return new Writer(4 + 4 * ids.length).ids(ids).bytes();
}

export function decodePrompt(bytes: Uint8Array): Uint32Array {
  const from = new Reader(bytes, "prompt");
  const ids = from.ids(limits.tokens);
  from.end();
  return ids;
}

/** As `decodePrompt`, checked and not decoded: a view of count and ids, as an Output holds them. */
export function checkPromptFrame(bytes: Uint8Array): Buffer {
  const from = new Reader(bytes, "prompt");
  const ids = from.rawIds(limits.tokens);
  from.end();
  return ids;
}

/** TOKENS, server -> gateway: some more ids, and the text that became complete with them. */
export interface Tokens {
  readonly ids: Uint32Array;
  readonly text: string;
}

export function encodeTokens(ids: ArrayLike<number>, text: string): Buffer {
  return new Writer(16 + 4 * ids.length + text.length).ids(ids).text(text).bytes();
}

export function decodeTokens(bytes: Uint8Array): Tokens {
  const from = new Reader(bytes, "tokens");
  const ids = from.ids(limits.tokensPerFrame);
  const text = from.text(limits.outputText);
  from.end();
  return { ids, text };
}

/** TOKENS as it stands in its frame: views of 4 bytes for each id, and of UTF-8. */
export interface RawTokens {
  readonly count: number;
  readonly ids: Buffer;
  readonly text: Buffer;
}

/** As `decodeTokens`, checked and not decoded. */
export function checkTokensFrame(bytes: Uint8Array): RawTokens {
  const from = new Reader(bytes, "tokens");
  const count = from.count(limits.tokensPerFrame);
  const ids = from.raw(4 * count);
  const text = from.rawText(limits.outputText);
  from.end();
  return { count, ids, text };
}

/** END, server -> gateway. A server may end a pair with `stop` or `length`, never `cut-off`. */
export function encodeEnd(finish: FinishReason): Buffer {
  return new Writer(1).u8(finishReasons.indexOf(finish)).bytes();
}

export function decodeEnd(bytes: Uint8Array): FinishReason {
  const from = new Reader(bytes, "end");
  const finish = finishReasons[from.u8()];
  from.end();
  if (finish === undefined || finish === "cut-off") {
    throw new InvalidError("end.finish", "a server ends with stop or length");
  }
  return finish;
}

/** FAILED, server -> gateway: one code, no text of the server's choosing. */
export const serverFailures = ["prompt-too-long", "overloaded", "template", "internal"] as const;
export type ServerFailure = (typeof serverFailures)[number];

export function encodeFailed(code: ServerFailure): Buffer {
  return new Writer(1).u8(serverFailures.indexOf(code)).bytes();
}

export function decodeFailed(bytes: Uint8Array): ServerFailure {
  const from = new Reader(bytes, "failed");
  const code = serverFailures[from.u8()];
  from.end();
  if (code === undefined) throw new InvalidError("failed.code", "unknown failure code");
  return code;
}
