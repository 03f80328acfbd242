/**
 * The gateway's small state, one file, replaced as a whole: boot epoch, orders that stand, released
 * orders, releases that the recomputer has yet to hear of, the newest root and whitelist. Version 1 knew
 * only one halt, version 2 no whitelist, version 3 one halt; they are read, and version 4 written.
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
import { parseJson, type Json, type JsonObject } from "../../format/json.ts";
import { asTag, epochMax } from "../../format/tag.ts";
import { parseTrustSeen, type TrustSeen } from "../../format/trust-memory.ts";
import type {
  StandingHalt,
  StandingOrders,
  StateChange,
  StateFile,
  StoredHalt,
  StoredRecheck,
  StoredSample,
  UntoldRelease,
} from "../../gateway/store.port.ts";
import { replaceFile, systemDisk, type Disk } from "./file.ts";

export interface State extends StandingOrders {
  readonly epoch: number;
  readonly trust: TrustSeen | null;
  readonly released: readonly string[];
  readonly untold: readonly UntoldRelease[];
}

const noOrders: StandingOrders = { halts: [], quarantine: null, sample: null, recheck: null };
export const emptyState: State = { epoch: 0, trust: null, ...noOrders, released: [], untold: [] };
/** Releases kept for a recomputer that does not answer: the oldest go first. */
const untoldMax = 64;
/** Largest file that is read: bounds the list of released orders to about 240,000. */
const fileBytesMax = 2 ** 24;

function encodeState(state: State, key: KeyObject): Buffer {
  const recheck =
    state.recheck === null
      ? null
      : { ...state.recheck, through: state.recheck.through.toString(16) };
  const untold = state.untold.map(({ digest, sealed }) => ({ digest, sealed: toHex(sealed) }));
  const text = JSON.stringify({ version: 4, ...state, recheck, untold });
  const json = Buffer.from(`${text}\n`, "utf8");
  return Buffer.concat([Buffer.from(`${toHex(hmacSha256(key, json))}\n`), json]);
}

function wrong(what: string): never {
  throw new InvalidError("state.damaged", `the state file is damaged: ${what}; it is never reset`);
}

function objectOf(json: Json | undefined, what: string): JsonObject | null {
  if (json === null) return null;
  if (json === undefined || typeof json !== "object" || Array.isArray(json)) return wrong(what);
  return json;
}

function haltOf(from: JsonObject, what: string): StoredHalt {
  const { digest, reason, sinceMs } = from;
  if (typeof digest !== "string" || typeof reason !== "string" || typeof sinceMs !== "number") {
    return wrong(what);
  }
  return { digest, reason, sinceMs };
}

function parseHalt(json: Json | undefined, what: string): StoredHalt | null {
  const from = objectOf(json, what);
  return from === null ? null : haltOf(from, what);
}

/** Until version 3 there was at most one, and nobody wrote down whose it was. */
function parseHalts(top: JsonObject, version: number): StandingHalt[] {
  if (version < 4) {
    const halt = parseHalt(top["halt"], "halt");
    return halt === null ? [] : [{ ...halt, signer: "" }];
  }
  const { halts } = top;
  if (!Array.isArray(halts)) return wrong("halts");
  return halts.map((entry) => {
    const from = objectOf(entry, "halts") ?? wrong("halts");
    const { signer } = from;
    if (typeof signer !== "string") return wrong("halts");
    return { ...haltOf(from, "halts"), signer };
  });
}

function parseSample(json: Json | undefined): StoredSample | null {
  const from = objectOf(json, "sample");
  if (from === null) return null;
  const { epsilon } = from;
  if (typeof epsilon !== "number" || !(epsilon > 0 && epsilon <= 1)) return wrong("sample");
  return { ...haltOf(from, "sample"), epsilon };
}

function parseRecheck(json: Json | undefined): StoredRecheck | null {
  const from = objectOf(json, "recheck");
  if (from === null) return null;
  // A recheck that an older version wrote has no total; it is counted when it goes on.
  const { through, sent, lost, of = null, done } = from;
  if (typeof through !== "string" || !/^[0-9a-f]{1,16}$/.test(through)) return wrong("recheck");
  if (typeof sent !== "number" || typeof lost !== "number" || typeof done !== "boolean") {
    return wrong("recheck");
  }
  if (of !== null && typeof of !== "number") return wrong("recheck");
  const tag = asTag(BigInt(`0x${through}`));
  return { ...haltOf(from, "recheck"), through: tag, sent, lost, of, done };
}

