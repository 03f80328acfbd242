/**
 * Statistical tests of the coins' bits, and of sources that no coin may come from: what each test sees, and what none
 * does. docs/STATISTICS.md section 7.
 *
 *   node bench/coins.ts [mebibytes]
 */
import { systemRandom } from "../src/adapter/random.ts";
import { hmacSha256, secretKey } from "../src/base/hash.ts";
import { randomBytes } from "../src/base/random.ts";
import { jointKey } from "../src/format/draw.ts";
import { makeTag } from "../src/format/tag.ts";
import { logPhi } from "../src/verification/normal.ts";

const normalCdf = (x: number): number => Math.exp(logPhi(x));
const bytes = Math.floor(Number(process.argv[2] ?? "4") * 2 ** 20);

/** HMAC-SHA256(key, tag) for tag after tag, as the coins use it; here all 32 bytes of each. */
function coins(keyOf: (round: number) => ReturnType<typeof secretKey>): Buffer {
  const out = Buffer.alloc(bytes);
  const message = Buffer.alloc(8);
  for (let at = 0, counter = 1; at < bytes; at += 32, counter++) {
    message.writeBigUInt64BE(makeTag(1, counter));
    hmacSha256(keyOf(Math.floor(at / 2 ** 20)), message).copy(out, at);
  }
  return out;
}

const secret = (): Buffer => randomBytes(systemRandom, 32);
const rounds = Array.from({ length: Math.ceil(bytes / 2 ** 20) }, () =>
  jointKey({ gateway: secret(), a: secret(), b: secret() }),
);

function mathRandom(): Buffer {
  const out = Buffer.alloc(bytes);
  for (let i = 0; i < bytes; i++) out[i] = Math.floor(Math.random() * 256);
  return out;
}

/** Each bit one with probability 0.501. */
function biased(): Buffer {
  const out = Buffer.alloc(bytes);
  for (let i = 0; i < bytes; i++) {
    for (let bit = 0; bit < 8; bit++)
      if (Math.random() < 0.501) out[i] = (out[i] ?? 0) | (1 << bit);
  }
  return out;
}

/** Upper tail of chi-square with many degrees of freedom (Wilson and Hilferty, 1931). */
function chiTail(chi2: number, freedom: number): number {
  const a = 2 / (9 * freedom);
  return normalCdf((1 - a - Math.cbrt(chi2 / freedom)) / Math.sqrt(a));
}

function chiOf(counts: Float64Array, total: number): number {
  const expected = total / counts.length;
  return counts.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
}

/** SP 800-22 2.1: whether ones and zeros are as many. */
function monobit(data: Buffer): number {
  let ones = 0;
  for (const byte of data) for (let bit = 0; bit < 8; bit++) ones += (byte >> bit) & 1;
  const n = 8 * data.length;
  return 2 * normalCdf(-Math.abs(2 * ones - n) / Math.sqrt(n));
}

/** Pearson's chi-square of the bytes, 255 degrees of freedom. */
function byteChi(data: Buffer): number {
  const counts = new Float64Array(256);
  for (const byte of data) counts[byte] = (counts[byte] ?? 0) + 1;
  return chiTail(chiOf(counts, data.length), 255);
}

/** The same of pairs of bytes that follow each other, without overlap: 65,535 degrees of freedom. */
function serial(data: Buffer): number {
  const counts = new Float64Array(65_536);
  for (let i = 0; i + 1 < data.length; i += 2) {
    const pair = data.readUInt16BE(i);
    counts[pair] = (counts[pair] ?? 0) + 1;
  }
  return chiTail(chiOf(counts, data.length / 2), 65_535);
}

/** Rank over GF(2) of a square matrix of `size` rows that are taken from the data. */
function rank(data: Buffer, size: number): number {
  const rows = Array.from({ length: size }, (_, i) =>
    BigInt(`0x${data.subarray((i * size) / 8, ((i + 1) * size) / 8).toString("hex")}`),
  );
  let found = 0;
  for (let bit = BigInt(size - 1); bit >= 0n; bit--) {
    const at = rows.findIndex((row, i) => i >= found && ((row >> bit) & 1n) === 1n);
    if (at < 0) continue;
    const pivot = rows[at] ?? 0n;
    rows[at] = rows[found] ?? 0n;
    rows[found] = pivot;
    for (let i = found + 1; i < size; i++) {
      const row = rows[i] ?? 0n;
      if (((row >> bit) & 1n) === 1n) rows[i] = row ^ pivot;
    }
    found++;
  }
  return found;
}

const known = secretKey(Buffer.alloc(32, 1));
const sources: readonly (readonly [string, () => Buffer])[] = [
  ["coins of real rounds", () => coins((round) => rounds[round] ?? known)],
  ["coins under a key the server knows", () => coins(() => known)],
  ["Math.random, a byte a call", mathRandom],
  ["bits with P(1) = 0.501", biased],
];
console.log(`${bytes} bytes each; p-values; rank of a 512 x 512 matrix of bits`);
for (const [name, make] of sources) {
  const data = make();
  const p = [monobit(data), byteChi(data), serial(data)].map((value) => value.toPrecision(3));
  console.log(
    `${name}: monobit ${p[0]}, chi-square ${p[1]}, serial ${p[2]}, rank ${rank(data, 512)}`,
  );
}
