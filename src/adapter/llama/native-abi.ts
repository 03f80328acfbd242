/**
 * llama.cpp's C interface as the pinned prebuilt library has it (include/llama.h of release v0.5.0),
 * bound with koffi. A structure that is off by one field would corrupt memory without a word, so
 * `checkAbi` compares what can be seen of the library with what is written here before any use.
 */
import koffi, { type LibraryHandle } from "koffi";
import { UnavailableError } from "../../base/assert.ts";

/** The release that this file describes; node-llama-cpp's build metadata names it. */
export const abiRelease = "v0.5.0";

/** A C pointer: an address, or null. */
export type Pointer = bigint | null;

export interface ModelParams {
  devices: Pointer;
  tensor_buft_overrides: Pointer;
  n_gpu_layers: number;
  split_mode: number;
  load_mode: number;
  lazy_mode: number;
  main_gpu: number;
  tensor_split: Pointer;
  progress_callback: Pointer;
  progress_callback_user_data: Pointer;
  kv_overrides: Pointer;
  vocab_only: boolean;
  check_tensors: boolean;
  use_extra_bufts: boolean;
  no_host: boolean;
  no_alloc: boolean;
  load_mtp: boolean;
}

const modelParams = koffi.struct({
  devices: "void *",
  tensor_buft_overrides: "void *",
  n_gpu_layers: "int32",
  split_mode: "int32",
  load_mode: "int32",
  lazy_mode: "int32",
  main_gpu: "int32",
  tensor_split: "void *",
  progress_callback: "void *",
  progress_callback_user_data: "void *",
  kv_overrides: "void *",
  vocab_only: "bool",
  check_tensors: "bool",
  use_extra_bufts: "bool",
  no_host: "bool",
  no_alloc: "bool",
  load_mtp: "bool",
});

export interface ContextParams {
  n_ctx: number;
  n_batch: number;
  n_ubatch: number;
  n_seq_max: number;
  n_rs_seq: number;
  n_outputs_max: number;
  n_outputs_max_per_seq: number;
  n_threads: number;
  n_threads_batch: number;
  ctx_type: number;
  rope_scaling_type: number;
  pooling_type: number;
  attention_type: number;
  flash_attn_type: number;
  rope_freq_base: number;
  rope_freq_scale: number;
  yarn_ext_factor: number;
  yarn_attn_factor: number;
  yarn_beta_fast: number;
  yarn_beta_slow: number;
  yarn_orig_ctx: number;
  defrag_thold: number;
  cb_eval: Pointer;
  cb_eval_user_data: Pointer;
  type_k: number;
  type_v: number;
  abort_callback: Pointer;
  abort_callback_data: Pointer;
  embeddings: boolean;
  offload_kqv: boolean;
  no_perf: boolean;
  op_offload: boolean;
  swa_full: boolean;
  kv_unified: boolean;
  samplers: Pointer;
  n_samplers: number;
  ctx_other: Pointer;
}

const contextParams = koffi.struct({
  n_ctx: "uint32",
  n_batch: "uint32",
  n_ubatch: "uint32",
  n_seq_max: "uint32",
  n_rs_seq: "uint32",
  n_outputs_max: "uint32",
  n_outputs_max_per_seq: "uint32",
  n_threads: "int32",
  n_threads_batch: "int32",
  ctx_type: "int32",
  rope_scaling_type: "int32",
  pooling_type: "int32",
  attention_type: "int32",
  flash_attn_type: "int32",
  rope_freq_base: "float",
  rope_freq_scale: "float",
  yarn_ext_factor: "float",
  yarn_attn_factor: "float",
  yarn_beta_fast: "float",
  yarn_beta_slow: "float",
  yarn_orig_ctx: "uint32",
  defrag_thold: "float",
  cb_eval: "void *",
  cb_eval_user_data: "void *",
  type_k: "int32",
  type_v: "int32",
  abort_callback: "void *",
  abort_callback_data: "void *",
  embeddings: "bool",
  offload_kqv: "bool",
  no_perf: "bool",
  op_offload: "bool",
  swa_full: "bool",
  kv_unified: "bool",
  samplers: "void *",
  n_samplers: "size_t",
  ctx_other: "void *",
});

export interface Batch {
  n_tokens: number;
  token: Pointer;
  embd: Pointer;
  pos: Pointer;
  n_seq_id: Pointer;
  seq_id: Pointer;
  logits: Pointer;
}

const batch = koffi.struct({
  n_tokens: "int32",
  token: "void *",
  embd: "void *",
  pos: "void *",
  n_seq_id: "void *",
  seq_id: "void *",
  logits: "void *",
});

/** A call on one of koffi's own threads: the event loop goes on meanwhile. */
function onThread<Result>(
  called: ReturnType<LibraryHandle["func"]>,
): (...args: unknown[]) => Promise<Result> {
  return (...args) =>
    new Promise((resolve, reject) => {
      called.async(...args, (error: unknown, result: Result) => {
        if (error === null || error === undefined) resolve(result);
        else reject(error instanceof Error ? error : new Error("a native call failed"));
      });
    });
}

