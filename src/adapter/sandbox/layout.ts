/**
 * What a sandboxed server can see: the read-only root, built of only what a Node program needs.
 * Both back ends (bubblewrap.ts, unshare.ts) build exactly this.
 */
import { existsSync, lstatSync, readlinkSync } from "node:fs";
import { isAbsolute, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { InvalidError } from "../../base/assert.ts";

/** Where things are inside. Fixed, so that no path of the host is told to the server. */
export const inside = {
  node: "/bin/node",
  package: "/weir",
  weights: "/weights",
  scratch: "/tmp",
} as const;

/** The whole environment of a sandboxed program; nothing is inherited. */
export const insideEnvironment: Readonly<Record<string, string>> = {
  HOME: inside.scratch,
  TMPDIR: inside.scratch,
  LANG: "C.UTF-8",
};

export interface Bind {
  readonly from: string;
  readonly to: string;
}

export interface Layout {
  /** Host files and directories shown read-only. */
  readonly binds: readonly Bind[];
  readonly symlinks: readonly { readonly path: string; readonly target: string }[];
  /** Device nodes of the host that are shown; none of them keeps what is written to it. */
  readonly devices: readonly string[];
}

/** The root of this package: the directory that holds src/, node_modules/ and package.json. */
export const packageRoot = fileURLToPath(new URL("../../../", import.meta.url)).replace(/\/$/, "");

const libraries = ["/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64"];
const packageParts = ["src", "node_modules", "package.json"];
const devices = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];

/**
 * The root for a program of this package. `extra` adds read-only files or directories, for
 * programs that live elsewhere. Paths that do not exist on this host are left out, except those
 * of `extra` and `nodePath`, which throw InvalidError `sandbox.missing`.
 */
export function layoutOf(nodePath: string, extra: readonly Bind[] = []): Layout {
  const binds: Bind[] = [];
  const symlinks: { path: string; target: string }[] = [];
  for (const path of libraries) {
    if (!existsSync(path)) continue;
    if (lstatSync(path).isSymbolicLink()) symlinks.push({ path, target: readlinkSync(path) });
    else binds.push({ from: path, to: path });
  }
  if (existsSync("/etc/ld.so.cache")) {
    binds.push({ from: "/etc/ld.so.cache", to: "/etc/ld.so.cache" });
  }
  binds.push({ from: nodePath, to: inside.node });
  for (const part of packageParts) {
    const from = `${packageRoot}/${part}`;
    if (existsSync(from)) binds.push({ from, to: `${inside.package}/${part}` });
  }
  for (const { from } of [...extra, { from: nodePath }]) {
    if (!isAbsolute(from) || !existsSync(from)) {
      throw new InvalidError("sandbox.missing", `no such file to show the server: ${from}`);
    }
  }
  return { binds: [...binds, ...extra], symlinks, devices: devices.filter((d) => existsSync(d)) };
}

/** Where a file of this package is seen inside. Throws InvalidError `sandbox.outside` for others. */
export function insidePath(hostPath: string): string {
  const part = relative(packageRoot, hostPath);
  const top = part.split("/")[0] ?? "";
  if (part.startsWith("..") || isAbsolute(part) || !packageParts.includes(top)) {
    throw new InvalidError("sandbox.outside", `${hostPath} is not shown to the server`);
  }
  return `${inside.package}/${part}`;
}

const toolDirectories = ["/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin"];

/** The path of a system tool, or null. PATH is not asked: whoever sets it would choose our jail. */
export function findTool(name: string): string | null {
  for (const directory of toolDirectories) {
    if (existsSync(`${directory}/${name}`)) return `${directory}/${name}`;
  }
  return null;
}
