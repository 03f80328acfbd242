/**
 * Which 32 bytes may become a trusted Ed25519 key: written into a configuration, a trust root or a verifier key.
 *
 * Verifiers of Ed25519 disagree about signatures under odd keys. Under one of small order somebody without a secret
 * finds signatures that hold for many messages; under one that is not canonical, or has a component of small order, a
 * signer could make a signature that one party's verifier accepts and the other's refuses. So keys are looked at once,
 * when they are enrolled. Under every key that is left, what our one rule accepts (base/sign.ts: S below the group
 * order, and R byte for byte equal to [S]B - [h]A) every verifier of RFC 8032 accepts.
 *
 * Curve and encoding: RFC 8032 section 5.1. Addition: the complete formulas for a = -1 in extended
 * coordinates (Hisil, Wong, Carter, Dawson 2008). BigInt is not constant time; public keys are no secret.
 */
import type { KeyObject } from "node:crypto";
import { InvalidError } from "./assert.ts";
import { fromHex } from "./bytes.ts";
import { publicKeyFromHex } from "./sign.ts";

const p = 2n ** 255n - 19n;
/** Order of the prime subgroup. */
const order = 2n ** 252n + 27742317777372353535851937790883648493n;

function mod(value: bigint): bigint {
  const rest = value % p;
  return rest < 0n ? rest + p : rest;
}

function power(base: bigint, exponent: bigint): bigint {
  let result = 1n;
  let square = mod(base);
  for (let left = exponent; left > 0n; left >>= 1n) {
    if ((left & 1n) === 1n) result = mod(result * square);
    square = mod(square * square);
  }
  return result;
}

const d = mod(-121665n * power(121666n, p - 2n));
const rootOfMinusOne = power(2n, (p - 1n) / 4n);

/** Extended coordinates: x = X/Z, y = Y/Z, T = XY/Z. */
interface Point {
  readonly x: bigint;
  readonly y: bigint;
  readonly z: bigint;
  readonly t: bigint;
}

const identity: Point = { x: 0n, y: 1n, z: 1n, t: 0n };

function isIdentity({ x, y, z }: Point): boolean {
  return x === 0n && y === z;
}

function add(left: Point, right: Point): Point {
  const a = mod((left.y - left.x) * (right.y - right.x));
  const b = mod((left.y + left.x) * (right.y + right.x));
  const c = mod(2n * d * left.t * right.t);
  const e = mod(2n * left.z * right.z);
  const [f, g, h, k] = [b - a, e - c, e + c, b + a];
  return { x: mod(f * g), y: mod(h * k), z: mod(g * h), t: mod(f * k) };
}

function times(scalar: bigint, point: Point): Point {
  let result = identity;
  let double = point;
  for (let left = scalar; left > 0n; left >>= 1n) {
    if ((left & 1n) === 1n) result = add(result, double);
    double = add(double, double);
  }
  return result;
}

/** The x of this y with this sign bit; null when there is none. RFC 8032 section 5.1.3. */
function xOf(y: bigint, sign: bigint): bigint | null {
  const wanted = mod((y * y - 1n) * power(d * y * y + 1n, p - 2n));
  let x = power(wanted, (p + 3n) / 8n);
  if (mod(x * x) !== wanted) x = mod(x * rootOfMinusOne);
  if (mod(x * x) !== wanted) return null;
  if (x === 0n && sign === 1n) return null;
  return (x & 1n) === sign ? x : p - x;
}

/**
 * Why 32 bytes may not be enrolled as an Ed25519 public key, in words; null when they may: the
 * canonical encoding of a point of the prime-order subgroup other than the identity.
 */
export function enrolmentFault(raw: Uint8Array): string | null {
  if (raw.length !== 32) return "a key has 32 bytes";
  const encoded = BigInt(`0x${Buffer.from(raw).reverse().toString("hex")}`);
  const y = encoded & (2n ** 255n - 1n);
  if (y >= p) return "its encoding is not canonical";
  const x = xOf(y, encoded >> 255n);
  if (x === null) return "it is no point of the curve in its canonical encoding";
  const point = { x, y, z: 1n, t: mod(x * y) };
  if (isIdentity(times(8n, point))) return "its order is small: anybody can sign for it";
  if (!isIdentity(times(order, point))) return "it is not of prime order";
  return null;
}

/** Keys that were looked at before: it takes milliseconds, and a chain of roots names the same ones again and again. */
const sound = new Set<string>();
const soundMax = 4096;

/** The same of 64 lower-case hex digits, each good key looked at once. */
export function keyFault(hex: string): string | null {
  if (sound.has(hex)) return null;
  let raw: Uint8Array;
  try {
    raw = fromHex(hex, 32);
  } catch (error) {
    if (!(error instanceof InvalidError)) throw error;
    return "a key is 64 lower-case hex digits";
  }
  const fault = enrolmentFault(raw);
  if (fault !== null) return fault;
  if (sound.size >= soundMax) sound.clear();
  sound.add(hex);
  return null;
}

/** Builds a verifying key from 64 hex digits, if it may be enrolled. Throws InvalidError `enrol.key` that names the key. */
export function enrolledKey(hex: string): KeyObject {
  const fault = keyFault(hex);
  if (fault === null) return publicKeyFromHex(hex);
  throw new InvalidError("enrol.key", `the key ${hex.slice(0, 64)} cannot be enrolled: ${fault}`);
}
