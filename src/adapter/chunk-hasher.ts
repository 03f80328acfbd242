/** Opens and hashes chunks of weights in worker threads of this process, so that further cores can. */
import type { KeyObject } from "node:crypto";
import { Worker } from "node:worker_threads";
import { assert, InvalidError, UnavailableError } from "../base/assert.ts";
import type { ChunkHasher } from "../gateway/chunk-hasher.port.ts";

/** The program of the threads. */
const program = new URL("./chunk-hasher-worker.ts", import.meta.url);

const hashBytes = 32;

/** Opening and hashing take longer than receiving and forwarding: two threads keep up with one. */
const threadCount = 2;

/**
 * Starts the threads. They know nothing but the bytes and the key they are told: no arguments, no environment.
 * If one ends, or answers with anything but a hash or what was wrong with the bytes, every call before and after
 * that gets an UnavailableError `hasher.lost`. `script` is for tests of just that.
 */
export function openChunkHasher(script: URL = program, threads: number = threadCount): ChunkHasher {
  return new WorkerHasher(script, threads);
}

/** One call under way. */
interface Call {
  readonly number: number;
  readonly done: (leaf: Buffer | Error) => void;
  result: Buffer | Error | null;
}

class WorkerHasher implements ChunkHasher {
  /** With what each has been asked and not yet answered, oldest first. */
  readonly #threads: { readonly worker: Worker; readonly asked: Call[] }[];
  #number = 0;
  /** In the order of the calls, which is the order of their answers to the caller. */
  #calls: Call[] = [];
  #lost: UnavailableError | null = null;
  #closed = false;

  constructor(script: URL, threads: number) {
    this.#threads = Array.from({ length: threads }, (_, i) => {
      const worker = new Worker(script, {
        ...{ name: `chunk-hasher-${i + 1}`, env: {}, argv: [] },
        // The flags of the process, `--input-type` for one, are not for a file.
        execArgv: [],
      });
      const asked: Call[] = [];
      worker.on("message", (answer: unknown) => {
        this.#onAnswer(asked, answer);
      });
      worker.on("messageerror", (error) => {
        this.#fail(error.message);
      });
      worker.on("error", (error) => {
        this.#fail(error instanceof Error ? error.message : "it threw what is no error");
      });
      worker.on("exit", (code) => {
        this.#fail(`it ended with code ${code}`);
      });
      return { worker, asked };
    });
  }

  allocate(bytes: number): Buffer {
    // Shared: the threads work on it where it lies.
    return Buffer.from(new SharedArrayBuffer(bytes));
  }

  useKey(key: KeyObject): void {
    if (this.#closed || this.#lost !== null) return;
    for (const { worker } of this.#threads) worker.postMessage(key);
  }

  open(sealed: Buffer, nonce: Buffer, done: (leaf: Buffer | Error) => void): void {
    if (this.#closed) return;
    if (this.#lost !== null) {
      done(this.#lost);
      return;
    }
    assert(sealed.buffer instanceof SharedArrayBuffer, "the memory is from `allocate`");
    const call: Call = { number: this.#number++, done, result: null };
    const thread = this.#threads[call.number % this.#threads.length];
    assert(thread !== undefined, "there is a thread");
    this.#calls.push(call);
    thread.asked.push(call);
    // A plain view: of shared memory it is passed on as such.
    const view = new Uint8Array(sealed.buffer, sealed.byteOffset, sealed.length);
    thread.worker.postMessage([call.number, view, Uint8Array.from(nonce)]);
  }

  close(): void {
    this.#closed = true;
    this.#calls = [];
    this.#terminate();
  }

  #terminate(): void {
    for (const { worker } of this.#threads) void worker.terminate();
  }

  #onAnswer(asked: Call[], answer: unknown): void {
    if (this.#closed || this.#lost !== null) return;
    const [number, said] = Array.isArray(answer) ? (answer as unknown[]) : [];
    const call = asked[0];
    const result = resultOf(said);
    if (call === undefined || number !== call.number || result === null) {
      this.#fail("it answered out of turn, or with no hash");
      return;
    }
    asked.shift();
    call.result = result;
    this.#deliver();
  }

  /** Tells what is known, up to the first call whose answer is not. */
  #deliver(): void {
    for (;;) {
      const call = this.#calls[0];
      if (call === undefined || call.result === null) return;
      this.#calls.shift();
      call.done(call.result);
    }
  }

  #fail(why: string): void {
    if (this.#closed || this.#lost !== null) return;
    const text = `the hashing thread is lost: ${why}`;
    const lost = new UnavailableError("hasher.lost", text, "none");
    this.#lost = lost;
    const calls = this.#calls;
    this.#calls = [];
    this.#terminate();
    for (const { done } of calls) done(lost);
  }
}

/** What a thread said: a leaf hash, or a code and a message; null where it is neither. */
function resultOf(said: unknown): Buffer | Error | null {
  if (said instanceof Uint8Array) return said.length === hashBytes ? Buffer.from(said) : null;
  const [code, message] = Array.isArray(said) ? (said as unknown[]) : [];
  if (typeof code !== "string" || typeof message !== "string") return null;
  return new InvalidError(code, message);
}
