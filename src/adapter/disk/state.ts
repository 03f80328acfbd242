/**
 * The gateway's small state, one file, replaced as a whole: boot epoch, halt order, released orders.
 *
 *   <64 hex digits: HMAC-SHA256 of the rest> "\n" <JSON> "\n"
 *
 * Trust: the HMAC key is the gateway's. Whoever holds the disk without it can read the state and put
 * back an older file, not write one. An older file would repeat epochs, thus tags: the ring and the
 * leaf log refuse an epoch that they already hold. A hardware counter is to close that gap for a disk
 * put back as a whole (docs/TRUST.md). A thief of the key can lift a halt at the next boot.
 */
import type { KeyObject } from "node:crypto";
import { dirname } from "node:path";
import { InvalidError, UnavailableError } from "../../base/assert.ts";
import { decodeUtf8, equalBytes, fromHex, toHex } from "../../base/bytes.ts";
import { hmacSha256 } from "../../base/hash.ts";
import { parseJson, type Json } from "../../format/json.ts";
import { epochMax } from "../../format/tag.ts";
import type { StateFile, StoredHalt } from "../../gateway/store.port.ts";
import { replaceFile, systemDisk, type Disk } from "./file.ts";

interface State {
  readonly epoch: number;
  readonly halt: StoredHalt | null;
  readonly released: readonly string[];
}

const empty: State = { epoch: 0, halt: null, released: [] };
/** Largest file that is read: bounds the list of released orders to about 240,000. */
const fileBytesMax = 2 ** 24;

function encodeState(state: State, key: KeyObject): Buffer {
  const json = Buffer.from(`${JSON.stringify({ version: 1, ...state })}\n`, "utf8");
  return Buffer.concat([Buffer.from(`${toHex(hmacSha256(key, json))}\n`), json]);
}

function wrong(what: string): never {
  throw new InvalidError("state.damaged", `the state file is damaged: ${what}; it is never reset`);
}

function parseHalt(json: Json | undefined): StoredHalt | null {
  if (json === null) return null;
  if (json === undefined || typeof json !== "object" || Array.isArray(json)) return wrong("halt");
  const { digest, reason, sinceMs } = json;
  if (typeof digest !== "string" || typeof reason !== "string" || typeof sinceMs !== "number") {
    return wrong("halt");
  }
  return { digest, reason, sinceMs };
}

function parseReleased(json: Json | undefined): string[] {
  if (!Array.isArray(json)) return wrong("released");
  return json.map((digest) => (typeof digest === "string" ? digest : wrong("released")));
}

/** Parses a state file. Throws InvalidError `state.damaged` on anything but what was written. */
function decodeState(bytes: Buffer, key: KeyObject): State {
  if (bytes.length > fileBytesMax || bytes.length < 66 || bytes[64] !== 0x0a) wrong("its shape");
  const json = bytes.subarray(65);
  let mac: Uint8Array;
  let top: Json;
  try {
    mac = fromHex(bytes.toString("latin1", 0, 64), 32);
    if (!equalBytes(mac, hmacSha256(key, json))) wrong("its authentication fails");
    top = parseJson(decodeUtf8(json));
  } catch (error) {
    return wrong(error instanceof Error ? error.message : "unreadable");
  }
  if (typeof top !== "object" || top === null || Array.isArray(top)) return wrong("its shape");
  const { version, epoch } = top;
  if (version !== 1) return wrong("its version");
  if (typeof epoch !== "number" || !Number.isInteger(epoch) || epoch < 0 || epoch > epochMax) {
    return wrong("epoch");
  }
  return { epoch, halt: parseHalt(top["halt"]), released: parseReleased(top["released"]) };
}

class DiskState implements StateFile {
  readonly #disk: Disk;
  readonly #path: string;
  readonly #key: KeyObject;
  #state: State;
  #released: ReadonlySet<string>;
  #queue: Promise<unknown> = Promise.resolve();
  #broken: UnavailableError | null = null;

  constructor(disk: Disk, path: string, key: KeyObject, state: State) {
    this.#disk = disk;
    this.#path = path;
    this.#key = key;
    this.#state = state;
    this.#released = new Set(state.released);
  }

  get halt(): StoredHalt | null {
    return this.#state.halt;
  }

  get released(): ReadonlySet<string> {
    return this.#released;
  }

  async nextEpoch(): Promise<number> {
    const state = await this.#change((before) => {
      if (before.epoch >= epochMax) {
        throw new UnavailableError("state.epochs", "every boot epoch has been used", "none");
      }
      return { ...before, epoch: before.epoch + 1 };
    });
    return state.epoch;
  }

  async setHalt(halt: StoredHalt | null): Promise<void> {
    await this.#change((before) => ({ ...before, halt }));
  }

  async addReleased(digest: string): Promise<void> {
    await this.#change((before) =>
      before.released.includes(digest)
        ? before
        : { ...before, released: [...before.released, digest] },
    );
  }

  /** One change at a time; what is in memory is what is durable. */
  #change(next: (before: State) => State): Promise<State> {
    const run = this.#queue.then(async () => {
      if (this.#broken !== null) throw this.#broken;
      const after = next(this.#state);
      if (after === this.#state) return after;
      try {
        await replaceFile(this.#disk, this.#path, [encodeState(after, this.#key)]);
      } catch (error) {
        // The rename may have happened: the file is read again at the next start, not guessed about.
        if (error instanceof UnavailableError) this.#broken = error;
        throw error;
      }
      this.#state = after;
      this.#released = new Set(after.released);
      return after;
    });
    this.#queue = run.catch(() => undefined);
    return run;
  }
}

export interface StateOptions {
  readonly path: string;
  /** HMAC key of the file. */
  readonly key: KeyObject;
  readonly disk?: Disk;
}

/**
 * Opens the state file; an absent one is epoch 0 (whether that may be is for openGatewayStore to
 * say). Throws InvalidError `state.damaged`; UnavailableError `disk.*`.
 */
export async function openState(options: StateOptions): Promise<StateFile> {
  const disk = options.disk ?? systemDisk;
  await disk.makeDirectory(dirname(options.path));
  const present = await disk.exists(options.path);
  const state = present ? decodeState(await disk.read(options.path), options.key) : empty;
  return new DiskState(disk, options.path, options.key, state);
}
