/** Where a gateway's root key comes from, and what watches over it. */
import { readFileSync } from "node:fs";
import { sign } from "node:crypto";
import { join } from "node:path";
import { systemClock } from "../../adapter/clock.ts";
import { fileSensors } from "../../adapter/tamper-files.ts";
import { InvalidError } from "../../base/assert.ts";
import { fromHex } from "../../base/bytes.ts";
import { secretKey } from "../../base/hash.ts";
import { publicKeyHex } from "../../base/sign.ts";
import type { Logger } from "../../base/report.ts";
import { attestationMessage } from "../../format/boot-certificate.ts";
import type { BootStatus } from "../../format/status.ts";
import { deviceKeyOf, logKeyOf } from "../../gateway/identity.ts";
import type { Options } from "../options.ts";
import { devicePaths, openUid, readDeviceFuses } from "./folder.ts";
import { Guard, type GuardOptions } from "./guard.ts";
import type { Handover } from "./handover.ts";

export interface GatewayRoot {
  readonly rootKey: Handover["rootKey"];
  /** Digest of the boot manifest that was measured; null: nothing measured this process. */
  readonly measurement: Buffer | null;
  readonly simulated: readonly string[];
  /** For the status; `state` is the guard's. Undefined where nothing booted this process. */
  readonly status: (guard: Guard | null) => BootStatus | undefined;
  /** The guard over the tamper inputs; null for a root key in a file, which nothing can destroy for good. */
  readonly guard: (
    parts: Pick<GuardOptions, "cutPower" | "end"> & { readonly logger: Logger },
  ) => Guard | null;
}

const unmeasured = "boot: nothing measured this process; it was started without its first stage";
const romIsFile = "boot: the first stage is a file that its starter checks, not a ROM";

function fromFile(path: string): GatewayRoot {
  return {
    rootKey: secretKey(fromHex(readFileSync(path, "utf8").trim(), 32)),
    measurement: null,
    simulated: [
      "device identity: the gateway's root key is a file, not a hardware UID",
      unmeasured,
    ],
    status: () => undefined,
    guard: () => null,
  };
}

function fromDevice(dir: string, name: string, handover: Handover): GatewayRoot {
  const { info, rootKey, attestKey } = handover;
  if (info.device !== name) {
    const text = `the first stage started the device "${info.device}", and this gateway is "${name}"`;
    throw new InvalidError("gateway.device", text);
  }
  const paths = devicePaths(dir);
  const uid = openUid(dir, readDeviceFuses(paths.fuses));
  const inputs = fileSensors(paths.tamper, systemClock);
  const keys = { device: publicKeyHex(deviceKeyOf(rootKey)), log: publicKeyHex(logKeyOf(rootKey)) };
  const message = attestationMessage({ gateway: name, measurement: info.measurement, ...keys });
  const attestation = sign(null, message, attestKey).toString("hex");
  return {
    rootKey,
    measurement: Buffer.from(info.measurement, "hex"),
    simulated: [info.simulated, romIsFile, inputs.simulated].filter((text) => text !== ""),
    status: (guard) => ({
      state: guard?.state.phase ?? "RUNNING",
      why: guard?.state.why ?? "",
      ...{ uid: info.uid, counter: info.counter, ceremony: info.ceremony },
      ...{ measurement: info.measurement, manifestVersion: info.manifestVersion },
      ...{ identity: info.identity, subject: info.subject, certificate: info.certificate },
      ...keys,
      attestation,
    }),
    guard: (parts) =>
      new Guard({ ...parts, uid, inputs, marker: paths.marker, clock: systemClock }),
  };
}

/**
 * The root of a gateway from its options and what the first stage handed over. Throws InvalidError `gateway.root` when
 * a gateway with a device was started without its first stage, or has neither device nor root key.
 */
export function openRoot(options: Options, handover: Handover | null): GatewayRoot {
  if (options.has("device")) {
    const dir = options.text("device");
    if (handover !== null) return fromDevice(dir, options.text("name"), handover);
    const rom = `node src/boot/rom.ts --fuses ${join(dir, "fuses.json")} -- OPTIONS`;
    throw new InvalidError(
      "gateway.root",
      `a gateway with a device starts through its first stage: ${rom}`,
    );
  }
  if (options.has("ringKey")) return fromFile(options.text("ringKey"));
  throw new InvalidError("gateway.root", 'name --device (made by "weir ceremony") or --ring-key');
}
