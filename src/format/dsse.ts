/**
 * DSSE envelopes (secure-systems-lab/dsse, protocol v1.0.2): signatures over the exact bytes of a
 * typed payload. The key id is a hint and decides nothing; a signer counts once, by key bytes.
 */
import type { KeyObject } from "node:crypto";
import { InvalidError } from "../base/assert.ts";
import { decodeUtf8 } from "../base/bytes.ts";
import { publicKeyFromHex, publicKeyHex, sign, verify } from "../base/sign.ts";
import { parseJson } from "./json.ts";

export interface Envelope {
  readonly payloadType: string;
  readonly payload: Buffer;
  readonly signatures: readonly { readonly keyid: string; readonly sig: Buffer }[];
}

/** Pre-authentication encoding: "DSSEv1" SP len(type) SP type SP len(body) SP body. */
export function preAuthEncoding(payloadType: string, payload: Uint8Array): Buffer {
  const type = Buffer.from(payloadType, "utf8");
  return Buffer.concat([
    Buffer.from(`DSSEv1 ${type.length} `),
    type,
    Buffer.from(` ${payload.length} `),
    payload,
  ]);
}

/** Signs `payload` with each key, in order. The key id is the public key in hex. */
export function sealEnvelope(
  payloadType: string,
  payload: Uint8Array,
  keys: readonly KeyObject[],
): Envelope {
  const message = preAuthEncoding(payloadType, payload);
  const signatures = keys.map((key) => ({ keyid: publicKeyHex(key), sig: sign(key, message) }));
  return { payloadType, payload: Buffer.from(payload), signatures };
}

export function encodeEnvelope(envelope: Envelope): string {
  return JSON.stringify({
    payloadType: envelope.payloadType,
    payload: envelope.payload.toString("base64"),
    signatures: envelope.signatures.map((s) => ({
      keyid: s.keyid,
      sig: s.sig.toString("base64"),
    })),
  });
}

function base64(value: unknown, what: string): Buffer {
  if (typeof value !== "string") throw new InvalidError("dsse.shape", `${what} is not a string`);
  const bytes = Buffer.from(value, "base64");
  if (bytes.toString("base64") !== value) {
    throw new InvalidError("dsse.base64", `${what} is not canonical base64`);
  }
  return bytes;
}

/** Parses an envelope; nothing in it is trusted yet. Throws InvalidError `dsse.*` or `json.*`. */
export function parseEnvelope(bytes: Uint8Array): Envelope {
  const json = parseJson(decodeUtf8(bytes));
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    throw new InvalidError("dsse.shape", "an envelope is an object");
  }
  const { payloadType, payload, signatures, ...rest } = json as Record<string, unknown>;
  if (Object.keys(rest).length > 0 || typeof payloadType !== "string") {
    throw new InvalidError("dsse.shape", "an envelope has payloadType, payload and signatures");
  }
  // A change of the trust root may carry eight keys of each party, old ones and new ones.
  if (!Array.isArray(signatures) || signatures.length > 32) {
    throw new InvalidError("dsse.shape", "an envelope has at most 32 signatures");
  }
  return {
    payloadType,
    payload: base64(payload, "payload"),
    signatures: signatures.map((entry: unknown) => {
      const { keyid, sig } = (entry ?? {}) as Record<string, unknown>;
      return { keyid: typeof keyid === "string" ? keyid : "", sig: base64(sig, "sig") };
    }),
  };
}

/**
 * Which of the trusted keys (64 hex digits each) signed this envelope. Throws InvalidError
 * `dsse.type` when the payload is of another type. An empty set is an answer, not an error.
 */
export function signersOf(
  envelope: Envelope,
  payloadType: string,
  trusted: readonly string[],
): Set<string> {
  if (envelope.payloadType !== payloadType) {
    throw new InvalidError("dsse.type", `expected ${payloadType}, got ${envelope.payloadType}`);
  }
  const message = preAuthEncoding(envelope.payloadType, envelope.payload);
  const signers = new Set<string>();
  for (const keyHex of new Set(trusted)) {
    const key = publicKeyFromHex(keyHex);
    if (envelope.signatures.some((s) => verify(key, message, s.sig))) signers.add(keyHex);
  }
  return signers;
}
