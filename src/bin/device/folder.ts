/**
 * A device's folder: what in silicon is fuses, cells and a little flash of its own. It lies outside the gateway's data.
 *
 *   fuses.json      name, public keys of the parties, kind of UID: written once
 *   cells.json      the simulated PUF's cells       adapter/puf/cells.ts
 *   helper.bin      helper data of the PUF, or the sealed blob of the TPM; public
 *   field.bin       the parties' entropies, encrypted under the UID
 *   ceremony.json   the transcript                  format/ceremony.ts
 *   boot-state      newest boot manifest that ran   boot/rom.ts
 *   tamper/         simulated sensors               adapter/tamper-files.ts
 *   bricked         why, for people; nothing depends on it
 */
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { pufUid } from "../../adapter/puf/uid.ts";
import { systemRandom } from "../../adapter/random.ts";
import { InvalidError } from "../../base/assert.ts";
import { fromHex } from "../../base/bytes.ts";
import { Fields, parseJson } from "../../format/json.ts";
import type { Uid, UidKind } from "../../gateway/uid.port.ts";
import { openTpm, parseTpmSpec, type TpmSpec } from "./tpm.ts";

export interface DevicePaths {
  readonly dir: string;
  readonly fuses: string;
  readonly cells: string;
  readonly helper: string;
  readonly field: string;
  readonly ceremony: string;
  readonly bootState: string;
  readonly tamper: string;
  readonly marker: string;
}

export function devicePaths(dir: string): DevicePaths {
  return {
    dir,
    fuses: join(dir, "fuses.json"),
    cells: join(dir, "cells.json"),
    helper: join(dir, "helper.bin"),
    field: join(dir, "field.bin"),
    ceremony: join(dir, "ceremony.json"),
    bootState: join(dir, "boot-state"),
    tamper: join(dir, "tamper"),
    marker: join(dir, "bricked"),
  };
}

/** How the UID is reached. `file`: path of a root key, 64 hex digits, as sites before the ceremony have. */
export type UidSpec =
  | { readonly kind: "puf" }
  | { readonly kind: "file"; readonly path: string }
  | ({ readonly kind: "tpm" } & TpmSpec);

export interface DeviceFuses {
  readonly device: string;
  readonly partyA: string;
  readonly partyB: string;
  /** The boot manifest; relative to the folder. */
  readonly manifest: string;
  readonly uid: UidSpec;
}

function parseUid(from: Fields): UidSpec {
  const kind = from.text("kind");
  if (kind === "tpm") return { kind, ...parseTpmSpec(from) };
  const uid =
    kind === "puf"
      ? ({ kind } as const)
      : kind === "file"
        ? { kind, path: from.text("path") }
        : null;
  from.end();
  if (uid !== null) return uid as UidSpec;
  throw new InvalidError("device.kind", `uid.kind must be puf, tpm or file, not "${kind}"`);
}

/** Reads `fuses.json`. Throws InvalidError `device.fuses`, `device.kind` or `json.*`. */
export function readDeviceFuses(file: string): DeviceFuses {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch {
    throw new InvalidError("device.fuses", `there is no device in ${dirname(file)}`);
  }
  const fields = new Fields(parseJson(text), "fuses");
  fields.integer("format", 1, 1);
  const fuses = {
    device: fields.text("device"),
    partyA: fields.text("partyA"),
    partyB: fields.text("partyB"),
    manifest: fields.text("manifest"),
    uid: parseUid(fields.object("uid")),
  };
  fields.end();
  fromHex(fuses.partyA, 32);
  fromHex(fuses.partyB, 32);
  return fuses;
}

/** `fuses.json` as text. */
export function fusesText(fuses: DeviceFuses): string {
  return `${JSON.stringify({ format: 1, ...fuses }, null, 2)}\n`;
}

const fileSimulated =
  "device identity: the gateway's root key is a file, not a hardware UID, and no tampering destroys it";

/** The UID of a plain file: no root of trust, for sites that have one. Bricking is what it cannot do. */
function fileUid(path: string): Uid {
  return {
    kind: "file",
    simulated: fileSimulated,
    // eslint-disable-next-line @typescript-eslint/require-await
    async unlock() {
      const text = readFileSync(path, "utf8").trim();
      return { secret: Buffer.from(fromHex(text, 32)), counter: null };
    },
    // eslint-disable-next-line @typescript-eslint/require-await
    async brick() {
      throw new InvalidError(
        "uid.file",
        "a root key in a file cannot be bricked: power is all that is cut",
      );
    },
  };
}

/** The UID port of the device in `dir`. Opens nothing yet. */
export function openUid(dir: string, fuses: DeviceFuses): Uid {
  const { cells, helper } = devicePaths(dir);
  const { device, uid } = fuses;
  if (uid.kind === "file") return fileUid(uid.path);
  if (uid.kind === "tpm") return openTpm({ ...uid, device, blob: helper });
  return pufUid({ device, cells, helper, random: systemRandom });
}

/** What a UID of this kind is called in a status. */
export function uidWords(kind: UidKind): string {
  if (kind === "file") return "a root key in a file";
  return kind === "puf" ? "a simulated PUF" : "a TPM 2.0";
}
