/**
 * The devices of a site: one per gateway, made by a ceremony with keys of both parties that lie on this machine (so the
 * ceremony is simulated, and the status says so), and the boot manifest that those keys sign. A site that has root
 * keys in files, made by an earlier version, keeps them.
 */
import type { KeyObject } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { InvalidError } from "../../base/assert.ts";
import { fromHex } from "../../base/bytes.ts";
import { secretKey } from "../../base/hash.ts";
import { publicKeyHex } from "../../base/sign.ts";
import { openManifest, type Manifest } from "../../boot/manifest.ts";
import { parseTranscript } from "../../format/ceremony.ts";
import { deviceKeyOf, logKeyOf } from "../../gateway/identity.ts";
import { wholeCeremony } from "../device/ceremony.ts";
import {
  devicePaths,
  fusesText,
  readDeviceFuses,
  uidWords,
  type DeviceFuses,
} from "../device/folder.ts";
import { measureTree, sameTree, sealManifest } from "../device/manifest.ts";
import { readCeremony } from "../device/unlock.ts";
import { privateFolder, readIfThere, writeAtomic } from "./files.ts";
import { readSigningKey, ringKeyFile, writePublicKeys } from "./keys.ts";
import type { DataPaths } from "./paths.ts";

/** Folder of a gateway's device. */
export function deviceFolder(paths: DataPaths, gateway: string): string {
  return join(paths.devices, gateway);
}

/** The keys that sign boot manifests and ceremonies for the parties; they are not those of the whitelist. */
function bootKeys(paths: DataPaths): Readonly<Record<"a" | "b", KeyObject>> {
  return { a: readSigningKey(paths.keys, "boot-a"), b: readSigningKey(paths.keys, "boot-b") };
}

function readManifest(path: string, a: string, b: string): Manifest | null {
  const text = readIfThere(path);
  if (text === null) return null;
  return openManifest(Buffer.from(text), a, b).manifest;
}

/** Signs a manifest of the tree as it lies here, unless the last one says the same. */
function ensureManifest(paths: DataPaths, tell: (text: string) => void): Manifest {
  const keys = bootKeys(paths);
  const old = readManifest(paths.bootManifest, publicKeyHex(keys.a), publicKeyHex(keys.b));
  const now = measureTree({ version: (old?.version ?? 0) + 1 });
  if (old !== null && sameTree(old, now)) return old;
  writeAtomic(paths.bootManifest, sealManifest(now, [keys.a, keys.b]));
  if (old !== null) {
    tell(
      `boot manifest version ${now.version}: the code has changed; signed by both, simulated here`,
    );
  }
  return now;
}

function fileFuses(paths: DataPaths, fuses: Omit<DeviceFuses, "uid">): DeviceFuses {
  return { ...fuses, uid: { kind: "file", path: ringKeyFile(paths.keys, fuses.device) } };
}

/** A root key in a file stays what it is; `device` and `log` derive from it. */
function placeFileDevice(paths: DataPaths, fuses: DeviceFuses): { device: string; log: string } {
  const dir = deviceFolder(paths, fuses.device);
  privateFolder(dir);
  writeAtomic(devicePaths(dir).fuses, fusesText(fuses), 0o600);
  const text = readFileSync(ringKeyFile(paths.keys, fuses.device), "utf8").trim();
  const root = secretKey(fromHex(text, 32));
  return { device: publicKeyHex(deviceKeyOf(root)), log: publicKeyHex(logKeyOf(root)) };
}

/** Whether the ceremony of this folder came to its end; one that was cut off is begun again. */
function isMade(dir: string): boolean {
  const { ceremony } = devicePaths(dir);
  const text = readIfThere(ceremony);
  if (text === null) return false;
  const { endorsements } = parseTranscript(Buffer.from(text));
  return endorsements.a !== undefined && endorsements.b !== undefined;
}

async function ensureDevice(
  paths: DataPaths,
  name: string,
  tell: (text: string) => void,
): Promise<{ device: string; log: string }> {
  const keys = bootKeys(paths);
  const dir = deviceFolder(paths, name);
  const fuses = {
    ...{ device: name, partyA: publicKeyHex(keys.a), partyB: publicKeyHex(keys.b) },
    manifest: "../../boot-manifest.json",
  };
  if (existsSync(ringKeyFile(paths.keys, name)))
    return placeFileDevice(paths, fileFuses(paths, fuses));
  if (!isMade(dir)) {
    if (existsSync(join(paths.gateways, name, "state"))) {
      const text = `gateway ${name} has data but its device is gone (${dir}): put it back, or move ${join(paths.gateways, name)} away and begin with a new device`;
      throw new InvalidError("device.gone", text);
    }
    await wholeCeremony({ dir, fuses: { ...fuses, uid: { kind: "puf" } }, replace: true }, keys);
    tell(
      `device ${name}: ${uidWords("puf")}, made in a ceremony with both parties' keys, all simulated here`,
    );
  }
  return readCeremony(dir, readDeviceFuses(devicePaths(dir).fuses)).keys;
}

/**
 * Makes what is missing of the devices and the boot manifest, and writes the devices' public keys where other roles
 * find them. Returns the digest of the first stage that the manifest names. Throws InvalidError `device.*`,
 * `ceremony.*`; BootRefused when a manifest is there that these keys did not sign.
 */
export async function ensureDevices(
  paths: DataPaths,
  names: readonly string[],
  tell: (text: string) => void,
): Promise<string> {
  privateFolder(paths.devices);
  const { rom } = ensureManifest(paths, tell);
  for (const name of names) {
    writePublicKeys(paths.keys, name, await ensureDevice(paths, name, tell));
  }
  return rom;
}
