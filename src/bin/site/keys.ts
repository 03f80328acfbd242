/**
 * The keys of a site on one machine. In a real site each lives with its owner; here they lie side by
 * side in one folder, and every view says that the two parties are simulated.
 *
 * Trust: a thief of this folder can sign whitelists and orders, pose as any role and read the rings.
 */
import { randomBytes, type KeyObject } from "node:crypto";
import { join } from "node:path";
import { createAuthority, issue, whyRenew, type PemPair } from "../../adapter/pki.ts";
import { fromHex } from "../../base/bytes.ts";
import { privateKeyFromSeed } from "../../base/sign.ts";
import { logKey } from "../../format/checkpoint.ts";
import { formatVkey } from "../../format/note.ts";
import type { PeerRole } from "../../format/wire.ts";
import { privateFolder, readIfThere, writeAtomic } from "./files.ts";

export interface Identity {
  readonly role: PeerRole;
  readonly name: string;
}

const secretMode = 0o600;

/** Party keys, their keys for devices and boot manifests, the recomputer's order key, the operator's key: 32-byte seeds, hex, one per file. */
export const seedNames = [
  "party-a",
  "party-b",
  "boot-a",
  "boot-b",
  "recomputer-order",
  "operator",
  "witness-a",
  "witness-b",
] as const;
export type SeedName = (typeof seedNames)[number];

export function seedFile(keys: string, name: SeedName): string {
  return join(keys, `${name}.seed`);
}

/** Root key of a gateway in a file: only sites of earlier versions have one. */
export function ringKeyFile(keys: string, gateway: string): string {
  return join(keys, `ring-${gateway}.key`);
}

/** The public half of a gateway's device key (gateway/identity.ts), for depots and verifiers. */
export function deviceKeyFile(keys: string, gateway: string): string {
  return join(keys, `device-${gateway}.pub`);
}

/** Writes a gateway's public keys (hex, 32 bytes each; gateway/identity.ts) for other roles, where they are not. */
export function writePublicKeys(
  keys: string,
  gateway: string,
  publics: { readonly device: string; readonly log: string },
): void {
  const text = `${publics.device}\n`;
  const path = deviceKeyFile(keys, gateway);
  if (readIfThere(path) !== text) writeAtomic(path, text);
  const vkey = `${formatVkey(logKey(gateway, publics.log))}\n`;
  if (readIfThere(logKeyFile(keys, gateway)) !== vkey) writeAtomic(logKeyFile(keys, gateway), vkey);
}

/** The C2SP verifier key of a gateway's log, for witnesses, the publisher and verifiers. */
export function logKeyFile(keys: string, gateway: string): string {
  return join(keys, `log-${gateway}.vkey`);
}

/** A 32-byte secret in hex, made if it is not there. Returns whether it was made. */
function ensureSecret(path: string): boolean {
  if (readIfThere(path) !== null) return false;
  writeAtomic(path, `${randomBytes(32).toString("hex")}\n`, secretMode);
  return true;
}

/** Reads a signing key. Throws InvalidError when the file is not 64 hex digits. */
export function readSigningKey(keys: string, name: SeedName): KeyObject {
  const text = readIfThere(seedFile(keys, name)) ?? "";
  return privateKeyFromSeed(fromHex(text.trim(), 32));
}

async function ensureAuthority(keys: string, nowMs: number): Promise<PemPair> {
  const cert = readIfThere(join(keys, "ca.crt"));
  const key = readIfThere(join(keys, "ca.key"));
  if (cert !== null && key !== null) return { cert, key };
  // The key goes first: a certificate without its key would look finished.
  const made = await createAuthority(randomBytes(4).toString("hex"), nowMs);
  writeAtomic(join(keys, "ca.key"), made.key, secretMode);
  writeAtomic(join(keys, "ca.crt"), made.cert);
  return made;
}

async function ensureIdentity(
  keys: string,
  authority: PemPair,
  who: Identity,
  nowMs: number,
): Promise<boolean> {
  const base = join(keys, `${who.role}-${who.name}`);
  const cert = readIfThere(`${base}.crt`);
  const whole = cert !== null && readIfThere(`${base}.key`) !== null;
  if (whole && whyRenew(cert, authority.cert, `${who.role}/${who.name}`, nowMs) === "")
    return false;
  const made = await issue(authority, who.role, who.name, nowMs);
  writeAtomic(`${base}.key`, made.key, secretMode);
  writeAtomic(`${base}.crt`, made.cert);
  return true;
}

/**
 * Makes what is missing: authority, certificates of `identities`, `seeds`.
 * Each file is written whole, so a set-up that was cut off is simply continued. Returns how many
 * files were made or renewed.
 */
export async function ensureKeys(
  keys: string,
  identities: readonly Identity[],
  nowMs: number,
  seeds: readonly SeedName[] = seedNames,
): Promise<number> {
  privateFolder(keys);
  const authority = await ensureAuthority(keys, nowMs);
  let made = 0;
  for (const who of identities) {
    if (await ensureIdentity(keys, authority, who, nowMs)) made++;
  }
  for (const name of seeds) if (ensureSecret(seedFile(keys, name))) made++;
  return made;
}

/**
 * Makes sure that one role has a certificate that is still good, and that there is an authority.
 * Returns whether it was made. Throws InvalidError `pki.name`.
 */
export async function ensureIdentityFiles(
  keys: string,
  who: Identity,
  nowMs: number,
): Promise<boolean> {
  privateFolder(keys);
  return ensureIdentity(keys, await ensureAuthority(keys, nowMs), who, nowMs);
}
