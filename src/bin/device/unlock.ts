/**
 * The unlock program of the boot manifest: what stands in for the block that gives the first stage its unique device
 * secret. It checks the ceremony's transcript against the fuses, unlocks the UID, opens the parties' entropies with
 * it, and checks that the device that comes out is the one that both parties endorsed.
 */
import { existsSync, readFileSync } from "node:fs";
import { dirname } from "node:path";
import { createSecretKey, hkdfSync } from "node:crypto";
import { InvalidError } from "../../base/assert.ts";
import { toHex } from "../../base/bytes.ts";
import { gcmNonceBytes, gcmOpen } from "../../base/gcm.ts";
import { deriveKey, secretKey, sha256 } from "../../base/hash.ts";
import { publicKeyHex } from "../../base/sign.ts";
import { diceKdf, diceKey, publicBytes } from "../../boot/dice.ts";
import { bootStateText, rootKeyOf, stageCdis } from "../../boot/stage.ts";
import {
  checkTranscript,
  parseTranscript,
  proposalDigest,
  resultDigest,
  udsOf,
  type DeviceKeys,
  type Proposal,
  type Transcript,
} from "../../format/ceremony.ts";
import { deviceKeyOf, logKeyOf } from "../../gateway/identity.ts";
import { writeAtomic } from "../site/files.ts";
import type { Uid } from "../../gateway/uid.port.ts";
import { devicePaths, openUid, readDeviceFuses, type DeviceFuses } from "./folder.ts";
import { readMark } from "./guard.ts";

/** As boot/rom.ts wants it. */
export interface Unlocked {
  readonly uds: Buffer;
  readonly root: Buffer | null;
  readonly counter: bigint | null;
  readonly info: Readonly<Record<string, string>>;
}

function readPart(path: string, what: string): Buffer {
  if (existsSync(path)) return readFileSync(path);
  throw new InvalidError("device.part", `${what} is gone (${path}); the device cannot start`);
}

/** The key that the parties' entropies lie under. */
function fieldKey(uid: Uint8Array): ReturnType<typeof secretKey> {
  return createSecretKey(Buffer.from(hkdfSync("sha256", uid, "", "weir field entropy/1", 32)));
}

/** The two entropies of 32 bytes out of `field.bin`. Throws InvalidError `device.field`. */
function openField(sealed: Buffer, uid: Uint8Array, proposal: Proposal): { a: Buffer; b: Buffer } {
  try {
    const nonce = sealed.subarray(0, gcmNonceBytes);
    const rest = sealed.subarray(gcmNonceBytes);
    const both = gcmOpen("aes-256-gcm", fieldKey(uid), nonce, proposalDigest(proposal), rest);
    if (both.length === 64) return { a: both.subarray(0, 32), b: both.subarray(32) };
  } catch (error) {
    if (
      !(error instanceof InvalidError) &&
      !(error instanceof Error && error.name === "BugError")
    ) {
      throw error;
    }
  }
  throw new InvalidError(
    "device.field",
    "the parties' entropies do not open under this device's UID",
  );
}

/** The public keys of the device that has this secret, between these parties. */
export function keysOf(uds: Buffer, fuses: DeviceFuses): DeviceKeys {
  const root = secretKey(rootKeyOf(stageCdis(uds, fuses, null)));
  return {
    identity: toHex(publicBytes(diceKey(uds))),
    device: publicKeyHex(deviceKeyOf(root)),
    log: publicKeyHex(logKeyOf(root)),
  };
}

/** The transcript in the folder, checked against the fuses. Throws InvalidError `ceremony.*`, `device.*`. */
export function readCeremony(
  dir: string,
  fuses: DeviceFuses,
): { transcript: Transcript; keys: DeviceKeys } {
  const paths = devicePaths(dir);
  const transcript = parseTranscript(readPart(paths.ceremony, "the ceremony's transcript"));
  const keys = checkTranscript(transcript, { a: fuses.partyA, b: fuses.partyB });
  const { proposal } = transcript;
  if (proposal.gateway !== fuses.device || proposal.kind !== fuses.uid.kind) {
    throw new InvalidError("device.transcript", "the ceremony's transcript is of another device");
  }
  return { transcript, keys };
}

function unlockFile(secret: Buffer, bootState: string): Pick<Unlocked, "uds" | "root"> {
  const uds = diceKdf(32, secret, Buffer.alloc(0), "weir file uds/1");
  // A file is no root of trust, so its record of manifests may as well begin again.
  if (!existsSync(bootState)) writeAtomic(bootState, bootStateText(uds, 1), 0o600);
  return { uds, root: secret };
}

/**
 * The device's secret and what the status says about it. Throws InvalidError `uid.*`, `device.*`, `ceremony.*`:
 * nothing is to be started then; UnavailableError when the hardware does not answer.
 */
export async function unlock(fusesFile: string): Promise<Unlocked> {
  const fuses = readDeviceFuses(fusesFile);
  const dir = dirname(fusesFile);
  const paths = devicePaths(dir);
  const uid = openUid(dir, fuses);
  const info = { uid: uid.kind, simulated: uid.simulated };
  if (uid.kind === "file") {
    const { secret, counter } = await uid.unlock();
    return { ...unlockFile(secret, paths.bootState), counter, info: { ...info, ceremony: "" } };
  }
  await refuseMarked(uid, readMark(paths.marker));
  const { transcript, keys } = readCeremony(dir, fuses);
  const { proposal } = transcript;
  if (toHex(sha256(readPart(paths.helper, "the helper data"))) !== proposal.helper) {
    throw new InvalidError("device.helper", "the helper data are not those of the ceremony");
  }
  const field = readPart(paths.field, "the parties' entropy");
  const { secret, counter } = await uid.unlock();
  const entropy = openField(field, secret, proposal);
  const uds = udsOf(secret, entropy, proposal);
  for (const used of [secret, entropy.a, entropy.b]) used.fill(0);
  if (JSON.stringify(keysOf(uds, fuses)) !== JSON.stringify(pick(keys))) {
    throw new InvalidError("device.identity", "this is not the device that both parties endorsed");
  }
  return {
    uds,
    root: null,
    counter,
    info: { ...info, ceremony: toHex(resultDigest(transcript, keys)) },
  };
}

/** A mark says that destroying was begun: it is done again, for power may have gone before it was done. */
async function refuseMarked(uid: Uid, mark: string): Promise<void> {
  if (mark === "") return;
  await uid.brick(mark);
  const text = `this device is BRICKED (${mark}); only a new ceremony makes a device of it again`;
  throw new InvalidError("uid.bricked", text);
}

function pick({ identity, device, log }: DeviceKeys): DeviceKeys {
  return { identity, device, log };
}

/** The pair of keys that contributions are sealed to; derived, so that nothing has to be kept. */
export function sealSecretOf(uid: Uint8Array, nonce: string): Buffer {
  return deriveKey(secretKey(uid), Buffer.from(nonce, "hex"), "weir ceremony seal/1").export();
}

export { fieldKey };
