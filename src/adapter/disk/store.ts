/**
 * Everything a gateway keeps on disk, in one directory:
 *
 *   outbox.db   kept pairs on their way, and the lock of the whole directory    adapter/sqlite/outbox.ts
 *   state       boot epoch, halts, released orders                               state.ts
 *   log/        the leaf log and its head                                       leaf-log.ts
 *   ring/       inputs and outputs, encrypted                                   ring.ts
 *
 * Trust: all keys here are derived from the gateway's root key, which is never in this directory. A
 * thief of the directory learns sizes, times, tags, digests and verdicts; a thief of the root key
 * besides reads every pair still in the ring or the outbox and can rewrite all four, which only copies
 * elsewhere (the recomputer's, the witnesses') then show.
 */
import type { KeyObject } from "node:crypto";
import { join } from "node:path";
import { InvalidError } from "../../base/assert.ts";
import { deriveKey } from "../../base/hash.ts";
import { limits } from "../../base/limits.ts";
import type { RandomSource } from "../../base/random.ts";
import { leafBytes } from "../../format/leaf.ts";
import { blockAlign } from "../../format/ring-block.ts";
import { tagEpoch } from "../../format/tag.ts";
import type { GatewayStore } from "../../gateway/store.port.ts";
import { openOutbox } from "../sqlite/outbox.ts";
import { systemDisk, type Disk } from "./file.ts";
import { openLeafLog, type DiskLeafLog } from "./leaf-log.ts";
import { largestPair, openRing, type DiskRing } from "./ring.ts";
import { openState } from "./state.ts";

export interface GatewayStoreOptions {
  readonly dir: string;
  /** The gateway's root key. It must come from outside `dir`. */
  readonly rootKey: KeyObject;
  /** Longest pair that the whitelist entry allows; bounds the ring and the outbox. */
  readonly entry: { readonly generation: { readonly contextTokens: number } };
  readonly random: RandomSource;
  readonly ringBytes: number;
  readonly segments: number;
  readonly outboxPairs: number;
  /** Most bytes of waiting payloads; default: whatever `outboxPairs` pairs may come to. */
  readonly outboxBytes?: number;
  /** Overrides of the largest record and pair, for small rings in tests. */
  readonly recordBytes?: number;
  readonly pairBytes?: number;
  readonly disk?: Disk;
}

export interface OpenGatewayStore {
  readonly store: GatewayStore & { readonly ring: DiskRing; readonly log: DiskLeafLog };
  /** The boot epoch of this start; strictly above every earlier one. */
  readonly epoch: number;
  /** What a crash or damage left behind, in words; empty after a clean stop. */
  readonly notes: readonly string[];
  readonly close: () => Promise<void>;
}

/** Largest encoded ProofRequest under a context of `tokens`. */
function largestRequest(tokens: number): number {
  return leafBytes + limits.input + 4096 + 4 * tokens + limits.outputText + 128;
}

const noSalt = new Uint8Array(0);

function notesOf(ring: DiskRing, log: DiskLeafLog): string[] {
  const notes: string[] = [];
  const { torn, damaged } = ring.recovered;
  if (torn) notes.push("the last write to the ring was cut short; nothing in it was ever released");
  if (damaged > 0) notes.push(`the ring is DAMAGED: ${damaged} blocks or headers cannot be read`);
  const { dropped } = log.recovered;
  if (dropped > 0) notes.push(`${dropped} bytes of leaves that were never committed were dropped`);
  return notes;
}

/**
 * Opens the store, making it where there is none, and takes the next boot epoch. The outbox comes
 * first, for it holds the lock; then the epoch is made durable; then log and ring, which must both
 * be older than it. Throws InvalidError (`state.*`, `log.*`, `ring.*`, `store.epoch`: refuse to start,
 * nothing was repaired) and UnavailableError (`outbox.*`, `disk.*`).
 */
export async function openGatewayStore(options: GatewayStoreOptions): Promise<OpenGatewayStore> {
  const { dir, rootKey, random } = options;
  const disk = options.disk ?? systemDisk;
  const key = (info: string): KeyObject => deriveKey(rootKey, noSalt, info);
  const tokens = options.entry.generation.contextTokens;
  await disk.makeDirectory(dir);
  const outbox = openOutbox({
    path: join(dir, "outbox.db"),
    key: key("weir outbox/1"),
    random,
    capacity: options.outboxPairs,
    capacityBytes: options.outboxBytes ?? options.outboxPairs * largestRequest(tokens),
  });
  let log: DiskLeafLog | undefined;
  let ring: DiskRing | undefined;
  const close = async (): Promise<void> => {
    await ring?.close();
    await log?.close();
    outbox.close();
  };
  try {
    const state = await openState({ path: join(dir, "state"), key: key("weir state/1"), disk });
    const epoch = await state.nextEpoch();
    log = await openLeafLog({ dir: join(dir, "log"), key: key("weir leaf head/1"), disk });
    if (log.highest !== null && tagEpoch(log.highest) >= epoch) {
      throw new InvalidError(
        "store.epoch",
        `the leaf log has leaves of epoch ${tagEpoch(log.highest)}, and this boot is epoch ${epoch}: ` +
          "the state file is older than the log",
      );
    }
    ring = await openRing({
      dir: join(dir, "ring"),
      key: key("weir ring key/1"),
      epoch,
      segmentBytes: Math.floor(options.ringBytes / options.segments / blockAlign) * blockAlign,
      segments: options.segments,
      random,
      ...(options.recordBytes === undefined ? {} : { recordBytes: options.recordBytes }),
      pairBytes: options.pairBytes ?? largestPair(tokens),
      disk,
    });
    return { store: { ring, log, outbox, state }, epoch, notes: notesOf(ring, log), close };
  } catch (error) {
    await close();
    throw error;
  }
}
