/**
 * The code-offset fuzzy extractor: a key from cells that come up a little different at each power-up.
 *
 *   enrol         read cells x; draw random messages k; helper data w = x xor Rep(BCH(k)); seed = k
 *   reconstruct   read cells x'; x' xor w = Rep(BCH(k)) xor noise; majority, then BCH decoding, gives k back
 *
 * The helper data are public: what they leave of the key is counted in parameters.ts. They are authenticated by an
 * HMAC under a key derived from the seed itself, and the secret derives from their digest as well, so changed helper
 * data give nothing. Every failure is the same error: who may change helper data and sees *how* it fails learns cells
 * one by one (helper data manipulation; Delvaux et al.).
 */
import { hkdfSync } from "node:crypto";
import { InvalidError } from "../assert.ts";
import { equalBytes, Reader, Writer } from "../bytes.ts";
import { hmacSha256, secretKey, sha256 } from "../hash.ts";
import { randomBytes, type RandomSource } from "../random.ts";
import { cellsOf, codeOf, residualEntropy, type PufParameters } from "./parameters.ts";

/** Cells of one power-up: one bit per byte. Read at most once each for enrolment and unlocking, then erased. */
export type ReadCells = (count: number) => Uint8Array;

const magic = Buffer.from("WP01", "latin1");
const macBytes = 32;
/** Bits of min-entropy that a key must keep. */
const entropyMin = 256;

function gone(): InvalidError {
  return new InvalidError(
    "uid.bricked",
    "the key does not come back from the cells: they were tampered with, or the helper data were changed",
  );
}

function packBits(bits: Uint8Array): Buffer {
  const bytes = Buffer.alloc(Math.ceil(bits.length / 8));
  bits.forEach((bit, i) => {
    bytes[i >> 3] = (bytes[i >> 3] ?? 0) | (bit << (i & 7));
  });
  return bytes;
}

function bitOf(bytes: Uint8Array, i: number): number {
  return ((bytes[i >> 3] ?? 0) >> (i & 7)) & 1;
}

/** Everything of the helper data but the MAC: magic, construction, device, offsets. */
function encodeBody(parameters: PufParameters, device: string, offsets: Buffer): Buffer {
  const writer = new Writer(64 + offsets.length).raw(magic);
  writer.u8(parameters.m).u8(parameters.t).u8(parameters.repeat).u8(parameters.blocks);
  return Buffer.from(writer.text(device).blob(offsets).bytes());
}

function derived(seed: Buffer, body: Uint8Array, info: string): Buffer {
  return Buffer.from(hkdfSync("sha256", seed, sha256(body), info, 32));
}

function macOf(seed: Buffer, body: Uint8Array): Buffer {
  return hmacSha256(secretKey(derived(seed, body, "weir puf helper/1")), body);
}

/**
 * Makes the helper data of `device` (its name, at most 128 bytes) from one power-up. The cells never leave this
 * function and its reading is erased; the secret is got by `reconstruct`, as at any later boot. Throws InvalidError
 * `puf.entropy` when the construction leaves fewer than 256 bits.
 */
export function enrol(
  read: ReadCells,
  parameters: PufParameters,
  device: string,
  random: RandomSource,
): Buffer {
  if (residualEntropy(parameters) < entropyMin) {
    throw new InvalidError("puf.entropy", `${parameters.id} leaves fewer than ${entropyMin} bits`);
  }
  const code = codeOf(parameters);
  const cells = read(cellsOf(parameters));
  const messages = new Uint8Array(code.k * parameters.blocks);
  const raw = randomBytes(random, messages.length);
  messages.forEach((_, i) => (messages[i] = (raw[i] ?? 0) & 1));
  for (let block = 0; block < parameters.blocks; block++) {
    const word = code.encode(messages.subarray(block * code.k, (block + 1) * code.k));
    for (let i = 0; i < code.n * parameters.repeat; i++) {
      const at = block * code.n * parameters.repeat + i;
      cells[at] = (cells[at] ?? 0) ^ (word[Math.floor(i / parameters.repeat)] ?? 0);
    }
  }
  const body = encodeBody(parameters, device, packBits(cells));
  const seed = packBits(messages);
  const helper = Buffer.concat([body, macOf(seed, body)]);
  for (const secret of [cells, messages, raw, seed]) secret.fill(0);
  return helper;
}

