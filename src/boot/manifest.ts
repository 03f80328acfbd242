/**
 * The boot manifest, spec/boot.md: what a gateway's process is made of, signed by both parties as a DSSE envelope.
 * Its payload is lines of text, so that the first stage parses it in ten lines:
 *
 *   weir boot manifest/1
 *   version 7
 *   rom 9f..          digest of the first stage itself, for whoever checks it from outside
 *   node 0a..         SHA-256 of the node binary
 *   entry src/bin/gateway-stage.ts
 *   unlock src/bin/device/unlock.ts
 *   file 5c.. package-lock.json
 *   file 11.. src/...
 *
 * Part of the first stage: imports nothing but node:crypto.
 */
import { createHash, verify } from "node:crypto";
import { publicKeyOf } from "./dice.ts";

export const manifestType = "application/vnd.weir.boot-manifest; v=1";

export interface Manifest {
  readonly version: number;
  readonly rom: string;
  readonly node: string;
  readonly entry: string;
  readonly unlock: string;
  readonly files: readonly { readonly digest: string; readonly path: string }[];
}

/** The stage refuses to go on. `code` is dotted: `boot.signature`. */
export class BootRefused extends Error {
  override readonly name = "BootRefused";
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

/** SHA-256 as hex. */
export function digestOf(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** The payload of a manifest. */
export function manifestText(manifest: Manifest): string {
  const { version, rom, node, entry, unlock, files } = manifest;
  const head = ["weir boot manifest/1", `version ${version}`, `rom ${rom}`, `node ${node}`];
  const body = files.map(({ digest, path }) => `file ${digest} ${path}`);
  return `${[...head, `entry ${entry}`, `unlock ${unlock}`, ...body].join("\n")}\n`;
}

const shape =
  /^weir boot manifest\/1\nversion ([1-9]\d{0,8})\nrom ([0-9a-f]{64})\nnode ([0-9a-f]{64})\nentry ([\w./-]+)\nunlock ([\w./-]+)\n((?:file [0-9a-f]{64} [\w./-]+\n)+)$/;

/** Parses a payload. Throws BootRefused `boot.manifest` on anything that `manifestText` would not write. */
export function parseManifest(text: string): Manifest {
  const match = shape.exec(text);
  if (match === null) throw new BootRefused("boot.manifest", "the boot manifest is malformed");
  const [, version = "", rom = "", node = "", entry = "", unlock = "", lines = ""] = match;
  const files = lines
    .trimEnd()
    .split("\n")
    .map((line) => ({ digest: line.slice(5, 69), path: line.slice(70) }));
  const paths = new Set(files.map(({ path }) => path));
  const strays = [...paths].filter(
    (path) => path.startsWith("/") || path.split("/").includes(".."),
  );
  if (paths.size !== files.length || strays.length > 0) {
    throw new BootRefused(
      "boot.manifest",
      "the boot manifest names a file twice or outside the tree",
    );
  }
  if (!paths.has(entry) || !paths.has(unlock)) {
    throw new BootRefused("boot.manifest", "the boot manifest does not measure what it starts");
  }
  return { version: Number(version), rom, node, entry, unlock, files };
}

/** DSSE's pre-authentication encoding. */
function preAuth(type: string, payload: Buffer): Buffer {
  return Buffer.concat([
    Buffer.from(`DSSEv1 ${Buffer.byteLength(type)} ${type} ${payload.length} `),
    payload,
  ]);
}

interface Envelope {
  readonly payloadType?: unknown;
  readonly payload?: unknown;
  readonly signatures?: unknown;
}

function signaturesOf(envelope: Envelope): Buffer[] {
  const list: unknown[] = Array.isArray(envelope.signatures) ? envelope.signatures : [];
  return list.slice(0, 16).map((entry) => {
    const { sig } = (entry ?? {}) as { readonly sig?: unknown };
    return Buffer.from(typeof sig === "string" ? sig : "", "base64");
  });
}

/**
 * Opens a sealed manifest: both parties (Ed25519 public keys, 64 hex digits each) must have signed these very bytes.
 * Throws BootRefused `boot.manifest` or `boot.signature`.
 */
export function openManifest(
  envelope: Uint8Array,
  partyA: string,
  partyB: string,
): { readonly manifest: Manifest; readonly payload: Buffer } {
  let parsed: Envelope;
  try {
    parsed = (JSON.parse(Buffer.from(envelope).toString("utf8")) ?? {}) as Envelope;
  } catch {
    throw new BootRefused("boot.manifest", "the boot manifest is not JSON");
  }
  if (parsed.payloadType !== manifestType || typeof parsed.payload !== "string") {
    throw new BootRefused("boot.manifest", "this is no sealed boot manifest");
  }
  if (partyA === partyB) throw new BootRefused("boot.signature", "both parties have the same key");
  const payload = Buffer.from(parsed.payload, "base64");
  const message = preAuth(manifestType, payload);
  const signatures = signaturesOf(parsed).filter((signature) => signature.length === 64);
  for (const [party, key] of [
    ["A", partyA],
    ["B", partyB],
  ] as const) {
    const publicKey = publicKeyOf(Buffer.from(key, "hex"));
    if (!signatures.some((signature) => verify(null, message, publicKey, signature))) {
      throw new BootRefused("boot.signature", `party ${party} has not signed this boot manifest`);
    }
  }
  return { manifest: parseManifest(payload.toString("latin1")), payload };
}

/** Digest of several files as one: over "<path>\0<SHA-256>\n" of each, in this order. */
export function digestOfFiles(
  files: readonly { readonly path: string; readonly bytes: Uint8Array }[],
): string {
  const lines = files.map(({ path, bytes }) => `${path}\0${digestOf(bytes)}\n`);
  return digestOf(Buffer.from(lines.join("")));
}

/** The files of the first stage, from the package root. */
export const romFiles = [
  "src/boot/dice.ts",
  "src/boot/manifest.ts",
  "src/boot/rom.ts",
  "src/boot/stage.ts",
] as const;
