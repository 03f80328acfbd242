/**
 * The body of add-checkpoint, C2SP tlog-witness (spec/witness.md):
 *
 *   old <size>\n  then proof hashes in base64, a line each  then \n  then the checkpoint's note
 */
import { InvalidError } from "../base/assert.ts";
import { decodeUtf8 } from "../base/bytes.ts";
import { limits } from "../base/limits.ts";
import { parseDecimal } from "../format/checkpoint.ts";
import { fromBase64 } from "../format/note.ts";

export interface AddCheckpoint {
  /** Size of the tree from which the proof leads to the checkpoint. */
  readonly old: number;
  readonly proof: readonly Buffer[];
  /** The bytes of the checkpoint's note. */
  readonly note: Buffer;
}

/** Most bytes that a body can have. */
export const addCheckpointMax = limits.note + 64 * (limits.consistencyProof + 2);

export function encodeAddCheckpoint({ old, proof, note }: AddCheckpoint): Buffer {
  const lines = [`old ${old}`, ...proof.map((hash) => hash.toString("base64"))];
  return Buffer.concat([Buffer.from(`${lines.join("\n")}\n\n`), note]);
}

function wrong(why: string): never {
  throw new InvalidError("add-checkpoint.body", why);
}

/** Parses a body; the note stays bytes. Throws InvalidError `add-checkpoint.*`, `checkpoint.number`, `note.base64`. */
export function parseAddCheckpoint(bytes: Buffer): AddCheckpoint {
  if (bytes.length > addCheckpointMax) wrong("the body is too long");
  const at = bytes.indexOf("\n\n");
  if (at === -1) wrong("no empty line stands before the checkpoint");
  const [oldLine = "", ...hashLines] = decodeUtf8(bytes.subarray(0, at)).split("\n");
  if (!oldLine.startsWith("old ")) wrong("the first line is not the old size");
  if (hashLines.length > limits.consistencyProof) wrong("the proof has too many hashes");
  const proof = hashLines.map(fromBase64);
  if (proof.some((hash) => hash.length !== 32)) wrong("a proof hash is not 32 bytes");
  return { old: parseDecimal(oldLine.slice(4)), proof, note: bytes.subarray(at + 2) };
}
