/**
 * Evidence bundles for tests: one gateway's log of two starts and two revealed rounds, with everything that can stand
 * beside it, made by the code that makes the real ones. A test changes the scene (and everything is signed again, as a
 * dishonest gateway would) or the finished files (as a forger would).
 */
import { createPublicKey, type KeyObject } from "node:crypto";
import { hmacSha256, secretKey, sha256, sha256Hex } from "../src/base/hash.ts";
import { leafHash, merkleRoot } from "../src/base/merkle.ts";
import { privateKeyFromSeed, publicKeyHex, sign } from "../src/base/sign.ts";
import { attestationMessage, bootCertificateMessage } from "../src/format/boot-certificate.ts";
import {
  encodeTranscript,
  endorse,
  signContribution,
  signResult,
  type Proposal,
  type Transcript,
} from "../src/format/ceremony.ts";
import { checkpointText, logKey, logOrigin } from "../src/format/checkpoint.ts";
import { cosign } from "../src/format/cosignature.ts";
import {
  coinBits,
  commitmentOf,
  encodeDrawCommit,
  jointKey,
  thresholdOf,
} from "../src/format/draw.ts";
import { encodeEnvelope, sealEnvelope } from "../src/format/dsse.ts";
import {
  encodeCommitLine,
  encodeDisclosedPair,
  encodeEvidenceManifest,
  evidencePaths,
  manifestPath,
  parsePartyKeys,
  sealRecord,
  type DisclosedPair,
  type RecomputerRecord,
} from "../src/format/evidence.ts";
import {
  encodeBootEntry,
  encodeLeaf,
  encodeRoundOpen,
  encodeRoundReveal,
  inputDigestOf,
  outputDigestOf,
  saltOf,
} from "../src/format/leaf.ts";
import { encodeNote, formatVkey, noteKey, noteKeyType, signNote } from "../src/format/note.ts";
import { sealOrder, type Order } from "../src/format/order.ts";
import { encodeInput, encodeOutput } from "../src/format/pair.ts";
import { encodeProofRequest } from "../src/format/proof-request.ts";
import { makeTag } from "../src/format/tag.ts";
import { deviceKeyOf, logKeyOf } from "../src/gateway/identity.ts";
import { bootManifestType } from "../src/log/audit-claims.ts";
import { parties as trustKeys, rootFile, whitelisted } from "./support.ts";

const seeded = (byte: number): KeyObject => privateKeyFromSeed(Buffer.alloc(32, byte));

export const keys = {
  root: secretKey(Buffer.alloc(32, 0x5e)),
  identity: seeded(0x11),
  subject: seeded(0x12),
  boot: { a: seeded(0xa3), b: seeded(0xb3) },
  draw: { a: seeded(0xa7), b: seeded(0xb7) },
  witness: { a: seeded(0xaa), b: seeded(0xbb) },
  recomputer: seeded(0x21),
  operator: seeded(0x22),
  stranger: seeded(0x77),
} as const;
const log = logKeyOf(keys.root);
const device = deviceKeyOf(keys.root);
export const gateway = "g1";
export const origin = logOrigin(gateway, publicKeyHex(log));
const epochKey = secretKey(Buffer.alloc(32, 0x44));
/** When the log's last entry was written, and when the bundle was made. */
export const endMs = 1_800_000_000_000;
const nowMs = endMs + 3_600_000;

const witnessName = (party: "a" | "b"): string => `weir.local/witness/${party}`;

/** A party's key file. */
export function keyFile(party: "a" | "b"): Buffer {
  const publicKey = publicKeyHex(keys.witness[party]);
  const witness = formatVkey(noteKey(witnessName(party), noteKeyType.cosignature, publicKey));
  const lines = [
    "weir party keys/1",
    `party ${party}`,
    `root ${publicKeyHex(trustKeys[party])}`,
    `witness ${witness}`,
    `draw ${publicKeyHex(keys.draw[party])}`,
    `boot ${publicKeyHex(keys.boot[party])}`,
    `recomputer ${publicKeyHex(keys.recomputer)}`,
    `operator ${publicKeyHex(keys.operator)}`,
  ];
  return Buffer.from(`${lines.join("\n")}\n`);
}

