/**
 * Commands and responses of a TPM 2.0 as bytes (TCG, "TPM 2.0 Library", parts 1 to 3). Only what src/adapter/tpm/
 * needs. A TPM is believed about its own secrets, but its answers come over a bus: they are parsed as bad input.
 */
import { InvalidError } from "../../base/assert.ts";
import { Reader, Writer } from "../../base/bytes.ts";

export const tpm = {
  algEcc: 0x0023,
  algSha256: 0x000b,
  algNull: 0x0010,
  algAes: 0x0006,
  algCfb: 0x0043,
  algEcdsa: 0x0018,
  algKeyedHash: 0x0008,
  curveP256: 0x0003,
  owner: 0x40000001,
  none: 0x40000007,
  password: 0x40000009,
  lockout: 0x4000000a,
} as const;

export const command = {
  nvUndefineSpace: 0x122,
  clear: 0x126,
  nvDefineSpace: 0x12a,
  createPrimary: 0x131,
  nvIncrement: 0x134,
  nvWrite: 0x137,
  startup: 0x144,
  shutdown: 0x145,
  policyNv: 0x149,
  nvRead: 0x14e,
  create: 0x153,
  load: 0x157,
  unseal: 0x15e,
  policySigned: 0x160,
  flushContext: 0x165,
  loadExternal: 0x167,
  nvReadPublic: 0x169,
  startAuthSession: 0x176,
  getRandom: 0x17b,
  pcrRead: 0x17e,
  policyPcr: 0x17f,
  pcrExtend: 0x182,
  policyGetDigest: 0x189,
} as const;

const tagNoSessions = 0x8001;
const tagSessions = 0x8002;
/** No TPM answers with more: the buffer of every implementation is 4096 bytes. */
export const responseMax = 4096;
const headerBytes = 10;

/** One authorisation of a command. For a password all but the handle is empty: our objects have none. */
export interface Authorisation {
  readonly handle: number;
  readonly nonce: Uint8Array;
  readonly attributes: number;
  readonly hmac: Uint8Array;
}

export const emptyPassword: Authorisation = {
  handle: tpm.password,
  nonce: Buffer.alloc(0),
  attributes: 0,
  hmac: Buffer.alloc(0),
};

/** u16 length, then the bytes: TPM2B. */
export function sized(bytes: Uint8Array): Buffer {
  return Buffer.from(new Writer(2 + bytes.length).u16(bytes.length).raw(bytes).bytes());
}

/** The bytes of a command. */
export function encodeCommand(
  code: number,
  handles: readonly number[],
  auths: readonly Authorisation[],
  parameters: Uint8Array,
): Buffer {
  const writer = new Writer();
  writer
    .u16(auths.length === 0 ? tagNoSessions : tagSessions)
    .u32(0)
    .u32(code);
  for (const handle of handles) writer.u32(handle);
  if (auths.length > 0) {
    const area = new Writer();
    for (const { handle, nonce, attributes, hmac } of auths) {
      area.u32(handle).raw(sized(nonce)).u8(attributes).raw(sized(hmac));
    }
    writer.blob(area.bytes());
  }
  writer.raw(parameters).patchU32(2, writer.length);
  return Buffer.from(writer.bytes());
}

export interface Response {
  readonly code: number;
  readonly handles: readonly number[];
  readonly parameters: Buffer;
  /** What each session of the command got back. */
  readonly auths: readonly {
    readonly nonce: Buffer;
    readonly attributes: number;
    readonly hmac: Buffer;
  }[];
}

/** The length that a response's header states. Throws InvalidError `tpm.length` when no TPM would say it. */
export function responseLength(header: Uint8Array): number {
  const length = Buffer.from(header.buffer, header.byteOffset, header.length).readUInt32BE(2);
  if (length >= headerBytes && length <= responseMax) return length;
  throw new InvalidError("tpm.length", `a TPM's response of ${length} bytes`);
}

/** A TPM2B of at most `max` bytes. */
export function readSized(reader: Reader, max = responseMax): Buffer {
  const length = reader.u16();
  if (length > max) throw new InvalidError("tpm.too-long", `a TPM's field of ${length} bytes`);
  return Buffer.from(reader.raw(length));
}

/** Parses a whole response to a command that returns `handleCount` handles. Throws InvalidError `tpm.*`. */
export function parseResponse(bytes: Uint8Array, handleCount: number): Response {
  const reader = new Reader(bytes, "tpm");
  const tag = reader.u16();
  if (reader.u32() !== bytes.length)
    throw new InvalidError("tpm.length", "a TPM's response has another length than it says");
  const code = reader.u32();
  if (code !== 0) {
    if (tag !== tagNoSessions && tag !== 0x00c4)
      throw new InvalidError("tpm.tag", "a TPM's error with sessions");
    reader.end();
    return { code, handles: [], parameters: Buffer.alloc(0), auths: [] };
  }
  const handles = Array.from({ length: handleCount }, () => reader.u32());
  if (tag === tagNoSessions) {
    return { code, handles, parameters: Buffer.from(reader.raw(reader.remaining)), auths: [] };
  }
  if (tag !== tagSessions)
    throw new InvalidError("tpm.tag", "a TPM's response with an unknown tag");
  const parameters = Buffer.from(reader.blob(responseMax));
  const auths: Response["auths"][number][] = [];
  while (reader.remaining > 0) {
    auths.push({ nonce: readSized(reader), attributes: reader.u8(), hmac: readSized(reader) });
  }
  return { code, handles, parameters, auths };
}

/** Response codes that mean something here, without the number of the handle or parameter that they blame. */
export const responseCode = {
  handle: 0x08b,
  integrity: 0x09f,
  signature: 0x09b,
  policyFail: 0x09d,
  policy: 0x126,
  nvDefined: 0x14c,
  initialize: 0x100,
} as const;

/** The code without what it blames (part 2, 6.6.2). */
export function plainCode(code: number): number {
  return (code & 0x80) === 0 ? code : code & 0x0bf;
}
