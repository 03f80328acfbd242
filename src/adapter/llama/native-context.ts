/** A context of llama.cpp: key-value cache, decode, logits. Used through native.ts. */
import koffi from "koffi";
import { assert, UnavailableError } from "../../base/assert.ts";
import { flash, kvTypes, type Api, type Batch, type KvType, type Pointer } from "./native-abi.ts";

export interface NativeContextOptions {
  /** Prompt and output together, per sequence. */
  readonly contextTokens: number;
  /** Independent sequences, numbered from 0. */
  readonly sequences: number;
  readonly threads: number;
  /** Most tokens that one `decode` takes. */
  readonly batch: number;
  /**
   * Precision of the cache, f16 by default. Without flash attention only the keys: llama.cpp keeps
   * quantised values only with it.
   */
  readonly kvType?: KvType;
  /** A LoRA adapter (GGUF), applied at scale 1. */
  readonly lora?: string;
  /** Off by default: without it results do not depend on how a prefill is cut into batches. */
  readonly flashAttention?: boolean;
}

/** Tokens of one decode: four arrays of one length. */
export interface NativeTokens {
  readonly ids: Int32Array;
  /** Place of each token in its sequence, from 0, each following the one before. */
  readonly positions: Int32Array;
  readonly sequences: Int32Array;
  /** 1 where the logits after the token are wanted, else 0. */
  readonly wanted: Uint8Array;
}

export interface NativeContext {
  /** Cells of each sequence, at least the tokens asked for. */
  readonly sequenceTokens: number;
  /**
   * Evaluates tokens on a thread of its own; one decode at a time (else BugError). Throws
   * UnavailableError `engine.down`; the sequences concerned are then to be forgotten.
   */
  decode(tokens: NativeTokens): Promise<void>;
  /**
   * Logits after token `row` of the last decode, vocabSize floats, copied: into `into` where given.
   * Only where they were wanted (else BugError).
   */
  logits(row: number, into?: Float32Array): Float32Array;
  /** Empties a sequence, from position `from` (0 by default) on. */
  forget(sequence: number, from?: number): void;
  /** Frees the context once a running decode is done. Idempotent. */
  close(): Promise<void>;
}

/** llama_batch with its arrays in C memory: an asynchronous call must not see them move. */
class BatchMemory {
  readonly #api: Api;
  readonly #room: number;
  readonly #ids: bigint;
  readonly #positions: bigint;
  readonly #counts: bigint;
  readonly #pointers: bigint;
  readonly #sequences: bigint;
  readonly #wanted: bigint;

