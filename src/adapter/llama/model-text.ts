/** What is text about a model: chat template, tokenizer, spelling. The same for both bindings. */
import { InvalidError } from "../../base/assert.ts";
import type { Prompt } from "../../format/pair.ts";
import type { ModelMetadata } from "./metadata.ts";
import { ChatTemplate } from "./template.ts";
import { Vocabulary } from "./vocabulary.ts";

/** llama.cpp's tokenizer, through either binding. */
export interface Tokenizer {
  /** Ids of a text, with nothing added; special tokens are recognised only where `special`. */
  tokenize(text: string, special: boolean): number[];
  isEndOfGeneration(id: number): boolean;
}

export class ModelText {
  readonly metadata: ModelMetadata;
  readonly vocabulary: Vocabulary;
  /** Bytes of prompt text that one token can stand for at most. */
  readonly longestToken: number;
  readonly #tokenizer: Tokenizer;
  readonly #template: ChatTemplate | null;

  /** Throws InvalidError `model.*`, `template.syntax`. */
  constructor(metadata: ModelMetadata, tokenizer: Tokenizer) {
    this.metadata = metadata;
    this.#tokenizer = tokenizer;
    const { tokenizer: words, template } = metadata;
    this.vocabulary = new Vocabulary(words, (id) => this.isEndOfGeneration(id));
    this.longestToken = words.tokens.reduce(
      (longest, token) => Math.max(longest, Buffer.byteLength(token)),
      1,
    );
    const nameOf = (id: number | null): string => (id === null ? "" : (words.tokens[id] ?? ""));
    const tokens = { bos: nameOf(words.bosId), eos: nameOf(words.eosId) };
    this.#template = template === null ? null : new ChatTemplate(template, tokens);
  }

  isEndOfGeneration(id: number): boolean {
    return this.#tokenizer.isEndOfGeneration(id);
  }

  /**
   * Ids of a prompt. Chat: the template's text, in which special tokens are recognised. Text: plain
   * characters only. Both begin with the beginning-of-sequence token where the model asks for it.
   * Throws InvalidError `template.none`, `template.render`, `prompt.empty`.
   */
  promptIds(prompt: Prompt): number[] {
    const ids: number[] =
      prompt.kind === "chat"
        ? this.#tokenizer.tokenize(this.#chatText(prompt), true)
        : this.#tokenizer.tokenize(prompt.text, false);
    const { bosId, addBos } = this.metadata.tokenizer;
    const withBos = addBos && bosId !== null && ids[0] !== bosId ? [bosId, ...ids] : ids;
    if (withBos.length === 0) {
      throw new InvalidError("prompt.empty", "the prompt has no tokens");
    }
    return withBos;
  }

  /**
   * As `promptIds`, for a context of `contextTokens`. Throws InvalidError `prompt.too-long` besides,
   * for a text that no tokenizer could fit into it: llama.cpp takes seconds over some such texts,
   * and all wait for it.
   */
  promptIdsWithin(prompt: Prompt, contextTokens: number): number[] {
    const bytes =
      prompt.kind === "text"
        ? Buffer.byteLength(prompt.text)
        : prompt.messages.reduce((sum, { content }) => sum + Buffer.byteLength(content), 0);
    if (bytes > contextTokens * this.longestToken) {
      throw new InvalidError("prompt.too-long", "the prompt cannot fit the context");
    }
    return this.promptIds(prompt);
  }

  #chatText(prompt: Prompt & { kind: "chat" }): string {
    if (this.#template === null) {
      throw new InvalidError("template.none", "the model has no chat template");
    }
    return this.#template.render(prompt.messages);
  }
}
