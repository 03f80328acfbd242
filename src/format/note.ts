/**
 * Signed notes, C2SP signed-note: a text and, after its last empty line, lines of signatures (spec/checkpoint.md).
 *
 *   — <key name> base64(u32 key ID || signature)
 *
 * A note says nothing before a key that the reader knows has verified it. Signatures of keys that he does not know are
 * skipped; one of a known key that fails refuses the whole note.
 */
import type { KeyObject } from "node:crypto";
import { assert, InvalidError } from "../base/assert.ts";
import { decodeUtf8, encodeUtf8, fromHex, toHex } from "../base/bytes.ts";
import { enrolledKey } from "../base/enrol.ts";
import { sha256 } from "../base/hash.ts";
import { limits } from "../base/limits.ts";
import { publicKeyHex, sign, verify } from "../base/sign.ts";

/** Signature types of C2SP signed-note that Weir knows: both Ed25519. */
export const noteKeyType = { note: 0x01, cosignature: 0x04 } as const;
export type NoteKeyType = (typeof noteKeyType)[keyof typeof noteKeyType];

/** A key that may verify signatures in notes. */
export interface NoteKey {
  readonly name: string;
  /** First four bytes of SHA-256(name, newline, type, public key), big-endian. */
  readonly id: number;
  readonly type: NoteKeyType;
  /** 64 hex digits. */
  readonly publicKey: string;
  readonly key: KeyObject;
}

/** A signature line as it stands: whose it claims to be, and what follows the key ID. */
export interface NoteSignature {
  readonly name: string;
  readonly id: number;
  readonly bytes: Buffer;
}

export interface Note {
  /** Ends in a newline; without the empty line that separates it. */
  readonly text: string;
  readonly signatures: readonly NoteSignature[];
}

const dash = "\u2014";

function wrong(code: string, why: string): never {
  throw new InvalidError(`note.${code}`, why);
}

/** Standard base64 (RFC 4648 section 4) in its one canonical spelling. Throws InvalidError `note.base64`. */
export function fromBase64(text: string): Buffer {
  const bytes = Buffer.from(text, "base64");
  if (bytes.toString("base64") !== text) wrong("base64", "not canonical base64");
  return bytes;
}

/** Key names: not empty, no Unicode space, no plus sign, no control character. Throws InvalidError `note.name`. */
export function checkKeyName(name: string): string {
  const bad =
    name === "" || name.length > limits.noteName || /[\s\p{White_Space}\p{Cc}+]/u.test(name);
  return bad || !name.isWellFormed() ? wrong("name", "not the name of a note key") : name;
}

/** The key ID of C2SP signed-note. `publicKey`: 64 hex digits. */
export function noteKeyId(name: string, type: NoteKeyType, publicKey: string): number {
  const raw = fromHex(publicKey, 32);
  return sha256(Buffer.concat([encodeUtf8(`${name}\n`), Buffer.of(type), raw])).readUInt32BE(0);
}

/** A key by its parts. Throws InvalidError `note.name`, `enrol.key`. */
export function noteKey(name: string, type: NoteKeyType, publicKey: string): NoteKey {
  checkKeyName(name);
  const id = noteKeyId(name, type, publicKey);
  return { name, id, type, publicKey, key: enrolledKey(publicKey) };
}

const hexId = (id: number): string => id.toString(16).padStart(8, "0");

/** `name+keyid+base64(type, public key)`. */
export function formatVkey(key: Omit<NoteKey, "key">): string {
  const material = Buffer.concat([Buffer.of(key.type), fromHex(key.publicKey, 32)]);
  return `${key.name}+${hexId(key.id)}+${material.toString("base64")}`;
}

