/**
 * The joint draw, spec/draw.md: commitments, coins, and what gateway and parties tell each other about a round. The
 * messages pass through a publisher that is trusted with nothing: what matters in them is signed or sealed.
 */
import type { KeyObject } from "node:crypto";
import { InvalidError } from "../base/assert.ts";
import { Reader, Writer } from "../base/bytes.ts";
import { hmacSha256, secretKey, sha256 } from "../base/hash.ts";
import { sign, verify } from "../base/sign.ts";
import { thresholdMax } from "./leaf.ts";
import type { Tag } from "./tag.ts";

/** Who gives a secret. Its letter is hashed into the commitment, so nobody can commit to a copy of another's. */
export const drawers = ["g", "a", "b"] as const;
export type Drawer = (typeof drawers)[number];
/** A party of the draw, beside the gateway. */
export type DrawParty = "a" | "b";
export const drawParties = ["a", "b"] as const satisfies readonly DrawParty[];

/** SHA-256("weir draw/1" || letter || u64 round || secret); 32 bytes. */
export function commitmentOf(drawer: Drawer, round: bigint, secret: Uint8Array): Buffer {
  const out = new Writer(64).raw(Buffer.from(`weir draw/1${drawer}`)).u64(round);
  return sha256(out.raw(secret).bytes());
}

/** The three secrets of a round, 32 bytes each. */
export interface DrawSecrets {
  readonly gateway: Buffer;
  readonly a: Buffer;
  readonly b: Buffer;
}

/** The key of a round's coins: s_G xor s_A xor s_B. */
export function jointKey({ gateway, a, b }: DrawSecrets): KeyObject {
  const key = Buffer.alloc(32);
  for (let i = 0; i < 32; i++) key[i] = (gateway[i] ?? 0) ^ (a[i] ?? 0) ^ (b[i] ?? 0);
  return secretKey(key);
}

/** The first 53 bits of HMAC-SHA256(joint key, u64 tag). */
export function coinBits(key: KeyObject, tag: Tag): bigint {
  const message = Buffer.allocUnsafe(8);
  message.writeBigUInt64BE(tag);
  return hmacSha256(key, message).readBigUInt64BE(0) >> 11n;
}

/** Epsilon x 2^53, as a round's entry holds it: 53 random bits are below it with probability epsilon, to 2^-53. */
export function thresholdOf(epsilon: number): bigint {
  const scaled = BigInt(Math.ceil(epsilon * 2 ** 53));
  return scaled < 0n ? 0n : scaled > thresholdMax ? thresholdMax : scaled;
}

/** Epsilon of a threshold. */
export function epsilonOf(threshold: bigint): number {
  return Number(threshold) / 2 ** 53;
}

const nameMax = 64;

/** DRAW_OPEN, gateway to both parties: a round begins. Signed by the device key. */
export interface DrawOpen {
  readonly gateway: string;
  readonly epoch: number;
  readonly round: bigint;
  /** c_G. */
  readonly commitment: Buffer;
  /** X25519 key, 32 bytes, to which the parties seal their secrets; fresh for each round. */
  readonly sealTo: Buffer;
}

/** DRAW_COMMIT, a party to the gateway. Signed by the party's draw key. */
export interface DrawCommit {
  readonly gateway: string;
  readonly round: bigint;
  readonly party: DrawParty;
  /** The c_G that it answers, and c_P. */
  readonly answers: Buffer;
  readonly commitment: Buffer;
}

/** DRAW_LOGGED, gateway to both parties: the round's entry stands in the log. Both commits, as they were signed. */
export interface DrawLogged {
  readonly gateway: string;
  readonly round: bigint;
  readonly index: bigint;
  readonly a: Buffer;
  readonly b: Buffer;
}

/** DRAW_SECRET, a party to the gateway: s_P, sealed (HPKE) to the key of DRAW_OPEN. Signed by the party's draw key. */
export interface DrawSecret {
  readonly gateway: string;
  readonly round: bigint;
  readonly party: DrawParty;
  readonly sealed: Buffer;
}

const openLabel = Buffer.from("weir draw open/1\n");
const commitLabel = Buffer.from("weir draw commit/1\n");
const secretLabel = Buffer.from("weir draw secret/1\n");

function openBody({ gateway, epoch, round, commitment, sealTo }: DrawOpen): Buffer {
  return new Writer().text(gateway).u32(epoch).u64(round).raw(commitment).raw(sealTo).bytes();
}

function commitBody({ gateway, round, party, answers, commitment }: DrawCommit): Buffer {
  const out = new Writer().text(gateway).u64(round).u8(drawParties.indexOf(party));
  return out.raw(answers).raw(commitment).bytes();
}

function sealBody(body: Buffer, label: Buffer, key: KeyObject): Buffer {
  return Buffer.concat([body, sign(key, Buffer.concat([label, body]))]);
}