function parseUntold(json: Json | undefined): UntoldRelease[] {
  if (!Array.isArray(json)) return wrong("untold");
  return json.map((entry) => {
    const { digest, sealed } = objectOf(entry, "untold") ?? wrong("untold");
    if (typeof digest !== "string" || typeof sealed !== "string") return wrong("untold");
    return { digest, sealed: Buffer.from(sealed, "hex") };
  });
}

/** From version 3 on it always says what it knows: a field that is gone is damage, not ignorance. */
function parseTrust(json: Json | undefined, version: number): TrustSeen | null {
  if (json === null || (json === undefined && version < 3)) return null;
  if (json === undefined) return wrong("trust");
  try {
    return parseTrustSeen(json);
  } catch (error) {
    return wrong(error instanceof Error ? error.message : "trust");
  }
}

function parseReleased(json: Json | undefined): string[] {
  if (!Array.isArray(json)) return wrong("released");
  return json.map((digest) => (typeof digest === "string" ? digest : wrong("released")));
}

/** The JSON of a state file, its authentication checked. */
function authenticated(bytes: Buffer, key: KeyObject): JsonObject {
  if (bytes.length > fileBytesMax || bytes.length < 66 || bytes[64] !== 0x0a) wrong("its shape");
  const json = bytes.subarray(65);
  try {
    const mac = fromHex(bytes.toString("latin1", 0, 64), 32);
    if (!equalBytes(mac, hmacSha256(key, json))) wrong("its authentication fails");
    return objectOf(parseJson(decodeUtf8(json)), "its shape") ?? wrong("its shape");
  } catch (error) {
    return wrong(error instanceof Error ? error.message : "unreadable");
  }
}

/** Parses a state file. Throws InvalidError `state.damaged` on anything but what was written. */
function decodeState(bytes: Buffer, key: KeyObject): State {
  const top = authenticated(bytes, key);
  const { version, epoch } = top;
  if (typeof version !== "number" || ![1, 2, 3, 4].includes(version)) return wrong("its version");
  if (typeof epoch !== "number" || !Number.isInteger(epoch) || epoch < 0 || epoch > epochMax) {
    return wrong("epoch");
  }
  const common = {
    epoch,
    halts: parseHalts(top, version),
    released: parseReleased(top["released"]),
  };
  if (version === 1) return { ...emptyState, ...common };
  return {
    ...common,
    trust: parseTrust(top["trust"], version),
    quarantine: parseHalt(top["quarantine"], "quarantine"),
    sample: parseSample(top["sample"]),
    recheck: parseRecheck(top["recheck"]),
    untold: parseUntold(top["untold"]),
  };
}

/** The state after a change. Pure. */
export function stateAfter(before: State, change: StateChange): State {
  const { released = [], untold, told, ...orders } = change;
  const waiting = before.untold.filter(({ digest }) => digest !== told);
  return {
    ...before,
    ...orders,
    released: [...new Set([...before.released, ...released])],
    untold: (untold === undefined ? waiting : [...waiting, untold]).slice(-untoldMax),
  };
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

  get halts(): readonly StandingHalt[] {
    return this.#state.halts;
  }

  get trust(): TrustSeen | null {
    return this.#state.trust;
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

  get quarantine(): StoredHalt | null {
    return this.#state.quarantine;
  }

  get sample(): StoredSample | null {
    return this.#state.sample;
  }

  get recheck(): StoredRecheck | null {
    return this.#state.recheck;
  }

  get untold(): readonly UntoldRelease[] {
    return this.#state.untold;
  }

  async change(change: StateChange): Promise<void> {
    await this.#change((before) => stateAfter(before, change));
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
  const state = present ? decodeState(await disk.read(options.path), options.key) : emptyState;
  return new DiskState(disk, options.path, options.key, state);
}
