/** The log's costs: a proof, a cosigned receipt, and the audit of a whole log, all by CPU time on one core. */
import { randomBytes } from "node:crypto";
import {
  consistencyPath,
  leafHash,
  MerkleFrontier,
  MerkleTree,
  verifyConsistency,
  verifyInclusion,
} from "../src/base/merkle.ts";
import { privateKeyFromSeed, publicKeyHex } from "../src/base/sign.ts";
import { signCheckpoint } from "../src/format/checkpoint.ts";
import { cosign } from "../src/format/cosignature.ts";
import { leafBytes } from "../src/format/leaf.ts";
import { encodeNote, noteKey, noteKeyType, parseNote } from "../src/format/note.ts";
import { encodeTlogProof, parseTlogProof, verifyTlogProof } from "../src/format/tlog-proof.ts";

export interface LogRow {
  readonly what: string;
  /** CPU time, user and system; median of the repetitions. */
  readonly cpuMicros: number;
  readonly limitMicros: number;
  /** Of the limit; at most 1 is within it. */
  readonly share: number;
}

function cpuMicros(count: number, work: () => void): number {
  const before = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / count;
}

function median(values: number[]): number {
  return values.sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN;
}

function measure(what: string, limitMicros: number, reps: number, once: () => number): LogRow {
  once();
  const micros = median(Array.from({ length: reps }, once));
  return { what, cpuMicros: micros, limitMicros, share: micros / limitMicros };
}

/** `entries`: of the log. */
export function benchLog(entries: number, reps: number, say: (text: string) => void): LogRow[] {
  say(`a log of ${entries} random entries`);
  const bytes = randomBytes(entries * leafBytes);
  const hashes = Array.from({ length: entries }, (_, i) =>
    leafHash(bytes.subarray(i * leafBytes, (i + 1) * leafBytes)),
  );
  const tree = new MerkleTree(hashes);
  const root = tree.root;
  const places = Array.from({ length: 2000 }, (_, i) => Math.floor((i * entries) / 2000));
  const proofs = places.map((index) => tree.proof(index));
  const from = Math.floor(entries / 3);
  const frontier = new MerkleFrontier();
  for (const hash of hashes.slice(0, from)) frontier.append(hash);
  const oldRoot = frontier.root();
  const range = (start: number, end: number): Buffer => {
    const part = new MerkleFrontier();
    for (let i = start; i < end; i++) part.append(hashes[i] ?? root);
    return part.root();
  };
  const consistency = consistencyPath(from, entries, range);
  const log = privateKeyFromSeed(Buffer.alloc(32, 1));
  const witnesses = [2, 3].map((seed) => privateKeyFromSeed(Buffer.alloc(32, seed)));
  const logKey = noteKey("bench/log", noteKeyType.note, publicKeyHex(log));
  const keys = witnesses.map((key, i) =>
    noteKey(`bench/w${i}`, noteKeyType.cosignature, publicKeyHex(key)),
  );
  const note = parseNote(signCheckpoint(log, { origin: logKey.name, size: entries, root }));
  const signatures = [
    ...note.signatures,
    ...witnesses.map((key, i) => cosign(`bench/w${i}`, key, note.text, 9)),
  ];
  const checkpoint = encodeNote({ ...note, signatures });
  const receipts = places
    .slice(0, 200)
    .map((index, i) => encodeTlogProof({ index, hashes: proofs[i] ?? [], checkpoint }));
  const policy = { log: logKey, witnesses: keys };
  const leafAt = (index: number): Buffer => hashes[index] ?? root;
  return [
    measure("inclusion proof, verified", 50, reps, () =>
      cpuMicros(places.length, () => {
        places.forEach((index, i) =>
          verifyInclusion(leafAt(index), index, entries, proofs[i] ?? [], root),
        );
      }),
    ),
    measure("consistency proof, verified", 100, reps, () =>
      cpuMicros(500, () => {
        for (let i = 0; i < 500; i++) verifyConsistency(from, entries, consistency, oldRoot, root);
      }),
    ),
    measure("receipt with two cosignatures, parsed and verified", 5000, reps, () =>
      cpuMicros(receipts.length, () => {
        receipts.forEach((receipt, i) =>
          verifyTlogProof(parseTlogProof(receipt), leafAt(places[i] ?? 0), policy),
        );
      }),
    ),
    measure(
      `audit walk of ${entries} entries: every hash, and the root`,
      60e6 * (entries / 1e6),
      Math.min(reps, 3),
      () =>
        cpuMicros(1, () => {
          const walked = new MerkleFrontier();
          for (let at = 0; at < bytes.length; at += leafBytes)
            walked.append(leafHash(bytes.subarray(at, at + leafBytes)));
          if (!walked.root().equals(root)) throw new Error("another root");
        }),
    ),
  ];
}
