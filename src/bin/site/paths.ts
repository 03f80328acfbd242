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
  /** The calibration profile that the whitelist names: what the recomputer reads. */
  readonly profile: string;
  readonly config: string;
  readonly gateways: string;
  readonly recomputer: string;
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
    profile: join(root, "profile.json"),
    config: join(root, "config"),
    gateways: join(root, "gateways"),
    recomputer: join(root, "recomputer"),
    logs: join(root, "logs"),
  };
}
