/** `weir tcb --manifest`: the boot manifest of a gateway, measured by each party on its own copy of the tree. */
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { InvalidError } from "../../base/assert.ts";
import { sha256Hex } from "../../base/hash.ts";
import { manifestText, manifestType, parseManifest } from "../../boot/manifest.ts";
import { encodeEnvelope, parseEnvelope, sealEnvelope, type Envelope } from "../../format/dsse.ts";
import { measureTree } from "../device/manifest.ts";
import type { Arguments } from "../site/arguments.ts";
import { writeAtomic } from "../site/files.ts";
import { print } from "./common.ts";
import { need, readKey, readNamed } from "./trust-files.ts";

/** The manifest in a file, if it is the one of the tree that lies here. Throws InvalidError `boot.tree`. */
function ownManifest(path: string): Envelope {
  const envelope = readNamed(path, "boot manifest", parseEnvelope);
  const text = envelope.payload.toString("latin1");
  const { version, entry } = parseManifest(text);
  const own = manifestText(measureTree({ version, entry }));
  if (envelope.payloadType === manifestType && own === text) return envelope;
  const lines = new Set(own.split("\n"));
  const other = text.split("\n").find((line) => !lines.has(line)) ?? "";
  throw new InvalidError("boot.tree", `${path} is not of the tree that lies here; first: ${other}`);
}

/** Writes a new manifest of this tree, or adds a signature to one after measuring this tree against it. */
export function signBootManifest(args: Arguments): void {
  const path = resolve(need(args, "manifest"));
  const key = readKey(need(args, "key"));
  let envelope: Envelope;
  if (existsSync(path)) {
    const before = ownManifest(path);
    const [signature] = sealEnvelope(manifestType, before.payload, [key]).signatures;
    const others = before.signatures.filter(({ keyid }) => keyid !== signature?.keyid);
    envelope = {
      ...before,
      signatures: [...others, ...(signature === undefined ? [] : [signature])],
    };
  } else {
    const version = args.number("version", 1, 999_999_999) ?? 1;
    const text = manifestText(measureTree({ version }));
    envelope = sealEnvelope(manifestType, Buffer.from(text, "latin1"), [key]);
  }
  writeAtomic(path, `${encodeEnvelope(envelope)}\n`);
  print(
    `${path}: ${envelope.signatures.length} signatures, measurement ${sha256Hex(envelope.payload)}\n`,
  );
}
