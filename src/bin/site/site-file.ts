/** `site.json`: what runs in a data directory, for the commands in other terminals. */
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { InvalidError, UnavailableError } from "../../base/assert.ts";
import { readJson } from "./files.ts";
import { lockHolder, type Holder } from "./lock.ts";
import { dataPaths, type DataPaths } from "./paths.ts";
import type { SiteTrust } from "./trust.ts";
import type { RolePhase } from "./supervisor.ts";

export interface SiteRole {
  readonly key: string;
  readonly role: "gateway" | "depot" | "router" | "recomputer" | "publisher" | "witness" | "page";
  readonly name: string;
  readonly phase: RolePhase;
  readonly pid: number | null;
  /** Port for observers and operators at 127.0.0.1; null before it is known, and for the page. */
  readonly port: number | null;
  readonly restarts: number;
}

export interface SiteFile {
  readonly format: 1;
  readonly startedMs: number;
  readonly endpoint: string;
  readonly page: string;
  readonly modelId: string;
  readonly model: string;
  readonly trust: SiteTrust;
  readonly epsilon: number;
  /** Beside what the roles themselves report, in words. */
  readonly simulated: readonly string[];
  readonly roles: readonly SiteRole[];
}

export interface Site {
  readonly paths: DataPaths;
  readonly file: SiteFile;
  /** The supervisor, when it runs. */
  readonly holder: Holder | null;
}

function parseSite(path: string): SiteFile {
  const site = readJson(path) as SiteFile;
  if (site.format !== 1 || !Array.isArray(site.roles)) {
    throw new InvalidError("site.format", `${path} was made by another version of Weir`);
  }
  return site;
}

/** Finds the site of a data folder, running or not. Throws InvalidError when there never was one. */
export function findSite(folder: string): Site {
  const paths = dataPaths(resolve(folder));
  if (!existsSync(paths.site)) {
    throw new InvalidError(
      "site.none",
      `no site was started in ${paths.root}; start one with "weir up", or name its folder with --data`,
    );
  }
  return { paths, file: parseSite(paths.site), holder: lockHolder(paths.lock) };
}

/** As findSite; throws UnavailableError `site.down` when it does not run. */
export function runningSite(folder: string): Site {
  const site = findSite(folder);
  if (site.holder === null) {
    throw new UnavailableError(
      "site.down",
      `the site in ${site.paths.root} is not running`,
      "none",
    );
  }
  return site;
}
