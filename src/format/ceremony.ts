/**
 * The transcript of the ceremony that makes a device, spec/ceremony.md: strict JSON that either party can check alone.
 *
 *   proposal        the device: its helper data's digest, a nonce, a key to seal to; after it has enrolled its UID
 *   contributions   each party: fresh entropy, committed to and sealed to the device, signed by the party
 *   result          the device: the public keys that came out, signed by its identity key
 *   endorsements    each party: its signature over all of it
 *
 * UDS = HKDF(UID, entropy of A, entropy of B). A maker who kept the UID lacks the entropies; a party lacks the UID and
 * the other's entropy. Nothing is chosen after the other's entropy is seen: both are sealed, to the device alone.
 */
import { hkdfSync, type KeyObject } from "node:crypto";
import { InvalidError } from "../base/assert.ts";
import { decodeUtf8, fromHex, toHex, Writer } from "../base/bytes.ts";
import { keyFault } from "../base/enrol.ts";
import { sha256 } from "../base/hash.ts";
import { publicKeyFromHex, sign, verify } from "../base/sign.ts";
import { Fields, parseJson } from "./json.ts";

export type PartyName = "a" | "b";
export const partyNames: readonly PartyName[] = ["a", "b"];

/** All hex, 32 bytes each, unless said otherwise. */
export interface Proposal {
  /** The gateway that the device will be. */
  readonly gateway: string;
  readonly kind: "puf" | "tpm";
  /** SHA-256 of what the UID needs besides itself: helper data of a PUF, sealed blob of a TPM. */
  readonly helper: string;
  /** Ed25519 public keys of the parties. */
  readonly a: string;
  readonly b: string;
  readonly nonce: string;
  /** X25519 public key that contributions are sealed to. */
  readonly sealTo: string;
}

export interface Contribution {
  /** SHA-256 over the party's entropy, bound to proposal and party. */
  readonly commitment: string;
  /** The entropy, sealed to the device by HPKE; hex. */
  readonly sealed: string;
  /** The party's; 64 bytes. */
  readonly signature: string;
}

/** Ed25519 public keys of the device: first stage's identity, `gateway/identity.ts` device and log key. */
export interface DeviceKeys {
  readonly identity: string;
  readonly device: string;
  readonly log: string;
}

export interface Transcript {
  readonly proposal: Proposal;
  readonly contributions: Readonly<Partial<Record<PartyName, Contribution>>>;
  readonly result: (DeviceKeys & { readonly signature: string }) | null;
  readonly endorsements: Readonly<Partial<Record<PartyName, string>>>;
}

function wrong(what: string, text: string): never {
  throw new InvalidError(`ceremony.${what}`, text);
}

/** Digest of a proposal; salt of the UDS, and what everything else is bound to. */
export function proposalDigest(p: Proposal): Buffer {
  const writer = new Writer().text("weir ceremony proposal/1").text(p.gateway).text(p.kind);
  for (const field of [p.helper, p.a, p.b, p.nonce, p.sealTo]) writer.raw(fromHex(field, 32));
  return sha256(writer.bytes());
}

/** What a party commits to its 32 bytes of entropy by. */
export function commitmentOf(proposal: Proposal, party: PartyName, entropy: Uint8Array): string {
  const writer = new Writer().text("weir ceremony entropy/1").raw(proposalDigest(proposal));
  return toHex(sha256(writer.text(party).raw(entropy).bytes()));
}

/** HPKE info and additional data of a party's sealed entropy. */
export function sealingOf(
  proposal: Proposal,
  party: PartyName,
): { readonly info: Buffer; readonly aad: Buffer } {
  return {
    info: Buffer.from(`weir ceremony seal/1 ${party}`),
    aad: proposalDigest(proposal),
  };
}

function contributionMessage(
  proposal: Proposal,
  party: PartyName,
  { commitment, sealed }: Pick<Contribution, "commitment" | "sealed">,
): Buffer {
  const writer = new Writer().text("weir ceremony contribution/1").raw(proposalDigest(proposal));
  writer.text(party).raw(fromHex(commitment, 32)).blob(Buffer.from(sealed, "hex"));
  return Buffer.from(writer.bytes());
}

