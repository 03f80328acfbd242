/** Makes boot manifests: measures the tree as it lies here, for both parties to sign (boot/manifest.ts). */
import { createHash, type KeyObject } from "node:crypto";
import { closeSync, openSync, readFileSync, readSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  digestOf,
  digestOfFiles,
  manifestText,
  manifestType,
  romFiles,
  type Manifest,
} from "../../boot/manifest.ts";
import { encodeEnvelope, sealEnvelope } from "../../format/dsse.ts";
import { closureOf } from "../tcb.ts";

const root = fileURLToPath(new URL("../../../", import.meta.url));

/** What the first stage starts, and what it unlocks with. */
export const gatewayEntry = "src/bin/gateway-stage.ts";
export const unlockEntry = "src/bin/device/unlock.ts";

/** Measured besides the closures: how Node reads the tree, and which packages belong to it. */
const beside = ["package.json", "package-lock.json"] as const;

function digestOfLarge(path: string): string {
  const hash = createHash("sha256");
  const file = openSync(path, "r");
  const piece = Buffer.alloc(1 << 20);
  try {
    for (let read = readSync(file, piece); read > 0; read = readSync(file, piece)) {
      hash.update(piece.subarray(0, read));
    }
  } finally {
    closeSync(file);
  }
  return hash.digest("hex");
}

export interface MeasureOptions {
  readonly version: number;
  /** From the package root; default: the gateway. */
  readonly entry?: string;
}

/** The digest of the first stage as it lies here; whoever starts it holds this against the manifest's. */
export function romDigest(): string {
  return digestOfFiles(romFiles.map((path) => ({ path, bytes: readFileSync(join(root, path)) })));
}

/** The manifest of this tree and this node binary. */
export function measureTree({ version, entry = gatewayEntry }: MeasureOptions): Manifest {
  const paths = new Set<string>([...romFiles, ...beside]);
  for (const start of [entry, unlockEntry]) {
    for (const path of closureOf("stage", start).files) paths.add(path);
  }
  const files = [...paths]
    .sort()
    .map((path) => ({ digest: digestOf(readFileSync(join(root, path))), path }));
  const node = digestOfLarge(process.execPath);
  return { version, rom: romDigest(), node, entry, unlock: unlockEntry, files };
}

/** Signs a manifest with these keys. */
export function sealManifest(manifest: Manifest, keys: readonly KeyObject[]): string {
  const payload = Buffer.from(manifestText(manifest), "latin1");
  return `${encodeEnvelope(sealEnvelope(manifestType, payload, keys))}\n`;
}

/** Whether two manifests start the same, whatever their versions. */
export function sameTree(one: Manifest, other: Manifest): boolean {
  return manifestText({ ...one, version: 1 }) === manifestText({ ...other, version: 1 });
}