interface Helper {
  readonly parameters: Pick<PufParameters, "m" | "t" | "repeat" | "blocks">;
  readonly device: string;
  readonly offsets: Buffer;
  readonly body: Buffer;
  readonly mac: Buffer;
}

/** Parses helper data, unauthenticated still. Throws InvalidError `helper.*`. */
export function parseHelper(bytes: Uint8Array): Helper {
  const reader = new Reader(bytes, "helper");
  if (!equalBytes(reader.raw(4), magic)) {
    throw new InvalidError("helper.magic", "these are no helper data of a PUF");
  }
  const [m, t, repeat, blocks] = [reader.u8(), reader.u8(), reader.u8(), reader.u8()];
  if ((m !== 7 && m !== 8) || t < 1 || 2 * t * m >= 2 ** m * m || blocks < 1 || blocks > 16) {
    throw new InvalidError("helper.parameters", "helper data name a construction that is none");
  }
  if (repeat < 1 || repeat > 31 || repeat % 2 === 0) {
    throw new InvalidError("helper.parameters", "a repetition code has an odd length up to 31");
  }
  const device = reader.text(128);
  const offsets = reader.blob(65_536);
  const body = Buffer.from(bytes.subarray(0, bytes.length - reader.remaining));
  const mac = reader.raw(macBytes);
  reader.end();
  return { parameters: { m, t, repeat, blocks }, device, offsets, body, mac };
}

/** Majority over each repetition of one block of x' xor w. */
function received(
  cells: Uint8Array,
  offsets: Uint8Array,
  from: number,
  n: number,
  repeat: number,
): Uint8Array {
  const word = new Uint8Array(n);
  for (let i = 0; i < n; i++) {
    let ones = 0;
    for (let j = 0; j < repeat; j++) {
      const at = from + i * repeat + j;
      ones += (cells[at] ?? 0) ^ bitOf(offsets, at);
    }
    word[i] = 2 * ones > repeat ? 1 : 0;
  }
  return word;
}

/** The seed, unauthenticated, or null; a block that does not decode does not stop the others, so that time says little. */
export function decodeSeed(
  read: ReadCells,
  parameters: PufParameters,
  offsets: Buffer,
): Buffer | null {
  const code = codeOf(parameters);
  const count = cellsOf(parameters);
  if (offsets.length !== Math.ceil(count / 8)) return null;
  const cells = read(count);
  const messages = new Uint8Array(code.k * parameters.blocks);
  let whole = true;
  for (let block = 0; block < parameters.blocks; block++) {
    const from = block * code.n * parameters.repeat;
    const word = code.decode(received(cells, offsets, from, code.n, parameters.repeat));
    if (word === null) whole = false;
    else messages.set(code.message(word), block * code.k);
  }
  const seed = packBits(messages);
  cells.fill(0);
  messages.fill(0);
  return whole ? seed : null;
}

/**
 * The 32-byte secret of `device`, from one power-up and its helper data; only `parameters` of the device's own
 * design are taken, whatever the helper data say. Throws InvalidError `uid.bricked`, one error for all that is wrong.
 */
export function reconstruct(
  read: ReadCells,
  parameters: PufParameters,
  device: string,
  helper: Uint8Array,
): Buffer {
  let parsed: Helper;
  try {
    parsed = parseHelper(helper);
  } catch (error) {
    if (!(error instanceof InvalidError)) throw error;
    throw gone();
  }
  const { m, t, repeat, blocks } = parsed.parameters;
  const own = m === parameters.m && t === parameters.t && repeat === parameters.repeat;
  const seed = decodeSeed(read, parameters, parsed.offsets);
  if (seed === null) throw gone();
  const fits = own && blocks === parameters.blocks && parsed.device === device;
  if (!equalBytes(macOf(seed, parsed.body), parsed.mac) || !fits) throw gone();
  const secret = derived(seed, parsed.body, `weir puf uid/1 ${device}`);
  seed.fill(0);
  return secret;
}
