/**
 * Step 4 of the pair path: joins what the server sends for one tag into an Output. Used live and
 * in recovery. The server is not trusted: order, sizes and encodings are all checked here. What
 * passed is kept as it came: an Output's encoding is made of the same bytes, and nobody here reads them.
 */
import { InvalidError } from "../base/assert.ts";
import { Writer } from "../base/bytes.ts";
import { limits } from "../base/limits.ts";
import { decodeOutput, writeOutput, type FinishReason, type Output } from "../format/pair.ts";
import { checkPromptFrame, checkTokensFrame, decodeEnd } from "../format/server-link.ts";

const noIds = Buffer.alloc(4);
const nothing = Buffer.alloc(0);

export class PairAssembler {
  readonly #maxTokens: number;
  readonly #contextTokens: number;
  /** The count and the ids, as they came. */
  #prompt: Buffer | null = null;
  /** Ids and UTF-8 of all TOKENS, one after the other. */
  #ids: Writer | null = null;
  #text: Writer | null = null;
  #ended = false;

  /** `maxTokens` of the request, and the model's context: a server may not send more. */
  constructor(maxTokens: number, contextTokens: number = limits.tokens) {
    this.#maxTokens = maxTokens;
    this.#contextTokens = contextTokens;
  }

  get promptTokens(): number {
    return this.#prompt === null ? 0 : this.#prompt.length / 4 - 1;
  }

  get tokenCount(): number {
    return (this.#ids?.length ?? 0) / 4;
  }

  /** Bytes of text that came so far. */
  get textBytes(): number {
    return this.#text?.length ?? 0;
  }

  /** A view of the text's UTF-8, from one frame's end to another's; valid until more text comes. */
  text(from: number, to: number): Buffer {
    return this.#text === null ? nothing : this.#text.bytes().subarray(from, to);
  }

  /** PROMPT: once, first. Throws InvalidError `pair.order`, or what the payload breaks. */
  prompt(payload: Uint8Array): void {
    if (this.#prompt !== null) throw new InvalidError("pair.order", "a second PROMPT");
    const ids = checkPromptFrame(payload);
    if (ids.length / 4 - 1 > this.#contextTokens) {
      throw new InvalidError("pair.prompt-too-long", "a PROMPT is longer than the model's context");
    }
    this.#prompt = Buffer.from(ids);
  }

  /** TOKENS: after PROMPT, before END, within the request's maximum. Returns how many came. */
  tokens(payload: Uint8Array): number {
    if (this.#prompt === null || this.#ended) {
      throw new InvalidError("pair.order", "TOKENS outside a pair's output");
    }
    const { count, ids, text } = checkTokensFrame(payload);
    // Text comes with the id that completes it; frames without ids could go on for ever.
    if (count === 0) throw new InvalidError("pair.empty", "TOKENS without ids");
    if (this.tokenCount + count > this.#maxTokens) {
      throw new InvalidError("pair.too-many-tokens", `more than ${this.#maxTokens} tokens came`);
    }
    if (this.textBytes + text.length > limits.outputText) {
      throw new InvalidError("pair.too-much-text", "the output's text is too long");
    }
    this.#ids = (this.#ids ?? new Writer(ids.length)).raw(ids);
    this.#text = (this.#text ?? new Writer(text.length)).raw(text);
    return count;
  }

  /** END: after PROMPT, once. Returns the finish reason. */
  end(payload: Uint8Array): FinishReason {
    if (this.#prompt === null || this.#ended) {
      throw new InvalidError("pair.order", "END outside a pair's output");
    }
    const finish = decodeEnd(payload);
    this.#ended = true;
    return finish;
  }

  /** Appends the encoded Output so far, under the finish reason that the gateway records. */
  write(out: Writer, finish: FinishReason): void {
    const ids = this.#ids?.bytes() ?? nothing;
    writeOutput(out, finish, this.#prompt ?? noIds, ids, this.text(0, this.textBytes));
  }

  /** What was put together so far, decoded. */
  output(finish: FinishReason): Output {
    const out = new Writer();
    this.write(out, finish);
    return decodeOutput(out.bytes());
  }
}
