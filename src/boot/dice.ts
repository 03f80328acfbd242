/**
 * DICE derivations of the Open Profile (pigweed.dev/open-dice, docs/specification.md): each stage gets two secrets
 * that depend on what was measured. CDI_Attest changes with every change of the code; CDI_Seal only with the
 * authority that signs code, and the mode: what is sealed under it survives an authorised update and nothing else.
 *
 * Part of the first stage: imports nothing but node:crypto.
 */
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  hkdfSync,
  type KeyObject,
} from "node:crypto";

/** ASYM_SALT and ID_SALT of the specification: 64 bytes each. */
const asymSalt = Buffer.from(
  "63b6a04d2c077fc10f639f21da793844356cc2b0b441b3a77124035c03f8e1be" +
    "6035d31f282821a7450a02222ab1b3cff1679b05ab1ca5d1affb789ccd2b0b3b",
  "hex",
);
const idSalt = Buffer.from(
  "dbdbaebc8020da9ff0dd5a24c83aa5a54286dfc263031e329b4da148430659fe" +
    "62cdb5b7e1e00fc680306711eb444af77209359496fcff1db9520ba51c7b29ea",
  "hex",
);
const spkiPrefix = Buffer.from("302a300506032b6570032100", "hex");
const pkcs8Prefix = Buffer.from("302e020100300506032b657004220420", "hex");

/** Modes of the specification that are used here. */
export const diceMode = { notConfigured: 0, normal: 1, debug: 2 } as const;

export interface DiceInputs {
  /** SHA-512 of the code, or a digest that stands for it; 64 bytes, as are all but `mode`. */
  readonly code: Buffer;
  readonly config: Buffer;
  readonly authority: Buffer;
  readonly mode: number;
  readonly hidden: Buffer;
}

/** KDF of the specification: HKDF-SHA512 (RFC 5869). */
export function diceKdf(bytes: number, ikm: Uint8Array, salt: Uint8Array, info: string): Buffer {
  return Buffer.from(hkdfSync("sha512", ikm, salt, info, bytes));
}

/** SHA-512; 64 bytes. */
export function sha512(...parts: readonly Uint8Array[]): Buffer {
  const hash = createHash("sha512");
  for (const part of parts) hash.update(part);
  return hash.digest();
}

export interface Cdis {
  readonly attest: Buffer;
  readonly seal: Buffer;
}

/** The secrets of the next stage from those of this one; for the first stage both are the UDS. 32 bytes each. */
export function nextCdis(current: Cdis, inputs: DiceInputs): Cdis {
  const { code, config, authority, hidden } = inputs;
  const mode = Uint8Array.of(inputs.mode);
  const measured = sha512(code, config, authority, mode, hidden);
  return {
    attest: diceKdf(32, current.attest, measured, "CDI_Attest"),
    seal: diceKdf(32, current.seal, sha512(authority, mode, hidden), "CDI_Seal"),
  };
}

/** The Ed25519 key of a stage, from its CDI_Attest (of the first: the UDS). */
export function diceKey(cdi: Uint8Array): KeyObject {
  const seed = diceKdf(32, cdi, asymSalt, "Key Pair");
  const der = Buffer.concat([pkcs8Prefix, seed]);
  const key = createPrivateKey({ key: der, format: "der", type: "pkcs8" });
  seed.fill(0);
  der.fill(0);
  return key;
}

/** The 32 bytes of a key's public half. */
export function publicBytes(key: KeyObject): Buffer {
  const publicKey = key.type === "public" ? key : createPublicKey(key);
  const spki = publicKey.export({ format: "der", type: "spki" });
  return Buffer.from(spki.subarray(spkiPrefix.length));
}

/** The public key of 32 bytes. */
export function publicKeyOf(raw: Uint8Array): KeyObject {
  const der = Buffer.concat([spkiPrefix, raw]);
  return createPublicKey({ key: der, format: "der", type: "spki" });
}

/** The identifier of a public key; 20 bytes, the first bit zero, as in a certificate's serial number. */
export function diceId(publicKey: Uint8Array): Buffer {
  const id = diceKdf(20, publicKey, idSalt, "ID");
  id[0] = (id[0] ?? 0) & 0x7f;
  return id;
}
