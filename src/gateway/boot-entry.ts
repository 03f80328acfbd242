/** The entry that a gateway appends at each start, spec/leaf.md#Marks. */
import type { KeyObject } from "node:crypto";
import type { Clock } from "../base/clock.ts";
import { publicKeyHex } from "../base/sign.ts";
import { encodeBootEntry } from "../format/leaf.ts";
import { deviceKeyOf } from "./identity.ts";
import type { LeafLog } from "./store.port.ts";

/** What booted; zeros where left out. 32 bytes each. */
export interface Booted {
  /** Digest of the boot manifest. */
  readonly measurement?: Buffer;
  /** SHA-256 of the whitelist's file: the envelope as it was signed. */
  readonly whitelist?: Buffer;
}

const noDigest = Buffer.alloc(32);

/** Appends it and makes it durable; only before pairs are admitted. Throws what the log throws. */
export async function logBoot(
  log: LeafLog,
  about: { readonly clock: Clock; readonly epoch: number; readonly rootKey: KeyObject },
  { measurement = noDigest, whitelist = noDigest }: Booted = {},
): Promise<void> {
  const { clock, epoch, rootKey } = about;
  const deviceKey = Buffer.from(publicKeyHex(deviceKeyOf(rootKey)), "hex");
  const head = { atMs: clock.wallMs(), epoch, boot: 0, deviceKey };
  log.append(encodeBootEntry({ ...head, measurement, whitelist }));
  await log.commit();
}
