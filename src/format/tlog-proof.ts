/**
 * Offline proofs that an entry is in a log, C2SP tlog-proof: index, inclusion proof, and a checkpoint with its
 * cosignatures, as one text (spec/checkpoint.md). What a receipt is to somebody who asks nobody.
 */
import { InvalidError } from "../base/assert.ts";
import { decodeUtf8 } from "../base/bytes.ts";
import { limits } from "../base/limits.ts";
import { verifyInclusion } from "../base/merkle.ts";
import { openCheckpoint, parseDecimal, type SignedCheckpoint } from "./checkpoint.ts";
import { cosignatureOf } from "./cosignature.ts";
import { fromBase64, type NoteKey } from "./note.ts";

const firstLine = "c2sp.org/tlog-proof@v1";
/** A tree of 2^53 leaves has audit paths of 53 hashes. */
const hashesMax = 63;

export interface TlogProof {
  readonly index: number;
  /** Bottom first. */
  readonly hashes: readonly Buffer[];
  /** The bytes of the checkpoint's note. */
  readonly checkpoint: Buffer;
}

/** Whose word a reader takes: the log's own key and one witness of each party, all of whom must have signed. */
export interface LogPolicy {
  readonly log: NoteKey;
  readonly witnesses: readonly NoteKey[];
}

/** The text of a proof. */
export function encodeTlogProof({ index, hashes, checkpoint }: TlogProof): Buffer {
  const lines = [firstLine, `index ${index}`, ...hashes.map((hash) => hash.toString("base64"))];
  return Buffer.concat([Buffer.from(`${lines.join("\n")}\n\n`), checkpoint]);
}

function wrong(why: string): never {
  throw new InvalidError("tlog-proof.text", why);
}

/**
 * Parses a proof; verifies nothing. An `extra` line is read over: it is not authenticated, and Weir writes none. Throws
 * InvalidError `tlog-proof.*`, `checkpoint.number`, `note.base64`, `bytes.utf8`.
 */
export function parseTlogProof(bytes: Uint8Array): TlogProof {
  if (bytes.length > limits.note + 64 * (hashesMax + 8)) wrong("the proof is too long");
  const at = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).indexOf("\n\n");
  if (at === -1) wrong("no empty line stands before the checkpoint");
  const [first, ...lines] = decodeUtf8(bytes.subarray(0, at)).split("\n");
  if (first !== firstLine) wrong(`the first line is not ${firstLine}`);
  if (lines[0]?.startsWith("extra ") === true) fromBase64((lines.shift() ?? "").slice(6));
  const [indexLine, ...hashLines] = lines;
  if (indexLine?.startsWith("index ") !== true) return wrong("the line of the index is missing");
  if (hashLines.length > hashesMax) wrong("too many hashes");
  const hashes = hashLines.map(fromBase64);
  if (hashes.some((hash) => hash.length !== 32)) wrong("a hash is not 32 bytes");
  const index = parseDecimal(indexLine.slice(6));
  return { index, hashes, checkpoint: Buffer.from(bytes.subarray(at + 2)) };
}

/**
 * Checks that the log's key signed the checkpoint and every witness of the policy cosigned it. Throws InvalidError
 * `checkpoint.*`, `note.*`, `cosignature.*`; `checkpoint.cosigned` names the witness that did not.
 */
export function openCosigned(bytes: Uint8Array, policy: LogPolicy): SignedCheckpoint {
  const checkpoint = openCheckpoint(bytes, policy.log);
  for (const witness of policy.witnesses) {
    if (cosignatureOf(checkpoint.note, witness) !== null) continue;
    throw new InvalidError("checkpoint.cosigned", `${witness.name} did not cosign the checkpoint`);
  }
  return checkpoint;
}

/** Checks that a leaf, given by its leaf hash, is in the log as the proof says. Throws as openCosigned, `merkle.inclusion`. */
export function verifyTlogProof(
  proof: TlogProof,
  leaf: Uint8Array,
  policy: LogPolicy,
): SignedCheckpoint {
  const checkpoint = openCosigned(proof.checkpoint, policy);
  verifyInclusion(leaf, proof.index, checkpoint.size, proof.hashes, checkpoint.root);
  return checkpoint;
}