/** Parses a verifier key. Throws InvalidError `note.vkey` (also for types we do not know), `note.*`, `enrol.key`. */
export function parseVkey(text: string): NoteKey {
  const [name, id, ...rest] = text.split("+");
  if (name === undefined || id === undefined || rest.length === 0) {
    return wrong("vkey", "a verifier key is NAME+KEYID+BASE64");
  }
  // Base64 may hold plus signs itself.
  const material = fromBase64(rest.join("+"));
  const type = Object.values(noteKeyType).find((known) => known === material[0]);
  if (type === undefined || material.length !== 33) {
    return wrong("vkey", "a verifier key of a type other than Ed25519 (1) or its cosignature (4)");
  }
  const key = noteKey(name, type, toHex(material.subarray(1)));
  if (hexId(key.id) !== id) wrong("vkey", "the key ID is not that of the name and the key");
  return key;
}

/** One signature line without its newline. */
function parseSignature(line: string): NoteSignature {
  const [mark, name, base64, ...more] = line.split(" ");
  if (mark !== dash || name === undefined || base64 === undefined || more.length > 0) {
    return wrong("signature-line", "a line after the text is not a signature");
  }
  const bytes = fromBase64(base64);
  if (bytes.length < 5) wrong("signature-line", "a signature is too short");
  return { name: checkKeyName(name), id: bytes.readUInt32BE(0), bytes: bytes.subarray(4) };
}

/** Parses lines of signatures, each ended by a newline; none is an error. Throws InvalidError `note.*`. */
export function parseSignatures(block: string): NoteSignature[] {
  if (!block.endsWith("\n")) wrong("signature-line", "the last signature has no newline");
  const lines = block.slice(0, -1).split("\n");
  if (lines.length > limits.noteSignatures) wrong("too-many", "too many signatures");
  return lines.map(parseSignature);
}

/** Parses a note; verifies nothing. Throws InvalidError `note.*`, `bytes.utf8`. */
export function parseNote(bytes: Uint8Array): Note {
  if (bytes.length > limits.note) wrong("too-long", "the note is too long");
  const whole = decodeUtf8(bytes);
  // eslint-disable-next-line no-control-regex -- the format forbids exactly these
  if (/[\u0000-\u0009\u000b-\u001f]/.test(whole))
    wrong("control", "the note has control characters");
  // The last empty line: the text may have others.
  const at = whole.lastIndexOf("\n\n");
  if (at === -1) wrong("separator", "no empty line separates text and signatures");
  return { text: whole.slice(0, at + 1), signatures: parseSignatures(whole.slice(at + 2)) };
}

/** The line of a signature, with its newline. */
export function signatureLine({ name, id, bytes }: NoteSignature): string {
  const head = Buffer.alloc(4);
  head.writeUInt32BE(id);
  return `${dash} ${name} ${Buffer.concat([head, bytes]).toString("base64")}\n`;
}

/** The bytes of a note. At least one signature; `text` ends in a newline. */
export function encodeNote(note: Note): Buffer {
  assert(note.text.endsWith("\n") && note.signatures.length > 0, "a note is text and signatures");
  return Buffer.from(`${note.text}\n${note.signatures.map(signatureLine).join("")}`);
}

/** Signs a text with a key of type `note`. */
export function signNote(name: string, key: KeyObject, text: string): NoteSignature {
  const id = noteKeyId(name, noteKeyType.note, publicKeyHex(key));
  return { name, id, bytes: sign(key, encodeUtf8(text)) };
}

/** Whether a signature claims to be of this key: name and key ID, both. */
export function isOfKey(signature: NoteSignature, key: NoteKey): boolean {
  return signature.name === key.name && signature.id === key.id;
}

/**
 * The signatures of one key of type `note` in a note, all verified; [] when it did not sign. Throws InvalidError
 * `note.signature` when one that claims to be of this key does not verify.
 */
export function signaturesOf(note: Note, key: NoteKey): NoteSignature[] {
  assert(key.type === noteKeyType.note, "cosignatures are verified by format/cosignature.ts");
  const own = note.signatures.filter((signature) => isOfKey(signature, key));
  for (const { bytes } of own) {
    if (!verify(key.key, encodeUtf8(note.text), bytes)) {
      wrong("signature", `a signature of ${key.name} does not verify`);
    }
  }
  return own;
}