export const inspector = { a: parsePartyKeys(keyFile("a")), b: parsePartyKeys(keyFile("b")) };

const { file: whitelistFile, entry } = whitelisted("tiny", Buffer.alloc(8192, 7), 4096);
export const listed = { file: whitelistFile, entry };

const manifestPayload = Buffer.from(`weir boot manifest/1\nversion 1\n`);
export const measurement = sha256(manifestPayload);

const secretOf = (drawer: "g" | "a" | "b", round: number): Buffer =>
  sha256(Buffer.from(`${drawer}${round}`));

export function roundOpen(round: number, epsilon = 0.5): Buffer {
  const [g, a, b] = (["g", "a", "b"] as const).map((one) =>
    commitmentOf(one, BigInt(round), secretOf(one, round)),
  );
  const atMs = endMs - 8_000_000 + round;
  const commitments = { gateway: g ?? measurement, a: a ?? measurement, b: b ?? measurement };
  return encodeRoundOpen({
    round: BigInt(round),
    atMs,
    ...commitments,
    threshold: thresholdOf(epsilon),
  });
}

export function roundReveal(round: number, atMs = endMs - 4_000_000): Buffer {
  const secrets = {
    gateway: secretOf("g", round),
    a: secretOf("a", round),
    b: secretOf("b", round),
  };
  return encodeRoundReveal({ round: BigInt(round), atMs, ...secrets });
}

export function boot(
  epoch: number,
  changes: Partial<Parameters<typeof encodeBootEntry>[0]> = {},
): Buffer {
  const deviceKey = Buffer.from(publicKeyHex(device), "hex");
  const head = { atMs: endMs - 9_000_000, epoch, boot: 0, deviceKey, measurement };
  return encodeBootEntry({ ...head, whitelist: sha256(whitelistFile), ...changes });
}

/** What the n-th pair of an epoch says. */
export function textsOf(epoch: number, n: number): { salt: Buffer; input: Buffer; output: Buffer } {
  const params = {
    maxTokens: 8,
    temperature: 1,
    topK: 40,
    topP: 0.9,
    stops: n % 2 === 0 ? [] : ["."],
  };
  const input = encodeInput({
    modelId: "tiny",
    params,
    prompt: { kind: "text", text: `question ${n}` },
  });
  const tokenIds = Uint32Array.from({ length: 1 + (n % 5) }, (_, i) => i + n);
  const output = encodeOutput({
    promptIds: Uint32Array.of(1, 2),
    tokenIds,
    text: `answer ${n}`,
    finish: "stop",
  });
  return { salt: saltOf(epochKey, makeTag(epoch, n)), input, output };
}

export function pair(
  epoch: number,
  n: number,
  changes: Partial<Parameters<typeof encodeLeaf>[0]> = {},
): Buffer {
  const { salt, input, output } = textsOf(epoch, n);
  return encodeLeaf({
    ...{ tag: makeTag(epoch, n), completedMs: endMs - 7_000_000 + 10 * n, seed: BigInt(n) },
    ...{ entryDigest: entry.digest, finish: "stop", tokens: 1 + (n % 5) },
    ...{ inputDigest: inputDigestOf(salt, input), outputDigest: outputDigestOf(salt, output) },
    ...changes,
  });
}

const pairsOf = (epoch: number, from: number, to: number): Buffer[] =>
  Array.from({ length: to - from }, (_, i) => pair(epoch, from + i));

/** Where the pieces of the honest log stand. */
export const places = {
  boot1: 0,
  open1: 1,
  firstPair: 2,
  open2: 12,
  reveal1: 13,
  reveal2: 25,
  boot2: 26,
  size: 30,
};

export function honestEntries(): Buffer[] {
  return [
    ...[boot(1), roundOpen(1), ...pairsOf(1, 1, 11), roundOpen(2), roundReveal(1)],
    ...[...pairsOf(1, 11, 21), roundOpen(3), roundReveal(2), boot(2), ...pairsOf(2, 1, 4)],
  ];
}