export interface Api {
  readonly version: () => string;
  readonly modelDefaults: () => ModelParams;
  readonly contextDefaults: () => ContextParams;
  readonly loadModeName: (mode: number) => string;
  readonly flashName: (type: number) => string;
  readonly typeName: (type: number) => string;
  readonly logSet: (callback: Pointer, userData: Pointer) => void;
  readonly backendInit: () => void;
  readonly backendByName: (name: string) => Pointer;
  readonly backendLoad: (path: string) => Pointer;
  readonly backendLoadAll: (directory: string) => void;
  readonly modelLoad: (path: string, params: ModelParams) => Promise<Pointer>;
  readonly modelFree: (model: Pointer) => void;
  readonly modelVocabulary: (model: Pointer) => Pointer;
  readonly modelLayers: (model: Pointer) => number;
  readonly vocabularySize: (vocabulary: Pointer) => number;
  readonly vocabularyEos: (vocabulary: Pointer) => number;
  readonly vocabularyEot: (vocabulary: Pointer) => number;
  readonly isEndOfGeneration: (vocabulary: Pointer, id: number) => boolean;
  readonly tokenize: (
    vocabulary: Pointer,
    text: Uint8Array,
    bytes: number,
    out: Int32Array,
    room: number,
    addSpecial: boolean,
    parseSpecial: boolean,
  ) => number;
  readonly contextInit: (model: Pointer, params: ContextParams) => Pointer;
  readonly contextFree: (context: Pointer) => void;
  readonly contextMemory: (context: Pointer) => Pointer;
  readonly contextSize: (context: Pointer) => number;
  readonly contextSequenceSize: (context: Pointer) => number;
  readonly memoryRemove: (memory: Pointer, sequence: number, from: number, to: number) => boolean;
  readonly decode: (context: Pointer, batch: Batch) => Promise<number>;
  readonly logits: (context: Pointer, index: number) => Pointer;
  readonly loraInit: (model: Pointer, path: string) => Pointer;
  readonly loraSet: (
    context: Pointer,
    adapters: BigUint64Array,
    count: number,
    scales: Float32Array,
  ) => number;
  /** memcpy to and from memory of ours. */
  readonly copyOut: (to: ArrayBufferView, from: bigint, bytes: number) => void;
  readonly copyIn: (to: bigint, from: ArrayBufferView, bytes: number) => void;
  /** Writes the default parameters into a buffer (x64 only): what a caller must have room for. */
  readonly probes: readonly ((out: Uint8Array) => void)[];
  /** Address of a pure function that ignores its arguments: a log callback that does nothing. */
  readonly silence: bigint;
}

export interface Libraries {
  readonly llama: LibraryHandle;
  readonly ggml: LibraryHandle;
  readonly ggmlBase: LibraryHandle;
  readonly libc: LibraryHandle;
}

/** Binds the functions. Throws (koffi's own error) when one of them is missing. */
export function bind({ llama, ggml, ggmlBase, libc }: Libraries): Api {
  const p = "void *";
  const bytes = koffi.pointer("uint8");
  const defaults = ["llama_model_default_params", "llama_context_default_params"];
  return {
    version: llama.func("llama_version", "const char *", []),
    modelDefaults: llama.func("llama_model_default_params", modelParams, []),
    contextDefaults: llama.func("llama_context_default_params", contextParams, []),
    loadModeName: llama.func("llama_load_mode_name", "const char *", ["int32"]),
    flashName: llama.func("llama_flash_attn_type_name", "const char *", ["int32"]),
    typeName: ggmlBase.func("ggml_type_name", "const char *", ["int32"]),
    logSet: llama.func("llama_log_set", "void", [p, p]),
    backendInit: llama.func("llama_backend_init", "void", []),
    backendByName: ggml.func("ggml_backend_reg_by_name", p, ["const char *"]),
    backendLoad: ggml.func("ggml_backend_load", p, ["const char *"]),
    backendLoadAll: ggml.func("ggml_backend_load_all_from_path", "void", ["const char *"]),
    modelLoad: onThread(llama.func("llama_model_load_from_file", p, ["const char *", modelParams])),
    modelFree: llama.func("llama_model_free", "void", [p]),
    modelVocabulary: llama.func("llama_model_get_vocab", p, [p]),
    modelLayers: llama.func("llama_model_n_layer", "int32", [p]),
    vocabularySize: llama.func("llama_vocab_n_tokens", "int32", [p]),
    vocabularyEos: llama.func("llama_vocab_eos", "int32", [p]),
    vocabularyEot: llama.func("llama_vocab_eot", "int32", [p]),
    isEndOfGeneration: llama.func("llama_vocab_is_eog", "bool", [p, "int32"]),
    tokenize: llama.func("llama_tokenize", "int32", [
      p,
      bytes,
      "int32",
      koffi.pointer("int32"),
      "int32",
      "bool",
      "bool",
    ]),
    contextInit: llama.func("llama_init_from_model", p, [p, contextParams]),
    contextFree: llama.func("llama_free", "void", [p]),
    contextMemory: llama.func("llama_get_memory", p, [p]),
    contextSize: llama.func("llama_n_ctx", "uint32", [p]),
    contextSequenceSize: llama.func("llama_n_ctx_seq", "uint32", [p]),
    memoryRemove: llama.func("llama_memory_seq_rm", "bool", [p, "int32", "int32", "int32"]),
    decode: onThread(llama.func("llama_decode", "int32", [p, batch])),
    logits: llama.func("llama_get_logits_ith", p, [p, "int32"]),
    loraInit: llama.func("llama_adapter_lora_init", p, [p, "const char *"]),
    loraSet: llama.func("llama_set_adapters_lora", "int32", [
      p,
      koffi.pointer("uint64"),
      "size_t",
      koffi.pointer("float"),
    ]),
    copyOut: libc.func("memcpy", "void", [p, p, "size_t"]),
    copyIn: libc.func("memcpy", "void", [p, p, "size_t"]),
    probes: defaults.map((name) => llama.func(name, "void", [bytes])),
    silence: llama.symbol("llama_max_devices") as bigint,
  };
}

