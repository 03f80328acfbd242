/** The ceremony that makes a device, step by step; what each step is for stands in format/ceremony.ts. */
import type { KeyObject } from "node:crypto";
import { existsSync, readFileSync, renameSync, rmSync } from "node:fs";
import { enrolPuf } from "../../adapter/puf/uid.ts";
import { growCells } from "../../adapter/puf/cells.ts";
import { systemRandom } from "../../adapter/random.ts";
import { InvalidError } from "../../base/assert.ts";
import { toHex } from "../../base/bytes.ts";
import { gcmNonceBytes, gcmSeal } from "../../base/gcm.ts";
import { sha256 } from "../../base/hash.ts";
import { hpkeOpen, hpkeSeal, keyPairOf } from "../../base/hpke.ts";
import { randomBytes } from "../../base/random.ts";
import { publicKeyHex } from "../../base/sign.ts";
import { diceKey } from "../../boot/dice.ts";
import { bootStateText } from "../../boot/stage.ts";
import {
  checkContributions,
  commitmentOf,
  encodeTranscript,
  endorse,
  parseTranscript,
  partyNames,
  proposalDigest,
  sealingOf,
  signContribution,
  signResult,
  udsOf,
  type PartyName,
  type Proposal,
  type Transcript,
} from "../../format/ceremony.ts";
import { privateFolder, writeAtomic } from "../site/files.ts";
import { devicePaths, fusesText, openUid, readDeviceFuses, type DeviceFuses } from "./folder.ts";
import { sealTpm } from "./tpm.ts";
import { fieldKey, keysOf, sealSecretOf } from "./unlock.ts";

export interface ProposeOptions {
  readonly dir: string;
  readonly fuses: DeviceFuses;
  /** Makes a new device where there is one: everything of the old one is unreadable afterwards. */
  readonly replace?: boolean;
}

/** Clears the way for a new device; the old transcript is kept beside it, for the record. */
function retire(dir: string): void {
  const paths = devicePaths(dir);
  if (existsSync(paths.ceremony)) {
    const name = toHex(sha256(readFileSync(paths.ceremony))).slice(0, 16);
    renameSync(paths.ceremony, `${paths.ceremony}.${name}.retired`);
  }
  for (const part of [paths.helper, paths.field, paths.bootState, paths.fuses, paths.marker]) {
    rmSync(part, { force: true });
  }
  rmSync(paths.tamper, { force: true, recursive: true });
}

/**
 * The device's first step: enrols its UID and writes the transcript with the proposal. Throws InvalidError
 * `device.exists` where there is a device already, unless it is to be replaced.
 */
export async function propose({ dir, fuses, replace }: ProposeOptions): Promise<Transcript> {
  const paths = devicePaths(dir);
  const { uid, device } = fuses;
  if (uid.kind === "file") {
    throw new InvalidError("device.kind", "a root key in a file needs no ceremony");
  }
  if (existsSync(paths.ceremony) && replace !== true) {
    throw new InvalidError("device.exists", `${dir} holds the device ${device} already`);
  }
  privateFolder(dir);
  retire(dir);
  let helper: Buffer;
  if (uid.kind === "puf") {
    growCells(paths.cells, systemRandom);
    helper = enrolPuf({ device, cells: paths.cells, random: systemRandom });
  } else {
    helper = await sealTpm({ ...uid, device });
  }
  writeAtomic(paths.helper, helper, 0o600);
  writeAtomic(paths.fuses, fusesText(fuses), 0o600);
  const nonce = toHex(randomBytes(systemRandom, 32));
  const { secret } = await openUid(dir, fuses).unlock();
  const sealTo = toHex(keyPairOf(sealSecretOf(secret, nonce)).publicKey);
  secret.fill(0);
  const proposal: Proposal = {
    ...{ gateway: device, kind: uid.kind, helper: toHex(sha256(helper)) },
    ...{ a: fuses.partyA, b: fuses.partyB, nonce, sealTo },
  };
  const transcript = { proposal, contributions: {}, result: null, endorsements: {} };
  writeAtomic(paths.ceremony, encodeTranscript(transcript), 0o600);
  return transcript;
}

/** Whose key this is in a proposal. Throws InvalidError `ceremony.parties`. */
export function partyOf(proposal: Proposal, key: KeyObject): PartyName {
  const party = partyNames.find((name) => proposal[name] === publicKeyHex(key));
  if (party !== undefined) return party;
  throw new InvalidError("ceremony.parties", "this key is of neither party of the proposal");
}

