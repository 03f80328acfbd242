/**
 * Step 4 of the pair path: joins what the server sends for one tag into an Output. Used live and
 * in recovery. The server is not trusted: order, sizes and encodings are all checked here.
 */
import { InvalidError } from "../base/assert.ts";
import { limits } from "../base/limits.ts";
import type { FinishReason, Output } from "../format/pair.ts";
import { decodeEnd, decodePrompt, decodeTokens, type Tokens } from "../format/server-link.ts";

export class PairAssembler {
  readonly #maxTokens: number;
  readonly #contextTokens: number;
  #promptIds: Uint32Array | null = null;
  readonly #ids: Uint32Array[] = [];
  #idCount = 0;
  readonly #text: string[] = [];
  #textLength = 0;
  #ended = false;

  /** `maxTokens` of the request, and the model's context: a server may not send more. */
  constructor(maxTokens: number, contextTokens: number = limits.tokens) {
    this.#maxTokens = maxTokens;
    this.#contextTokens = contextTokens;
  }

  get promptTokens(): number {
    return this.#promptIds?.length ?? 0;
  }

  get tokenCount(): number {
    return this.#idCount;
  }

  /** PROMPT: once, first. Throws InvalidError `pair.order`, or what the payload breaks. */
  prompt(payload: Uint8Array): void {
    if (this.#promptIds !== null) throw new InvalidError("pair.order", "a second PROMPT");
    const ids = decodePrompt(payload);
    if (ids.length > this.#contextTokens) {
      throw new InvalidError("pair.prompt-too-long", "a PROMPT is longer than the model's context");
    }
    this.#promptIds = ids;
  }

  /** TOKENS: after PROMPT, before END, within the request's maximum. Returns what they hold. */
  tokens(payload: Uint8Array): Tokens {
    if (this.#promptIds === null || this.#ended) {
      throw new InvalidError("pair.order", "TOKENS outside a pair's output");
    }
    const tokens = decodeTokens(payload);
    // Text comes with the id that completes it; frames without ids could go on for ever.
    if (tokens.ids.length === 0) throw new InvalidError("pair.empty", "TOKENS without ids");
    if (this.#idCount + tokens.ids.length > this.#maxTokens) {
      throw new InvalidError("pair.too-many-tokens", `more than ${this.#maxTokens} tokens came`);
    }
    this.#textLength += Buffer.byteLength(tokens.text);
    if (this.#textLength > limits.outputText) {
      throw new InvalidError("pair.too-much-text", "the output's text is too long");
    }
    this.#idCount += tokens.ids.length;
    this.#ids.push(tokens.ids);
    if (tokens.text !== "") this.#text.push(tokens.text);
    return tokens;
  }

  /** END: after PROMPT, once. Returns the finish reason. */
  end(payload: Uint8Array): FinishReason {
    if (this.#promptIds === null || this.#ended) {
      throw new InvalidError("pair.order", "END outside a pair's output");
    }
    const finish = decodeEnd(payload);
    this.#ended = true;
    return finish;
  }

  /** What was put together so far, under the finish reason that the gateway records. */
  output(finish: FinishReason): Output {
    return {
      promptIds: this.#promptIds ?? new Uint32Array(0),
      tokenIds: this.#joined(),
      text: this.#text.join(""),
      finish,
    };
  }

  #joined(): Uint32Array {
    const [only] = this.#ids;
    if (this.#ids.length === 1 && only !== undefined) return only;
    const ids = new Uint32Array(this.#idCount);
    let at = 0;
    for (const part of this.#ids) {
      ids.set(part, at);
      at += part.length;
    }
    return ids;
  }
}