/** The body of a signed message. Throws InvalidError `draw.signature`. */
function openSealed(bytes: Uint8Array, label: Buffer, key: KeyObject): Buffer {
  const body = Buffer.from(bytes.subarray(0, Math.max(0, bytes.length - 64)));
  if (!verify(key, Buffer.concat([label, body]), bytes.subarray(body.length))) {
    throw new InvalidError("draw.signature", "a draw message is not signed by who should have");
  }
  return body;
}

function readName(from: Reader): string {
  return from.text(nameMax);
}

function readRoundNumber(from: Reader): bigint {
  const round = from.u64();
  if (round === 0n) throw new InvalidError("draw.round", "rounds are counted from 1");
  return round;
}

function readParty(from: Reader): DrawParty {
  const party = drawParties[from.u8()];
  if (party === undefined) throw new InvalidError("draw.party", "a party is a or b");
  return party;
}

export function encodeDrawOpen(open: DrawOpen, deviceKey: KeyObject): Buffer {
  return sealBody(openBody(open), openLabel, deviceKey);
}

/** Whose round a DRAW_OPEN is about, before its signature can be checked. Throws InvalidError `draw.*`. */
export function gatewayOfDraw(bytes: Uint8Array): string {
  return readName(new Reader(bytes, "draw"));
}

/** Parses and checks DRAW_OPEN. Throws InvalidError `draw.*`. */
export function decodeDrawOpen(bytes: Uint8Array, deviceKey: KeyObject): DrawOpen {
  const from = new Reader(openSealed(bytes, openLabel, deviceKey), "draw");
  const gateway = readName(from);
  const epoch = from.u32();
  const round = readRoundNumber(from);
  const commitment = Buffer.from(from.raw(32));
  const sealTo = Buffer.from(from.raw(32));
  from.end();
  return { gateway, epoch, round, commitment, sealTo };
}

export function encodeDrawCommit(commit: DrawCommit, drawKey: KeyObject): Buffer {
  return sealBody(commitBody(commit), commitLabel, drawKey);
}

/** Which party DRAW_COMMIT or DRAW_SECRET says it is of, before its signature can be checked. Throws InvalidError `draw.*`. */
export function partyOfDraw(bytes: Uint8Array): DrawParty {
  const from = new Reader(bytes, "draw");
  readName(from);
  from.u64();
  return readParty(from);
}

/** Parses and checks DRAW_COMMIT. Throws InvalidError `draw.*`. */
export function decodeDrawCommit(bytes: Uint8Array, drawKey: KeyObject): DrawCommit {
  const from = new Reader(openSealed(bytes, commitLabel, drawKey), "draw");
  const gateway = readName(from);
  const round = readRoundNumber(from);
  const party = readParty(from);
  const answers = Buffer.from(from.raw(32));
  const commitment = Buffer.from(from.raw(32));
  from.end();
  return { gateway, round, party, answers, commitment };
}

export function encodeDrawLogged({ gateway, round, index, a, b }: DrawLogged): Buffer {
  return new Writer().text(gateway).u64(round).u64(index).blob(a).blob(b).bytes();
}

/** Throws InvalidError `draw.*`. The commits in it are not checked here. */
export function decodeDrawLogged(bytes: Uint8Array): DrawLogged {
  const from = new Reader(bytes, "draw");
  const gateway = readName(from);
  const round = readRoundNumber(from);
  const index = from.u64();
  const a = Buffer.from(from.blob(1024));
  const b = Buffer.from(from.blob(1024));
  from.end();
  return { gateway, round, index, a, b };
}

export function encodeDrawSecret(secret: DrawSecret, drawKey: KeyObject): Buffer {
  const { gateway, round, party, sealed } = secret;
  const out = new Writer().text(gateway).u64(round).u8(drawParties.indexOf(party));
  return sealBody(out.blob(sealed).bytes(), secretLabel, drawKey);
}

/** Parses and checks DRAW_SECRET; what is sealed in it is not opened here. Throws InvalidError `draw.*`. */
export function decodeDrawSecret(bytes: Uint8Array, drawKey: KeyObject): DrawSecret {
  const from = new Reader(openSealed(bytes, secretLabel, drawKey), "draw");
  const gateway = readName(from);
  const round = readRoundNumber(from);
  const party = readParty(from);
  const sealed = Buffer.from(from.blob(1024));
  from.end();
  return { gateway, round, party, sealed };
}

/** HPKE `info` and `aad` of a sealed secret: this use, this gateway, this round, this party and no other. */
export function secretContext(
  gateway: string,
  round: bigint,
  party: DrawParty,
): { readonly info: Buffer; readonly aad: Buffer } {
  const aad = new Writer(9).u64(round).u8(drawParties.indexOf(party)).bytes();
  return { info: Buffer.from(`weir draw secret/1\n${gateway}`), aad };
}