function refuse(what: string): never {
  throw new UnavailableError("engine.abi", `llama.cpp is not as expected: ${what}`, "none");
}

function expectAll<T extends object>(name: string, found: T, wanted: Partial<T>): void {
  for (const key of Object.keys(wanted) as (keyof T & string)[]) {
    if (found[key] === wanted[key]) continue;
    refuse(`${name}.${key} is ${String(found[key])}, not ${String(wanted[key])}`);
  }
}

const expectedModel: Partial<ModelParams> = {
  devices: null,
  n_gpu_layers: -1,
  split_mode: 1,
  load_mode: -1,
  lazy_mode: 1,
  main_gpu: 0,
  kv_overrides: null,
  vocab_only: false,
  use_extra_bufts: true,
  no_alloc: false,
};

const expectedContext: Partial<ContextParams> = {
  n_ctx: 512,
  n_batch: 2048,
  n_ubatch: 512,
  n_seq_max: 1,
  n_outputs_max: 0,
  n_threads: 4,
  n_threads_batch: 4,
  rope_scaling_type: -1,
  pooling_type: -1,
  attention_type: -1,
  flash_attn_type: -1,
  yarn_ext_factor: -1,
  defrag_thold: -1,
  cb_eval: null,
  type_k: 1,
  type_v: 1,
  abort_callback: null,
  embeddings: false,
  offload_kqv: true,
  no_perf: true,
  op_offload: true,
  swa_full: true,
  kv_unified: false,
  samplers: null,
  n_samplers: 0,
  ctx_other: null,
};

/** Values of enumerations as they are used here. */
export const loadModeNone = 0;
export const lazyModeOff = 0;
export const flash = { disabled: 0, enabled: 1 } as const;
export const kvTypes = { f16: 1, q8_0: 8, q4_0: 2 } as const;
export type KvType = keyof typeof kvTypes;

/** How many bytes a function writes: those that agree after two runs over different backgrounds. */
function written(probe: (out: Uint8Array) => void): number {
  const [one, two] = [new Uint8Array(1024).fill(0xa5), new Uint8Array(1024).fill(0x5a)];
  probe(one);
  probe(two);
  return one.findLastIndex((byte, at) => byte === two[at]) + 1;
}

/**
 * Throws UnavailableError `engine.abi` when the library is not what the structures above describe.
 * On x64 the structures' sizes are measured; elsewhere the defaults and names must do.
 */
export function checkAbi(api: Api, arch: string): void {
  const version = api.version();
  if (!version.startsWith("0.5.0")) refuse(`version "${version}"`);
  if (arch === "x64") {
    // A returned structure is written through a hidden first argument there (System V, class MEMORY).
    const sizes = api.probes.map(written);
    const expected = [koffi.offsetof(modelParams, "load_mtp") + 1, koffi.sizeof(contextParams)];
    for (const [i, size] of sizes.entries()) {
      if (size !== expected[i]) refuse(`parameters of ${size} bytes, not ${expected[i] ?? 0}`);
    }
  }
  expectAll("model parameters", api.modelDefaults(), expectedModel);
  expectAll("context parameters", api.contextDefaults(), expectedContext);
  const names = [api.loadModeName(loadModeNone), api.flashName(flash.disabled)];
  if (names.join() !== "none,disabled") refuse(`modes are named ${names.join()}`);
  for (const [name, value] of Object.entries(kvTypes)) {
    if (api.typeName(value) !== name)
      refuse(`type ${value} is ${api.typeName(value)}, not ${name}`);
  }
}