  constructor(api: Api, room: number) {
    this.#api = api;
    this.#room = room;
    const array = (type: string): bigint => koffi.alloc(type, room) as bigint;
    this.#ids = array("int32");
    this.#positions = array("int32");
    this.#counts = array("int32");
    this.#pointers = array("uint64");
    this.#sequences = array("int32");
    this.#wanted = array("int8");
    // Each token is in one sequence, whose number is at the same place of `sequences`.
    const step = BigInt(Int32Array.BYTES_PER_ELEMENT);
    const pointers = BigUint64Array.from(
      { length: room },
      (_, at) => this.#sequences + step * BigInt(at),
    );
    api.copyIn(this.#pointers, pointers, pointers.byteLength);
    api.copyIn(this.#counts, new Int32Array(room).fill(1), 4 * room);
  }

  fill(tokens: NativeTokens): Batch {
    const count = tokens.ids.length;
    assert(count > 0 && count <= this.#room, "a decode takes 1 to `batch` tokens");
    for (const each of [tokens.positions, tokens.sequences, tokens.wanted]) {
      assert(each.length === count, "the arrays of a decode have one length");
    }
    this.#api.copyIn(this.#ids, tokens.ids, 4 * count);
    this.#api.copyIn(this.#positions, tokens.positions, 4 * count);
    this.#api.copyIn(this.#sequences, tokens.sequences, 4 * count);
    this.#api.copyIn(this.#wanted, tokens.wanted, count);
    return {
      n_tokens: count,
      token: this.#ids,
      embd: null,
      pos: this.#positions,
      n_seq_id: this.#counts,
      seq_id: this.#pointers,
      logits: this.#wanted,
    };
  }

  free(): void {
    const all = [this.#ids, this.#positions, this.#counts, this.#pointers, this.#sequences];
    for (const address of [...all, this.#wanted]) koffi.free(address);
  }
}

class LlamaNativeContext implements NativeContext {
  readonly sequenceTokens: number;
  readonly #api: Api;
  readonly #vocabSize: number;
  readonly #sequences: number;
  readonly #batch: BatchMemory;
  readonly #onClose: () => void;
  #context: Pointer;
  #wanted = new Uint8Array(0);
  #running: Promise<unknown> | null = null;
  #closed = false;

  constructor(
    api: Api,
    context: Pointer,
    vocabSize: number,
    options: NativeContextOptions,
    onClose: () => void,
  ) {
    this.#api = api;
    this.#context = context;
    this.#vocabSize = vocabSize;
    this.#sequences = options.sequences;
    this.#batch = new BatchMemory(api, options.batch);
    this.#onClose = onClose;
    this.sequenceTokens = api.contextSequenceSize(context);
  }

  /** llama.cpp ends the process over some of these rather than saying no. */
  #check(tokens: NativeTokens): void {
    assert(!this.#closed, "a closed context is not used");
    assert(this.#running === null, "one decode at a time");
    for (const id of tokens.ids) assert(id >= 0 && id < this.#vocabSize, "ids are known");
    for (const at of tokens.positions) assert(at >= 0 && at < this.sequenceTokens, "tokens fit");
    for (const at of tokens.sequences) assert(at >= 0 && at < this.#sequences, "sequences exist");
  }

  async decode(tokens: NativeTokens): Promise<void> {
    this.#check(tokens);
    const wanted = Uint8Array.from(tokens.wanted);
    this.#wanted = new Uint8Array(0);
    const running = this.#api.decode(this.#context, this.#batch.fill(tokens));
    this.#running = running.catch(() => undefined);
    let result: number;
    try {
      result = await running;
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      throw new UnavailableError("engine.down", `llama.cpp failed: ${message}`, "unknown");
    } finally {
      this.#running = null;
    }
    if (result !== 0) {
      throw new UnavailableError("engine.down", `llama.cpp failed: decode ${result}`, "unknown");
    }
    this.#wanted = wanted;
  }

  logits(row: number, into = new Float32Array(this.#vocabSize)): Float32Array {
    assert(!this.#closed && this.#running === null, "logits are read between decodes");
    assert(this.#wanted[row] === 1, "these logits were wanted of the last decode");
    assert(into.length === this.#vocabSize, "there is room for one position's logits");
    const from = this.#api.logits(this.#context, row);
    assert(from !== null, "llama.cpp has the logits that were wanted");
    this.#api.copyOut(into, from, into.byteLength);
    return into;
  }

  forget(sequence: number, from = 0): void {
    assert(!this.#closed && this.#running === null, "sequences change between decodes");
    assert(sequence >= 0 && sequence < this.#sequences, "the sequence exists");
    const done = this.#api.memoryRemove(this.#api.contextMemory(this.#context), sequence, from, -1);
    if (!done) throw new UnavailableError("engine.down", "llama.cpp kept a sequence", "unknown");
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#running;
    this.#api.contextFree(this.#context);
    this.#context = null;
    this.#batch.free();
    this.#onClose();
  }
}

/** llama.cpp rounds caches up to this many cells, and node-llama-cpp asks for that too. */
const cellsStep = 256;

function params(api: Api, options: NativeContextOptions): ReturnType<Api["contextDefaults"]> {
  const { sequences, threads, batch, kvType = "f16", flashAttention = false } = options;
  const made = api.contextDefaults();
  // One more than needed, as runtime.ts asks of node-llama-cpp: the same cache, the same rounding.
  const cells = (options.contextTokens + 1) * sequences;
  made.n_ctx = Math.ceil(cells / cellsStep) * cellsStep;
  made.n_batch = batch;
  made.n_ubatch = batch;
  made.n_seq_max = sequences;
  made.n_threads = threads;
  made.n_threads_batch = threads;
  made.flash_attn_type = flashAttention ? flash.enabled : flash.disabled;
  made.type_k = kvTypes[kvType];
  made.type_v = flashAttention ? kvTypes[kvType] : kvTypes.f16;
  made.no_perf = true;
  made.swa_full = false;
  return made;
}

/** See NativeModel.context. `onClose` is called once. */
export function openContext(
  api: Api,
  model: Pointer,
  vocabSize: number,
  options: NativeContextOptions,
  onClose: () => void,
): NativeContext {
  assert(options.sequences > 0 && options.threads > 0, "a context has sequences and threads");
  assert(options.batch >= options.sequences, "a batch has room for each sequence");
  // Adapters come before the context: it measures its graphs with them. The model frees them.
  const lora = options.lora === undefined ? null : api.loraInit(model, options.lora);
  if (options.lora !== undefined && lora === null) {
    const message = `llama.cpp cannot apply "${options.lora}" to this model`;
    throw new UnavailableError("engine.lora", message, "none");
  }
  const context = api.contextInit(model, params(api, options));
  if (context === null) {
    throw new UnavailableError("engine.context", "llama.cpp makes no such context", "none");
  }
  if (lora !== null) {
    const set = api.loraSet(context, BigUint64Array.of(lora), 1, Float32Array.of(1));
    if (set !== 0) {
      api.contextFree(context);
      throw new UnavailableError("engine.lora", "llama.cpp does not set the adapter", "none");
    }
  }
  return new LlamaNativeContext(api, context, vocabSize, options, onClose);
}