/** Signs a contribution with the party's key. */
export function signContribution(
  proposal: Proposal,
  party: PartyName,
  what: Pick<Contribution, "commitment" | "sealed">,
  key: KeyObject,
): Contribution {
  return { ...what, signature: toHex(sign(key, contributionMessage(proposal, party, what))) };
}

/** Digest of everything up to the device's keys; the name of this device's birth, also in logs. */
export function resultDigest(transcript: Transcript, keys: DeviceKeys): Buffer {
  const writer = new Writer().text("weir ceremony result/1");
  writer.raw(proposalDigest(transcript.proposal));
  for (const party of partyNames) {
    const contribution = transcript.contributions[party];
    if (contribution === undefined) return wrong("missing", `party ${party} has not contributed`);
    writer.raw(contributionMessage(transcript.proposal, party, contribution));
  }
  for (const key of [keys.identity, keys.device, keys.log]) writer.raw(fromHex(key, 32));
  return sha256(writer.bytes());
}

/** The device's signature over the result, by its identity key. */
export function signResult(transcript: Transcript, keys: DeviceKeys, identity: KeyObject): string {
  const message = Buffer.concat([
    Buffer.from("weir ceremony device/1"),
    resultDigest(transcript, keys),
  ]);
  return toHex(sign(identity, message));
}

function endorsementMessage(transcript: Transcript, keys: DeviceKeys): Buffer {
  return Buffer.concat([
    Buffer.from("weir ceremony endorsement/1"),
    resultDigest(transcript, keys),
  ]);
}

/** A party's signature over a finished transcript. */
export function endorse(transcript: Transcript, key: KeyObject): string {
  const { result } = transcript;
  if (result === null) return wrong("missing", "the device has not finished yet");
  return toHex(sign(key, endorsementMessage(transcript, result)));
}

/**
 * The unique device secret: HKDF-SHA512 over UID and both entropies (32 bytes each), salted with the proposal, so that
 * another transcript gives another device. 32 bytes.
 */
export function udsOf(
  uid: Uint8Array,
  entropy: Readonly<Record<PartyName, Uint8Array>>,
  proposal: Proposal,
): Buffer {
  const ikm = Buffer.concat([uid, entropy.a, entropy.b]);
  const uds = Buffer.from(hkdfSync("sha512", ikm, proposalDigest(proposal), "weir uds/1", 32));
  ikm.fill(0);
  return uds;
}

function hexField(fields: Fields, key: string, bytes: number): string {
  const text = fields.text(key);
  fromHex(text, bytes);
  return text;
}

/** Keys that were never looked at elsewhere: the parties' and the new device's. */
function checkKey(whose: string, hex: string): void {
  const fault = keyFault(hex);
  if (fault !== null) wrong("key", `the key ${whose} cannot be enrolled: ${fault}`);
}

function parseProposal(fields: Fields): Proposal {
  const kind = fields.text("kind");
  if (kind !== "puf" && kind !== "tpm") return wrong("kind", `a UID of kind "${kind}" is unknown`);
  const gateway = fields.text("gateway");
  if (!/^[a-z0-9][a-z0-9.-]{0,62}$/.test(gateway)) {
    return wrong("gateway", "proposal.gateway is no name of a gateway");
  }
  const proposal = {
    gateway,
    kind,
    helper: hexField(fields, "helper", 32),
    a: hexField(fields, "a", 32),
    b: hexField(fields, "b", 32),
    nonce: hexField(fields, "nonce", 32),
    sealTo: hexField(fields, "sealTo", 32),
  } as const;
  fields.end();
  for (const party of partyNames) checkKey(`of party ${party}`, proposal[party]);
  if (proposal.a === proposal.b) wrong("parties", "both parties have the same key");
  return proposal;
}

function parseContribution(fields: Fields): Contribution {
  const sealed = fields.text("sealed");
  if (!/^([0-9a-f]{2}){1,512}$/.test(sealed)) wrong("sealed", "sealed entropy is not hex");
  const contribution = {
    commitment: hexField(fields, "commitment", 32),
    sealed,
    signature: hexField(fields, "signature", 64),
  };
  fields.end();
  return contribution;
}

