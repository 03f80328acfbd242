/**
 * The site's certificate authority and the certificates of its roles: X.509, ECDSA P-256, by
 * @peculiar/x509 over WebCrypto. A role's common name is `<role>/<name>` (adapter/tls.ts reads it).
 *
 * Trust: whoever holds the CA key decides who may speak to whom on this site's links. A thief of it
 * can pose as any role; it cannot sign orders or whitelists, whose keys are others.
 */
import "reflect-metadata";
import { randomBytes, webcrypto, X509Certificate } from "node:crypto";
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  cryptoProvider,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  PemConverter,
  SubjectKeyIdentifierExtension,
  X509CertificateGenerator,
  X509Certificate as Certificate,
} from "@peculiar/x509";
import { InvalidError } from "../base/assert.ts";
import type { PeerRole } from "../format/wire.ts";

cryptoProvider.set(webcrypto);

const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const dayMs = 86_400_000;

/** The authority's certificate holds ten years, a role's one year. */
export const authorityDays = 3650;
export const roleDays = 365;
/** Certificates that end sooner than this are made anew at a start. */
export const renewDays = 30;

/** A certificate and its private key (PKCS #8), both PEM. */
export interface PemPair {
  readonly cert: string;
  readonly key: string;
}

/** 16 random bytes with the top bit clear (positive, RFC 5280 section 4.1.2.2), in hex. */
function serialNumber(): string {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return bytes.toString("hex");
}

async function newKeys(): Promise<{ keys: webcrypto.CryptoKeyPair; pem: string }> {
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const der = await webcrypto.subtle.exportKey("pkcs8", keys.privateKey);
  return { keys, pem: PemConverter.encode(der, "PRIVATE KEY") };
}

/** From an hour ago, so that small differences between clocks do no harm. */
function validity(nowMs: number, days: number): { notBefore: Date; notAfter: Date } {
  return { notBefore: new Date(nowMs - 3_600_000), notAfter: new Date(nowMs + days * dayMs) };
}

/** Makes an authority: a self-signed CA certificate that may sign certificates and nothing else. */
export async function createAuthority(siteName: string, nowMs: number): Promise<PemPair> {
  const { keys, pem } = await newKeys();
  const cert = await X509CertificateGenerator.createSelfSigned({
    serialNumber: serialNumber(),
    name: [{ CN: [`Weir site ${siteName}`] }],
    ...validity(nowMs, authorityDays),
    keys,
    signingAlgorithm: algorithm,
    extensions: [
      new BasicConstraintsExtension(true, 0, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { cert: cert.toString("pem"), key: pem };
}

/**
 * Issues the certificate of one role for mutually authenticated TLS (client and server use).
 * Throws InvalidError `pki.name` when `name` could be read as something else in the common name.
 */
export async function issue(
  authority: PemPair,
  role: PeerRole,
  name: string,
  nowMs: number,
): Promise<PemPair> {
  if (!/^[a-z0-9][a-z0-9-]{0,30}$/.test(name)) {
    throw new InvalidError("pki.name", `"${name}" is no role name: use a-z, 0-9 and -`);
  }
  const issuer = new Certificate(authority.cert);
  const signingKey = await webcrypto.subtle.importKey(
    "pkcs8",
    PemConverter.decodeFirst(authority.key),
    algorithm,
    false,
    ["sign"],
  );
  const { keys, pem } = await newKeys();
  const cert = await X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    subject: [{ CN: [`${role}/${name}`] }],
    issuer: issuer.subject,
    ...validity(nowMs, roleDays),
    publicKey: keys.publicKey,
    signingKey,
    signingAlgorithm: algorithm,
    extensions: [
      new BasicConstraintsExtension(false, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
      new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth, ExtendedKeyUsage.clientAuth]),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
      await AuthorityKeyIdentifierExtension.create(issuer),
    ],
  });
  return { cert: cert.toString("pem"), key: pem };
}

/** Why a certificate must be made anew, in words; "" when it is good. */
export function whyRenew(
  certPem: string,
  authorityPem: string,
  commonName: string,
  nowMs: number,
): string {
  try {
    const cert = new X509Certificate(certPem);
    const authority = new X509Certificate(authorityPem);
    if (!cert.checkIssued(authority) || !cert.verify(authority.publicKey)) {
      return "it is not this site's";
    }
    if (cert.subject !== `CN=${commonName}`) return "it names another role";
    const leftMs = cert.validToDate.getTime() - nowMs;
    return leftMs < renewDays * dayMs ? "it ends soon" : "";
  } catch {
    return "it cannot be read";
  }
}
