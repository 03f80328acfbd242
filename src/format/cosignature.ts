/**
 * Cosignatures, C2SP tlog-cosignature, Ed25519 (type 4): a witness says that at some time this was the newest tree of a
 * log that it had seen, and that all it saw before was consistent with it (spec/checkpoint.md).
 *
 *   signature = u64 seconds || Ed25519("cosignature/v1\ntime <seconds>\n" || note text)
 */
import type { KeyObject } from "node:crypto";
import { assert, InvalidError } from "../base/assert.ts";
import { encodeUtf8, Reader, Writer } from "../base/bytes.ts";
import { publicKeyHex, sign, verify } from "../base/sign.ts";
import {
  isOfKey,
  noteKeyId,
  noteKeyType,
  type Note,
  type NoteKey,
  type NoteSignature,
} from "./note.ts";

/** A cosignature that was verified. */
export interface Cosignature {
  readonly signature: NoteSignature;
  /** When it was made, by the witness's clock; seconds since the Unix epoch. */
  readonly time: number;
}

function message(time: number, text: string): Uint8Array {
  return encodeUtf8(`cosignature/v1\ntime ${time}\n${text}`);
}

/** Cosigns a checkpoint's note text. `time`: seconds since the Unix epoch. */
export function cosign(name: string, key: KeyObject, text: string, time: number): NoteSignature {
  assert(Number.isSafeInteger(time) && time > 0, "a cosignature has a time");
  const bytes = new Writer(72)
    .u64(BigInt(time))
    .raw(sign(key, message(time, text)))
    .bytes();
  const id = noteKeyId(name, noteKeyType.cosignature, publicKeyHex(key));
  return { name, id, bytes };
}

/** Whether one signature line is this witness's over the text; null where it is another key's. Throws as below. */
export function openCosignature(
  signature: NoteSignature,
  text: string,
  witness: NoteKey,
): Cosignature | null {
  assert(witness.type === noteKeyType.cosignature, "witnesses have keys of type 4");
  if (!isOfKey(signature, witness)) return null;
  const from = new Reader(signature.bytes, "cosignature");
  const time = Number(from.u64());
  const good =
    Number.isSafeInteger(time) &&
    time > 0 &&
    verify(witness.key, message(time, text), from.raw(from.remaining));
  if (!good) {
    throw new InvalidError(
      "cosignature.signature",
      `a cosignature of ${witness.name} does not verify`,
    );
  }
  return { signature, time };
}

/**
 * The newest cosignature of a witness in a note; null when there is none. Throws InvalidError `cosignature.*` when one
 * that claims to be of this witness does not verify.
 */
export function cosignatureOf(note: Note, witness: NoteKey): Cosignature | null {
  let newest: Cosignature | null = null;
  for (const signature of note.signatures) {
    const found = openCosignature(signature, note.text, witness);
    if (found !== null && (newest === null || found.time > newest.time)) newest = found;
  }
  return newest;
}
