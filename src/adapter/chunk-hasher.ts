/** Hashes chunks of weights in a worker thread of this process, so that a second core can. */
import { Worker } from "node:worker_threads";
import { UnavailableError } from "../base/assert.ts";
import type { ChunkHasher } from "../gateway/chunk-hasher.port.ts";

/** The program of the thread: [number, bytes] asks, [number, leaf hash] answers. */
const program = new URL("./chunk-hasher-worker.ts", import.meta.url);

const hashBytes = 32;

/**
 * Starts the thread. It knows nothing but the bytes it is told to hash: no arguments, no environment.
 * If it ends, or answers with anything but a hash, every call before and after that gets an
 * UnavailableError `hasher.lost`. `script` is for tests of just that.
 */
export function openChunkHasher(script: URL = program): ChunkHasher {
  return new WorkerHasher(script);
}

class WorkerHasher implements ChunkHasher {
  readonly #worker: Worker;
  #asked = 0;
  #waiting: ((leaf: Buffer | Error) => void)[] = [];
  #lost: UnavailableError | null = null;
  #closed = false;

  constructor(script: URL) {
    this.#worker = new Worker(script, {
      ...{ name: "chunk-hasher", env: {}, argv: [] },
      // The flags of the process, `--input-type` for one, are not for a file.
      execArgv: [],
    });
    this.#worker.on("message", (answer: unknown) => {
      this.#onAnswer(answer);
    });
    this.#worker.on("messageerror", (error) => {
      this.#fail(error.message);
    });
    this.#worker.on("error", (error) => {
      this.#fail(error instanceof Error ? error.message : "it threw what is no error");
    });
    this.#worker.on("exit", (code) => {
      this.#fail(`it ended with code ${code}`);
    });
  }

  allocate(bytes: number): Buffer {
    // Shared: the thread reads it where it lies.
    return Buffer.from(new SharedArrayBuffer(bytes));
  }

  leafHash(data: Buffer, done: (leaf: Buffer | Error) => void): void {
    if (this.#closed) return;
    if (this.#lost !== null) {
      done(this.#lost);
      return;
    }
    this.#waiting.push(done);
    // A plain view: of shared memory it is passed on as such, of any other as a copy of its bytes.
    const shared = data.buffer instanceof SharedArrayBuffer;
    this.#worker.postMessage([
      this.#asked++,
      shared ? new Uint8Array(data.buffer, data.byteOffset, data.length) : Uint8Array.from(data),
    ]);
  }

  close(): void {
    this.#closed = true;
    this.#waiting = [];
    void this.#worker.terminate();
  }

  #onAnswer(answer: unknown): void {
    if (this.#closed || this.#lost !== null) return;
    const [number, leaf] = Array.isArray(answer) ? (answer as unknown[]) : [];
    const due = this.#asked - this.#waiting.length;
    const done = this.#waiting[0];
    const isHash = leaf instanceof Uint8Array && leaf.length === hashBytes;
    if (done === undefined || number !== due || !isHash) {
      this.#fail("it answered out of turn, or with no hash");
      return;
    }
    this.#waiting.shift();
    done(Buffer.from(leaf));
  }

  #fail(why: string): void {
    if (this.#closed || this.#lost !== null) return;
    const text = `the hashing thread is lost: ${why}`;
    const lost = new UnavailableError("hasher.lost", text, "none");
    this.#lost = lost;
    const waiting = this.#waiting;
    this.#waiting = [];
    void this.#worker.terminate();
    for (const done of waiting) done(lost);
  }
}
