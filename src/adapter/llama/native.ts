/**
 * A model on llama.cpp's C interface: weights in memory, tokenizer, contexts. CPU only, nothing is
 * mapped, logged or written. For callers that need raw logits, or many of them: node-llama-cpp's own
 * interface (runtime.ts) hands candidates out one JavaScript Map per position.
 */
import { assert, InvalidError, UnavailableError } from "../../base/assert.ts";
import { lazyModeOff, loadModeNone, type Api, type Pointer } from "./native-abi.ts";
import { openContext, type NativeContext, type NativeContextOptions } from "./native-context.ts";
import { nativeApi } from "./native-library.ts";

export type { NativeContext, NativeContextOptions, NativeTokens } from "./native-context.ts";

export interface NativeModel {
  readonly vocabSize: number;
  readonly layers: number;
  /** Ids of a text, with nothing added; special tokens are recognised only where `special`. */
  tokenize(text: string, special: boolean): number[];
  isEndOfGeneration(id: number): boolean;
  /** Throws UnavailableError `engine.context`, or `engine.lora` for an adapter that does not fit. */
  context(options: NativeContextOptions): NativeContext;
  /** Frees the weights. All contexts must be closed before. Idempotent. */
  close(): void;
}

class LlamaNativeModel implements NativeModel {
  readonly vocabSize: number;
  readonly layers: number;
  readonly #api: Api;
  readonly #vocabulary: Pointer;
  readonly #ends: ReadonlySet<number>;
  readonly #contexts = new Set<NativeContext>();
  #model: Pointer;

  constructor(api: Api, model: Pointer) {
    this.#api = api;
    this.#model = model;
    this.#vocabulary = api.modelVocabulary(model);
    this.vocabSize = api.vocabularySize(this.#vocabulary);
    this.layers = api.modelLayers(model);
    // As node-llama-cpp has it: the two named tokens besides llama.cpp's own list.
    this.#ends = new Set([
      api.vocabularyEos(this.#vocabulary),
      api.vocabularyEot(this.#vocabulary),
    ]);
  }

  tokenize(text: string, special: boolean): number[] {
    assert(this.#model !== null, "a closed model is not used");
    if (text === "") return [];
    const bytes = Buffer.from(text, "utf8");
    let out = new Int32Array(bytes.length + 8);
    const read = (): number =>
      this.#api.tokenize(this.#vocabulary, bytes, bytes.length, out, out.length, false, special);
    let count = read();
    if (count < 0) {
      // It says how many it needs. The lowest number there is: more than it can count.
      if (count === -2147483648) throw new InvalidError("prompt.too-long", "the text is too long");
      out = new Int32Array(-count);
      count = read();
    }
    assert(count >= 0 && count <= out.length, "the tokenizer keeps to its room");
    return Array.from(out.subarray(0, count));
  }

  isEndOfGeneration(id: number): boolean {
    assert(this.#model !== null, "a closed model is not used");
    if (id < 0 || id >= this.vocabSize) return false;
    return this.#ends.has(id) || this.#api.isEndOfGeneration(this.#vocabulary, id);
  }

  context(options: NativeContextOptions): NativeContext {
    assert(this.#model !== null, "a closed model is not used");
    const context = openContext(this.#api, this.#model, this.vocabSize, options, () =>
      this.#contexts.delete(context),
    );
    this.#contexts.add(context);
    return context;
  }

  close(): void {
    if (this.#model === null) return;
    assert(this.#contexts.size === 0, "a model is closed after its contexts");
    this.#api.modelFree(this.#model);
    this.#model = null;
  }
}

/**
 * Loads a GGUF file into memory; the file is not needed afterwards. `cpuBuild`: see `nativeApi`.
 * `vocabularyOnly`: without weights, for its tokenizer; it then makes no context.
 * Throws UnavailableError `engine.no-binary`, `engine.abi`, `engine.cpu-build`, `engine.load`.
 */
export async function openNativeModel(
  path: string,
  options: { readonly cpuBuild?: string; readonly vocabularyOnly?: boolean } = {},
): Promise<NativeModel> {
  const api = nativeApi(options.cpuBuild);
  const params = api.modelDefaults();
  params.n_gpu_layers = 0;
  params.load_mode = loadModeNone;
  params.lazy_mode = lazyModeOff;
  params.vocab_only = options.vocabularyOnly ?? false;
  const model = await api.modelLoad(path, params);
  if (model === null) {
    throw new UnavailableError("engine.load", `llama.cpp cannot load "${path}"`, "none");
  }
  return new LlamaNativeModel(api, model);
}
