/** Where things lie in a data directory. */
import { join } from "node:path";

export interface DataPaths {
  readonly root: string;
  /** Says that this is a data directory, and whether its set-up was finished. */
  readonly marker: string;
  readonly lock: string;
  /** What runs now, for the other commands. */
  readonly site: string;
  readonly keys: string;
  readonly whitelist: string;
  /** The trust root under which it counts, all versions, and the digest of the first. */
  readonly trustRoot: string;
  readonly anchor: string;
  /** The calibration profile that the whitelist names: what the recomputer reads. */
  readonly profile: string;
  readonly config: string;
  readonly gateways: string;
  /** One folder per device (bin/device/folder.ts), and what its first stage may start. */
  readonly devices: string;
  readonly bootManifest: string;
  readonly recomputer: string;
  /** What the publisher and the two witnesses keep, a folder each. */
  readonly log: string;
  readonly logs: string;
}

export function dataPaths(root: string): DataPaths {
  return {
    root,
    marker: join(root, "weir-data.json"),
    lock: join(root, "lock"),
    site: join(root, "site.json"),
    keys: join(root, "keys"),
    whitelist: join(root, "whitelist.json"),
    trustRoot: join(root, "root.jsonl"),
    anchor: join(root, "root.anchor"),
    profile: join(root, "profile.json"),
    config: join(root, "config"),
    gateways: join(root, "gateways"),
    devices: join(root, "devices"),
    bootManifest: join(root, "boot-manifest.json"),
    recomputer: join(root, "recomputer"),
    log: join(root, "log"),
    logs: join(root, "logs"),
  };
}
