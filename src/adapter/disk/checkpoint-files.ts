/**
 * A gateway's two checkpoints, each a signed note in a file of its own, beside its log. Presence is all that the disk is
 * trusted with: what is read must carry the gateway's own signature.
 */
import { join } from "node:path";
import type { CheckpointFiles } from "../../gateway/checkpoints.port.ts";
import { replaceFile, systemDisk, type Disk } from "./file.ts";
import { Serial } from "./serial.ts";

/** Opens `checkpoint` and `cosigned` in a folder that exists. Throws UnavailableError `disk.*`. */
export async function openCheckpointFiles(
  dir: string,
  disk: Disk = systemDisk,
): Promise<CheckpointFiles> {
  const paths = { signed: join(dir, "checkpoint"), cosigned: join(dir, "cosigned") };
  const read = async (path: string): Promise<Buffer | null> =>
    (await disk.exists(path)) ? disk.read(path) : null;
  const writes = new Serial();
  return {
    signed: await read(paths.signed),
    cosigned: await read(paths.cosigned),
    keepSigned: (note) => writes.run(() => replaceFile(disk, paths.signed, [note])),
    keepCosigned: (note) => writes.run(() => replaceFile(disk, paths.cosigned, [note])),
  };
}