/** Parses a transcript, finished or not; nothing in it is believed yet. Throws InvalidError `ceremony.*`, `json.*`, `bytes.*`. */
export function parseTranscript(bytes: Uint8Array): Transcript {
  const top = new Fields(parseJson(decodeUtf8(bytes)), "transcript");
  top.integer("format", 1, 1);
  const proposal = parseProposal(top.object("proposal"));
  const contributions: Partial<Record<PartyName, Contribution>> = {};
  const endorsements: Partial<Record<PartyName, string>> = {};
  for (const party of partyNames) {
    if (top.has(`contribution-${party}`)) {
      contributions[party] = parseContribution(top.object(`contribution-${party}`));
    }
    if (top.has(`endorsement-${party}`)) {
      endorsements[party] = hexField(top, `endorsement-${party}`, 64);
    }
  }
  let result: Transcript["result"] = null;
  if (top.has("result")) {
    const from = top.object("result");
    result = {
      identity: hexField(from, "identity", 32),
      device: hexField(from, "device", 32),
      log: hexField(from, "log", 32),
      signature: hexField(from, "signature", 64),
    };
    from.end();
    for (const name of ["identity", "device", "log"] as const) {
      checkKey(`"${name}" of the device`, result[name]);
    }
  }
  top.end();
  return { proposal, contributions, result, endorsements };
}

/** The transcript as JSON text. */
export function encodeTranscript(transcript: Transcript): string {
  const { proposal, contributions, result, endorsements } = transcript;
  const parts: Record<string, unknown> = { format: 1, proposal };
  for (const party of partyNames) {
    if (contributions[party] !== undefined) parts[`contribution-${party}`] = contributions[party];
  }
  if (result !== null) parts["result"] = result;
  for (const party of partyNames) {
    if (endorsements[party] !== undefined) parts[`endorsement-${party}`] = endorsements[party];
  }
  return `${JSON.stringify(parts, null, 2)}\n`;
}

/** Checks the contributions that are there against the parties' keys. Throws InvalidError `ceremony.contribution`. */
export function checkContributions({ proposal, contributions }: Transcript): void {
  for (const party of partyNames) {
    const contribution = contributions[party];
    if (contribution === undefined) continue;
    const message = contributionMessage(proposal, party, contribution);
    const key = publicKeyFromHex(proposal[party]);
    if (!verify(key, message, Buffer.from(contribution.signature, "hex"))) {
      wrong("contribution", `the contribution of party ${party} is not signed by its key`);
    }
  }
}

/** The result of a transcript whose contributions and device signature hold; endorsements are not looked at. */
export function checkResult(transcript: Transcript): DeviceKeys {
  const { result } = transcript;
  checkContributions(transcript);
  if (result === null)
    return wrong("missing", "the ceremony is not finished: there are no device keys");
  const message = Buffer.concat([
    Buffer.from("weir ceremony device/1"),
    resultDigest(transcript, result),
  ]);
  const key = publicKeyFromHex(result.identity);
  if (!verify(key, message, Buffer.from(result.signature, "hex"))) {
    wrong("device", "the result is not signed by the device's identity key");
  }
  return result;
}

/**
 * Checks a whole transcript for these two parties: contributions, device, both endorsements. Returns the device's keys.
 * Throws InvalidError `ceremony.*` that names the first thing that is wrong.
 */
export function checkTranscript(
  transcript: Transcript,
  parties: Readonly<Record<PartyName, string>>,
): DeviceKeys {
  const { proposal, endorsements } = transcript;
  for (const party of partyNames) {
    if (proposal[party] !== parties[party]) {
      wrong("parties", `the transcript names another key of party ${party}`);
    }
  }
  const keys = checkResult(transcript);
  const message = endorsementMessage(transcript, keys);
  for (const party of partyNames) {
    const signature = endorsements[party];
    if (signature === undefined) return wrong("missing", `party ${party} has not endorsed`);
    if (!verify(publicKeyFromHex(proposal[party]), message, Buffer.from(signature, "hex"))) {
      wrong("endorsement", `the endorsement of party ${party} is not signed by its key`);
    }
  }
  return keys;
}
