/**
 * Checkpoints, C2SP tlog-checkpoint: the note text in which a log says how long it is and what its root is
 * (spec/checkpoint.md).
 *
 *   <origin>\n<size>\n<base64 root>\n
 */
import type { KeyObject } from "node:crypto";
import { InvalidError } from "../base/assert.ts";
import {
  encodeNote,
  fromBase64,
  noteKeyId,
  noteKeyType,
  parseNote,
  signaturesOf,
  signNote,
  type Note,
  type NoteKey,
} from "./note.ts";

export interface Checkpoint {
  readonly origin: string;
  readonly size: number;
  readonly root: Buffer;
}

/** A checkpoint with the note that carries it. */
export interface SignedCheckpoint extends Checkpoint {
  readonly note: Note;
}

function wrong(why: string): never {
  throw new InvalidError("checkpoint.text", why);
}

/** A decimal without leading zeros that a double holds exactly. Throws InvalidError `checkpoint.number`. */
export function parseDecimal(text: string): number {
  const value = Number(text);
  if (!/^(?:0|[1-9][0-9]{0,15})$/.test(text) || !Number.isSafeInteger(value)) {
    throw new InvalidError("checkpoint.number", "not a decimal number without leading zeros");
  }
  return value;
}

/**
 * The origin of a gateway's log, which is also the name of its note key. A few digits of the key keep the logs of two
 * sites, or of one gateway before and after a new root key, apart. `publicKey`: 64 hex digits.
 */
export function logOrigin(gateway: string, publicKey: string): string {
  return `weir.local/${gateway}/${publicKey.slice(0, 12)}`;
}

/** The note text of a checkpoint. */
export function checkpointText({ origin, size, root }: Checkpoint): string {
  return `${origin}\n${size}\n${root.toString("base64")}\n`;
}

/**
 * Parses a checkpoint's text. Extension lines are refused: nobody could audit what they say. Throws InvalidError
 * `checkpoint.*`, `note.base64`.
 */
export function parseCheckpoint(text: string): Checkpoint {
  const [origin, size, root, end, ...more] = text.split("\n");
  if (origin === undefined || origin === "" || size === undefined || root === undefined) {
    return wrong("a checkpoint has three lines: origin, size, root");
  }
  if (end !== "" || more.length > 0) wrong("a checkpoint has three lines and no extensions");
  const hash = fromBase64(root);
  if (hash.length !== 32) wrong("the root is not 32 bytes");
  return { origin, size: parseDecimal(size), root: hash };
}

/** Reads a note that a log's key signed over a checkpoint of that log. Throws InvalidError `checkpoint.*`, `note.*`. */
export function openCheckpoint(bytes: Uint8Array, log: NoteKey): SignedCheckpoint {
  const note = parseNote(bytes);
  const checkpoint = parseCheckpoint(note.text);
  if (checkpoint.origin !== log.name) wrong(`a checkpoint of another log than ${log.name}`);
  if (signaturesOf(note, log).length === 0) {
    throw new InvalidError("checkpoint.unsigned", `the checkpoint is not signed by ${log.name}`);
  }
  return { ...checkpoint, note };
}

/** Signs a checkpoint with a log's key, whose name is the origin. */
export function signCheckpoint(key: KeyObject, checkpoint: Checkpoint): Buffer {
  const text = checkpointText(checkpoint);
  return encodeNote({ text, signatures: [signNote(checkpoint.origin, key, text)] });
}

/** The parts of a log's verifier key that its public key and gateway give. */
export function logKey(gateway: string, publicKey: string): Omit<NoteKey, "key"> {
  const name = logOrigin(gateway, publicKey);
  const type = noteKeyType.note;
  return { name, type, publicKey, id: noteKeyId(name, type, publicKey) };
}