/** Indices of pairs in `entries` that the coins of rounds 1 and 2 keep. */
export function keptIndices(entries: readonly Buffer[]): number[] {
  return entries.flatMap((bytes, index) => {
    const round = index > places.reveal1 ? 2 : 1;
    if (bytes[1] !== 0x4c || index > places.reveal2) return [];
    const secrets = {
      gateway: secretOf("g", round),
      a: secretOf("a", round),
      b: secretOf("b", round),
    };
    const tag = makeTag(1, Number(bytes.readBigUInt64BE(4) & 0xffffffffffn));
    return coinBits(jointKey(secrets), tag) < thresholdOf(0.5) ? [index] : [];
  });
}

export interface Scene {
  entries: Buffer[];
  /** Sizes of earlier checkpoints. */
  earlier: number[];
  disclosed: DisclosedPair[];
  record: RecomputerRecord;
  orders: { order: Order; key: KeyObject }[];
  commits: Buffer[];
  ceremony: Transcript;
  chain: Record<string, string>;
  recordKey: KeyObject;
  /** Signs checkpoints; the honest one is the gateway's log key. */
  log: KeyObject;
  cosigners: { a: KeyObject; b: KeyObject };
}

function ceremony(): Transcript {
  const proposal: Proposal = {
    ...{
      gateway,
      kind: "puf",
      helper: "01".repeat(32),
      nonce: "02".repeat(32),
      sealTo: "03".repeat(32),
    },
    ...{ a: publicKeyHex(keys.boot.a), b: publicKeyHex(keys.boot.b) },
  };
  const given = (party: "a" | "b"): ReturnType<typeof signContribution> =>
    signContribution(
      proposal,
      party,
      { commitment: "04".repeat(32), sealed: "0506" },
      keys.boot[party],
    );
  const contributions = { a: given("a"), b: given("b") };
  const made = {
    identity: publicKeyHex(keys.identity),
    device: publicKeyHex(device),
    log: publicKeyHex(log),
  };
  const open: Transcript = { proposal, contributions, result: null, endorsements: {} };
  const signature = signResult(open, made, keys.identity);
  const finished = { ...open, result: { ...made, signature } };
  const endorsements = { a: endorse(finished, keys.boot.a), b: endorse(finished, keys.boot.b) };
  return { ...finished, endorsements };
}

function chain(): Record<string, string> {
  const subject = publicKeyHex(keys.subject);
  const shown = {
    measurement: measurement.toString("hex"),
    device: publicKeyHex(device),
    log: publicKeyHex(log),
  };
  const certificate = sign(keys.identity, bootCertificateMessage(gateway, { ...shown, subject }));
  const attestation = sign(keys.subject, attestationMessage({ gateway, ...shown }));
  const hex = {
    certificate: certificate.toString("hex"),
    attestation: attestation.toString("hex"),
  };
  return { ...shown, identity: publicKeyHex(keys.identity), subject, ...hex };
}

function commit(party: "a" | "b", round: number): Buffer {
  const answers = commitmentOf("g", BigInt(round), secretOf("g", round));
  const commitment = commitmentOf(party, BigInt(round), secretOf(party, round));
  return encodeDrawCommit(
    { gateway, round: BigInt(round), party, answers, commitment },
    keys.draw[party],
  );
}

export function disclose(entries: readonly Buffer[], index: number): DisclosedPair {
  const leaf = entries[index] ?? Buffer.alloc(128);
  const tag = leaf.readBigUInt64BE(4);
  return { index, ...textsOf(Number(tag >> 40n), Number(tag & 0xffffffffffn)) };
}

/** The digest by which an order is named. */
export function orderDigest(order: Order): string {
  return sha256Hex(JSON.stringify(order));
}

export const nonce = "00112233445566778899aabbccddeeff";
export const shutdown: Order = {
  ...{ action: "shutdown", gateway, reason: "pair failed", issuedMs: endMs - 6_000_000, nonce },
};
export const release: Order = {
  ...{ action: "release", gateway, reason: "looked at", issuedMs: endMs - 5_900_000, nonce },
  halt: orderDigest(shutdown),
};