/** A party's step: fresh entropy, sealed to the device. Throws InvalidError `ceremony.order` the second time. */
export function contribute(transcript: Transcript, key: KeyObject): Transcript {
  const { proposal, contributions, result } = transcript;
  const party = partyOf(proposal, key);
  if (contributions[party] !== undefined || result !== null) {
    throw new InvalidError("ceremony.order", `party ${party} has contributed already`);
  }
  const entropy = randomBytes(systemRandom, 32);
  const { info, aad } = sealingOf(proposal, party);
  const to = Buffer.from(proposal.sealTo, "hex");
  const sealed = toHex(hpkeSeal(to, info, aad, entropy, systemRandom));
  const what = { commitment: commitmentOf(proposal, party, entropy), sealed };
  entropy.fill(0);
  const made = signContribution(proposal, party, what, key);
  return { ...transcript, contributions: { ...contributions, [party]: made } };
}

function entropyOf(transcript: Transcript, party: PartyName, uid: Buffer): Buffer {
  const { proposal, contributions } = transcript;
  const contribution = contributions[party];
  if (contribution === undefined) {
    throw new InvalidError("ceremony.missing", `party ${party} has not contributed`);
  }
  const { info, aad } = sealingOf(proposal, party);
  const pair = keyPairOf(sealSecretOf(uid, proposal.nonce));
  const entropy = hpkeOpen(pair, info, aad, Buffer.from(contribution.sealed, "hex"));
  if (entropy.length !== 32 || commitmentOf(proposal, party, entropy) !== contribution.commitment) {
    throw new InvalidError(
      "ceremony.commitment",
      `party ${party} sealed other than it committed to`,
    );
  }
  return entropy;
}

/**
 * The device's second step: opens both contributions, keeps them encrypted under its UID, and says which device it now
 * is. Throws InvalidError `ceremony.*`; UnavailableError when the UID does not answer.
 */
export async function finish(dir: string, transcript: Transcript): Promise<Transcript> {
  const paths = devicePaths(dir);
  const fuses = readDeviceFuses(paths.fuses);
  const own = parseTranscript(readFileSync(paths.ceremony));
  const { proposal } = transcript;
  if (!proposalDigest(own.proposal).equals(proposalDigest(proposal))) {
    throw new InvalidError("ceremony.proposal", "this transcript is not of this device's proposal");
  }
  if (own.result !== null) {
    throw new InvalidError("ceremony.order", "this device has finished its ceremony already");
  }
  checkContributions(transcript);
  const { secret } = await openUid(dir, fuses).unlock();
  const entropy = { a: entropyOf(transcript, "a", secret), b: entropyOf(transcript, "b", secret) };
  const nonce = randomBytes(systemRandom, gcmNonceBytes);
  const both = Buffer.concat([entropy.a, entropy.b]);
  const sealed = gcmSeal("aes-256-gcm", fieldKey(secret), nonce, proposalDigest(proposal), both);
  const uds = udsOf(secret, entropy, proposal);
  const keys = keysOf(uds, fuses);
  const signature = signResult(transcript, keys, diceKey(uds));
  writeAtomic(paths.field, Buffer.concat([nonce, sealed]), 0o600);
  writeAtomic(paths.bootState, bootStateText(uds, 1), 0o600);
  for (const used of [secret, entropy.a, entropy.b, both, uds]) used.fill(0);
  const done: Transcript = { ...transcript, result: { ...keys, signature } };
  writeAtomic(paths.ceremony, encodeTranscript(done), 0o600);
  return done;
}

/** A party's last step, after it has checked the transcript: its signature. */
export function addEndorsement(transcript: Transcript, key: KeyObject): Transcript {
  const party = partyOf(transcript.proposal, key);
  const endorsements = { ...transcript.endorsements, [party]: endorse(transcript, key) };
  return { ...transcript, endorsements };
}

/** The whole ceremony with both parties' keys at hand: what `weir up` does, and says is simulated. */
export async function wholeCeremony(
  options: ProposeOptions,
  keys: Readonly<Record<PartyName, KeyObject>>,
): Promise<Transcript> {
  const proposed = await propose(options);
  const contributed = contribute(contribute(proposed, keys.a), keys.b);
  const finished = await finish(options.dir, contributed);
  const endorsed = addEndorsement(addEndorsement(finished, keys.a), keys.b);
  writeAtomic(devicePaths(options.dir).ceremony, encodeTranscript(endorsed), 0o600);
  return endorsed;
}
