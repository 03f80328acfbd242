/**
 * A salted policy session with an encrypted answer (part 1, 19.6, 21 and 24): what the TPM unseals crosses its bus
 * under a key that only the storage key's holder and this process know. Against an interposer on the bus, who may
 * also be an impostor, the storage key's public half has to be known from before: it stands in the sealed blob.
 */
import {
  createDecipheriv,
  createHmac,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
} from "node:crypto";
import { InvalidError } from "../../base/assert.ts";
import { equalBytes, Writer } from "../../base/bytes.ts";
import { sha256 } from "../../base/hash.ts";
import { pointOf, type Point } from "./public.ts";
import { sized } from "./wire.ts";

/** KDFa (part 1, 11.4.10.2): counter mode of HMAC-SHA256. `bits` up to 256 per round. */
export function kdfA(
  key: Uint8Array,
  label: string,
  u: Uint8Array,
  v: Uint8Array,
  bits: number,
): Buffer {
  const blocks: Buffer[] = [];
  for (let i = 1; 256 * blocks.length < bits; i++) {
    const message = new Writer()
      .u32(i)
      .raw(Buffer.from(`${label}\0`))
      .raw(u)
      .raw(v)
      .u32(bits);
    blocks.push(createHmac("sha256", key).update(message.bytes()).digest());
  }
  return Buffer.concat(blocks).subarray(0, bits / 8);
}

/** KDFe (part 1, 11.4.10.3) for a salt: one round of SHA-256. */
function kdfE(z: Uint8Array, u: Uint8Array, v: Uint8Array): Buffer {
  const message = new Writer().u32(1).raw(z).raw(Buffer.from("SECRET\0")).raw(u).raw(v);
  return sha256(message.bytes());
}

/** A salt for the holder of the storage key, and its encrypted form. */
export function makeSalt(storage: Point): { readonly salt: Buffer; readonly encrypted: Buffer } {
  const ephemeral = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const theirs = createPublicKey({
    key: {
      kty: "EC",
      crv: "P-256",
      x: storage.x.toString("base64url"),
      y: storage.y.toString("base64url"),
    },
    format: "jwk",
  });
  const z = diffieHellman({ privateKey: ephemeral.privateKey, publicKey: theirs });
  const own = pointOf(ephemeral.publicKey);
  const salt = kdfE(z, own.x, storage.x);
  z.fill(0);
  return { salt, encrypted: Buffer.concat([sized(own.x), sized(own.y)]) };
}

/** Session attributes: goes on, and the first parameter of the response is encrypted. */
export const encryptResponse = 0x41;

export interface PolicySession {
  readonly handle: number;
  readonly key: Buffer;
  readonly nonceTpm: Buffer;
}

/** HMAC of a command in this session: over its parameters, both nonces and the attributes. */
export function commandHmac(
  session: PolicySession,
  command: {
    readonly code: number;
    readonly names: readonly Uint8Array[];
    readonly parameters: Uint8Array;
  },
  nonceCaller: Uint8Array,
): Buffer {
  const hashed = new Writer().u32(command.code);
  for (const name of command.names) hashed.raw(name);
  const message = new Writer().raw(sha256(hashed.raw(command.parameters).bytes()));
  message.raw(nonceCaller).raw(session.nonceTpm).u8(encryptResponse);
  return createHmac("sha256", session.key).update(message.bytes()).digest();
}

/**
 * Checks the response's HMAC and decrypts its first parameter. Throws InvalidError `tpm.session` when something on the
 * way has changed it.
 */
export function openResponse(
  session: PolicySession,
  code: number,
  nonceCaller: Uint8Array,
  response: {
    readonly parameters: Buffer;
    readonly auth:
      { readonly nonce: Buffer; readonly attributes: number; readonly hmac: Buffer } | undefined;
  },
): Buffer {
  const { parameters, auth } = response;
  const hashed = new Writer().u32(0).u32(code).raw(parameters).bytes();
  const message = new Writer().raw(sha256(hashed)).raw(auth?.nonce ?? Buffer.alloc(0));
  message.raw(nonceCaller).u8(auth?.attributes ?? 0);
  const expected = createHmac("sha256", session.key).update(message.bytes()).digest();
  const encrypted = ((auth?.attributes ?? 0) & 0x40) !== 0;
  if (auth === undefined || !encrypted || !equalBytes(expected, auth.hmac)) {
    throw new InvalidError("tpm.session", "the TPM's answer was changed on its way");
  }
  const key = kdfA(session.key, "CFB", auth.nonce, nonceCaller, 256);
  const cipher = createDecipheriv("aes-128-cfb", key.subarray(0, 16), key.subarray(16));
  const length = parameters.readUInt16BE(0);
  return cipher.update(parameters.subarray(2, 2 + length));
}
