/**
 * The certificate of a boot key, spec/boot-key.md: a gateway's device key says that this X25519 key was made for
 * one boot of its server, to take one whitelist entry's weights.
 *
 * Trust: whoever has the device key can certify any key. The boot key itself lives in the gateway's memory for
 * one power cycle; a thief of it reads the weights of that boot, and of no other.
 */
import type { KeyObject } from "node:crypto";
import { InvalidError } from "../base/assert.ts";
import { Reader, Writer } from "../base/bytes.ts";
import { hpkeKeyBytes } from "../base/hpke.ts";
import { limits } from "../base/limits.ts";
import { sign, verify } from "../base/sign.ts";

/** What the signature is over begins with this, so that it is a signature of nothing else. */
const label = Buffer.from("weir boot key/1", "ascii");

const digestBytes = 32;
const signatureBytes = 64;

/** Bytes of the longest certificate. */
export const bootKeyMax =
  label.length + 4 + limits.name + 4 + 4 + digestBytes + hpkeKeyBytes + signatureBytes;

export interface BootKey {
  /** Name of the gateway, as in its TLS certificate. */
  readonly gateway: string;
  readonly epoch: number;
  /** Power cycle of the gateway's server in this epoch, from 1. */
  readonly boot: number;
  /** Digest of the whitelist entry (spec/whitelist.md) that may be uploaded in this boot; 32 bytes. */
  readonly entryDigest: Buffer;
  /** X25519; 32 bytes. */
  readonly publicKey: Buffer;
}

function encodeBody(key: BootKey): Buffer {
  const out = new Writer(bootKeyMax).raw(label).text(key.gateway).u32(key.epoch).u32(key.boot);
  return out.raw(key.entryDigest).raw(key.publicKey).bytes();
}

/** The certificate of `key`, signed by the gateway's device key. */
export function signBootKey(key: BootKey, deviceKey: KeyObject): Buffer {
  const body = encodeBody(key);
  return Buffer.concat([body, sign(deviceKey, body)]);
}

/**
 * Parses a certificate and checks its signature under `deviceKey`, the public key of the gateway that it must be
 * from. Throws InvalidError: `boot-key.signature` for another signer, `boot-key.*` for other bytes.
 */
export function openBootKey(certificate: Uint8Array, deviceKey: KeyObject): BootKey {
  const from = new Reader(certificate, "boot-key");
  if (!from.raw(label.length).equals(label)) {
    throw new InvalidError("boot-key.label", "this is no certificate of a boot key");
  }
  const gateway = from.text(limits.name);
  const epoch = from.u32();
  const boot = from.u32();
  const entryDigest = Buffer.from(from.raw(digestBytes));
  const publicKey = Buffer.from(from.raw(hpkeKeyBytes));
  const signature = from.raw(signatureBytes);
  from.end();
  const body = certificate.subarray(0, certificate.length - signatureBytes);
  if (!verify(deviceKey, body, signature)) {
    throw new InvalidError("boot-key.signature", "the device key did not sign this boot key");
  }
  return { gateway, epoch, boot, entryDigest, publicKey };
}
