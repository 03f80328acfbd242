/** Template, tokenizer and spelling of a model, without its weights. */
import type { Speller } from "../../format/output-rules.ts";
import type { Prompt } from "../../format/pair.ts";
import { metadataOf } from "./metadata.ts";
import { ModelText } from "./model-text.ts";
import { openNativeModel } from "./native.ts";

export interface BareText {
  readonly vocabularySize: number;
  /** Bytes of cache that one token takes, keys and values of 16 bits. */
  readonly cacheBytes: number;
  promptIds(prompt: Prompt): number[];
  spell(ids: ArrayLike<number>): string;
  speller(): Speller;
  isEndOfGeneration(id: number): boolean;
  close(): void;
}

/** Throws UnavailableError `engine.*`, InvalidError `gguf.*`, `model.*`, `template.syntax`. */
export async function openText(path: string): Promise<BareText> {
  const metadata = await metadataOf(path);
  const model = await openNativeModel(path, { vocabularyOnly: true });
  try {
    const text = new ModelText(metadata, model);
    return {
      vocabularySize: text.vocabulary.size,
      cacheBytes: metadata.cacheBytes,
      promptIds: (prompt) => text.promptIds(prompt),
      spell: (ids) => text.vocabulary.spell(ids),
      speller: () => text.vocabulary.speller(),
      isEndOfGeneration: (id) => text.isEndOfGeneration(id),
      close: () => {
        model.close();
      },
    };
  } catch (error) {
    model.close();
    throw error;
  }
}
