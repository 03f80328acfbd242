/** A TPM as a device's UID, from the `uid` object of its fuses. */
import { createPrivateKey, createPublicKey, sign, type KeyObject } from "node:crypto";
import { readFileSync } from "node:fs";
import { systemRandom } from "../../adapter/random.ts";
import { connectTpm, openTpmDevice, type TpmStream } from "../../adapter/tpm/stream.ts";
import { sealUid, tpmUid } from "../../adapter/tpm/uid.ts";
import { InvalidError, UnavailableError } from "../../base/assert.ts";
import type { Fields } from "../../format/json.ts";
import type { ApproveBoot, Uid } from "../../gateway/uid.port.ts";
import { parseAddress } from "../options.ts";

export interface TpmSpec {
  /** `/dev/tpmrm0`, or `tcp:HOST:PORT` of a TPM in software. */
  readonly tpm: string;
  readonly nvIndex: number;
  /** PEM files of the parties' boot keys (ECDSA, P-256): private where this machine approves boots itself. */
  readonly bootKeyA: string;
  readonly bootKeyB: string;
}

/** The fields of a `uid` of kind `tpm`; ends the object. Throws InvalidError `json.*`. */
export function parseTpmSpec(from: Fields): TpmSpec {
  const spec = {
    tpm: from.text("tpm"),
    nvIndex: from.integer("nvIndex", 0x01000000, 0x01ffffff),
    bootKeyA: from.text("bootKeyA"),
    bootKeyB: from.text("bootKeyB"),
  };
  from.end();
  return spec;
}

function opener(where: string): () => Promise<TpmStream> {
  if (!where.startsWith("tcp:")) return () => openTpmDevice(where);
  const { host, port } = parseAddress(where.slice(4), "uid.tpm");
  return () => connectTpm(host, port);
}

function readPem(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    throw new InvalidError("uid.boot-key", `there is no boot key ${path}`);
  }
}

function publicOf(path: string): KeyObject {
  return createPublicKey(readPem(path));
}

/** Approval by keys that lie here: what `weir up` has, and says. */
function approveLocally(files: Readonly<Record<"a" | "b", string>>): ApproveBoot {
  // eslint-disable-next-line @typescript-eslint/require-await
  return async ({ party, message }) => {
    const pem = readPem(files[party]);
    if (!pem.includes("PRIVATE KEY")) {
      const text = `party ${party.toUpperCase()} has to approve this boot: its key is not on this machine`;
      throw new UnavailableError("uid.approval", text, "none");
    }
    return sign("sha256", message, { key: createPrivateKey(pem), dsaEncoding: "ieee-p1363" });
  };
}

const simulatedTcp =
  "device identity: a TPM in software; its state folder, put back, undoes a brick";
const simulatedKeys = "approval of each boot by both parties: their boot keys lie on this machine";

/** The UID port. `blob` is the file of the sealed blob. */
export function openTpm(spec: TpmSpec & { readonly device: string; readonly blob: string }): Uid {
  const files = { a: spec.bootKeyA, b: spec.bootKeyB };
  const words = spec.tpm.startsWith("tcp:") ? [simulatedTcp, simulatedKeys] : [simulatedKeys];
  return tpmUid({
    ...{ device: spec.device, nvIndex: spec.nvIndex, blob: spec.blob },
    open: opener(spec.tpm),
    keys: { a: publicOf(files.a), b: publicOf(files.b) },
    approve: approveLocally(files),
    simulated: words.join("; "),
  });
}

/** Makes a new secret in the TPM for this device. Returns the sealed blob. */
export function sealTpm(spec: TpmSpec & { readonly device: string }): Promise<Buffer> {
  return sealUid(
    {
      ...{ device: spec.device, nvIndex: spec.nvIndex },
      open: opener(spec.tpm),
      keys: { a: publicOf(spec.bootKeyA), b: publicOf(spec.bootKeyB) },
    },
    systemRandom,
  );
}