export function honestScene(): Scene {
  const entries = honestEntries();
  const kept = keptIndices(entries);
  const verdicts = kept.map((index, i) => {
    const { input, output } = disclose(entries, index);
    const leaf = entries[index] ?? Buffer.alloc(128);
    const request = encodeProofRequest({ leafIndex: BigInt(index), leaf, input, output });
    return {
      ...({
        tag: leaf.subarray(4, 12).toString("hex"),
        index,
        kind: i === 0 ? "fail" : "pass",
      } as const),
      ...{
        atMs: endMs - 6_000_100,
        request: sha256Hex(request),
        findings: i === 0 ? ["token.margin"] : [],
      },
    };
  });
  return {
    entries,
    earlier: [5, 14],
    disclosed: kept.slice(0, 2).map((index) => disclose(entries, index)),
    record: {
      ...{ gateway, origin, atMs: nowMs, verdicts },
      orders: [{ digest: orderDigest(shutdown), settledMs: endMs - 5_999_000 }],
      releases: [orderDigest(release)],
    },
    orders: [
      { order: shutdown, key: keys.recomputer },
      { order: release, key: keys.operator },
    ],
    commits: [1, 2, 3].flatMap((round) => [commit("a", round), commit("b", round)]),
    ...{ ceremony: ceremony(), chain: chain(), recordKey: keys.recomputer },
    ...{ log, cosigners: keys.witness },
  };
}

/** A checkpoint over the first `size` entries, cosigned by both witnesses. */
export function checkpoint(
  scene: Pick<Scene, "log" | "cosigners">,
  entries: readonly Buffer[],
  size: number,
): Buffer {
  const root = merkleRoot(entries.slice(0, size).map(leafHash));
  const text = checkpointText({ origin, size, root });
  const cosignatures = (["a", "b"] as const).map((party) =>
    cosign(witnessName(party), scene.cosigners[party], text, 1_800_000_000),
  );
  return encodeNote({ text, signatures: [signNote(origin, scene.log, text), ...cosignatures] });
}

export type BundleFiles = Map<string, Buffer>;

/** Puts the manifest to whatever the files are now. */
export function resealed(files: BundleFiles): BundleFiles {
  const others = [...files].filter(([path]) => path !== manifestPath);
  const head = { gateway, createdMs: nowMs };
  const manifest = Buffer.from(encodeEvidenceManifest(head, new Map(others)));
  return new Map([[manifestPath, manifest], ...others]);
}

/** The bundle of a scene. */
export function bundleOf(scene: Scene): BundleFiles {
  const { entries, earlier, ceremony: transcript } = scene;
  const manifest = sealEnvelope(bootManifestType, manifestPayload, [keys.boot.a, keys.boot.b]);
  const vkey = formatVkey(logKey(gateway, publicKeyHex(createPublicKey(scene.log))));
  const files: BundleFiles = new Map([
    [evidencePaths.root, Buffer.from(rootFile)],
    ["trust/whitelist-1.json", whitelistFile],
    [evidencePaths.ceremony, Buffer.from(encodeTranscript(transcript))],
    ["boot/manifest-1.json", Buffer.from(encodeEnvelope(manifest))],
    [evidencePaths.chain, Buffer.from(JSON.stringify(scene.chain))],
    [evidencePaths.logKey, Buffer.from(`${vkey}\n`)],
    [evidencePaths.checkpoint, checkpoint(scene, entries, entries.length)],
    [evidencePaths.entries, Buffer.concat(entries)],
    [evidencePaths.commits, Buffer.from(scene.commits.map(encodeCommitLine).join(""))],
    [evidencePaths.record, Buffer.from(encodeEnvelope(sealRecord(scene.record, scene.recordKey)))],
    [
      evidencePaths.orders,
      Buffer.from(
        scene.orders.map(({ order, key }) => `${sealOrder(order, key).toString()}\n`).join(""),
      ),
    ],
    [evidencePaths.pairs, Buffer.from(scene.disclosed.map(encodeDisclosedPair).join(""))],
  ]);
  earlier.forEach((size, i) => files.set(`log/earlier-${i + 1}`, checkpoint(scene, entries, size)));
  return resealed(files);
}

/** HMAC as a source of numbers for tests that must run alike each time. */
export function numbers(seed: string): (below: number) => number {
  const key = secretKey(sha256(Buffer.from(seed)));
  let at = 0;
  return (below) => hmacSha256(key, Buffer.from(String(at++))).readUInt32BE(0) % below;
}
