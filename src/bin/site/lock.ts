/**
 * One `weir up` per data directory. The lock names its holder by process id, start time and boot of
 * the machine, so that a lock left by a crash is known as stale even when the id is in use again.
 */
import { spawnSync } from "node:child_process";
import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { UnavailableError } from "../../base/assert.ts";
import { readIfThere } from "./files.ts";

export interface Holder {
  readonly pid: number;
  /** Opaque: equal for the same process only. */
  readonly started: string;
}

/** Identity of a running process, or null when there is none. Zombies count as gone. */
export function processIdentity(pid: number): Holder | null {
  const stat = readProc(`/proc/${pid}/stat`);
  if (stat !== null) {
    // The name, field 2, may hold spaces and brackets: count from behind it (proc_pid_stat(5)).
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    if (fields[0] === "Z" || fields[0] === "X") return null;
    const boot = readProc("/proc/sys/kernel/random/boot_id") ?? "";
    return { pid, started: `${boot.trim()}/${fields[19] ?? ""}` };
  }
  if (process.platform === "linux") return null;
  const ps = spawnSync("ps", ["-o", "lstart=", "-p", String(pid)], { encoding: "utf8" });
  const started = ps.status === 0 ? ps.stdout.trim() : "";
  return started === "" ? null : { pid, started };
}

function readProc(path: string): string | null {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return null;
  }
}

function parseHolder(text: string | null): Holder | null {
  if (text === null) return null;
  try {
    const { pid, started } = JSON.parse(text) as Record<string, unknown>;
    if (!Number.isSafeInteger(pid) || typeof started !== "string") return null;
    return { pid: pid as number, started };
  } catch {
    return null;
  }
}

function running(text: string | null): Holder | null {
  const holder = parseHolder(text);
  if (holder === null) return null;
  return processIdentity(holder.pid)?.started === holder.started ? holder : null;
}

/** The running holder of a lock; null when it is free or stale. */
export function lockHolder(path: string): Holder | null {
  return running(readIfThere(path));
}

/** Puts a complete file in place only if there is none. */
function linkNew(draft: string, path: string): boolean {
  try {
    linkSync(draft, path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}

/** Moves a stale lock away; puts it back if someone renewed it meanwhile. */
function breakStale(path: string, text: string | null): void {
  const aside = `${path}.stale.${process.pid}`;
  try {
    renameSync(path, aside);
  } catch {
    return;
  }
  if (readIfThere(aside) !== text) linkNew(aside, path);
  rmSync(aside, { force: true });
}

/**
 * Takes the lock for this process. Returns its release. Throws UnavailableError `site.locked` that
 * names the holder.
 */
export function takeLock(path: string, folder: string): () => void {
  const self = processIdentity(process.pid);
  const mine = JSON.stringify(self);
  const draft = `${path}.${process.pid}`;
  writeFileSync(draft, mine, { mode: 0o600 });
  try {
    for (let attempt = 0; attempt < 5; attempt++) {
      if (linkNew(draft, path)) {
        return () => {
          if (readIfThere(path) === mine) rmSync(path, { force: true });
        };
      }
      const text = readIfThere(path);
      const holder = running(text);
      if (holder !== null) {
        throw new UnavailableError(
          "site.locked",
          `a site already runs on ${folder} (process ${holder.pid}); see "weir status" or "weir stop"`,
          "none",
        );
      }
      breakStale(path, text);
    }
  } finally {
    rmSync(draft, { force: true });
  }
  throw new UnavailableError("site.locked", `cannot take the lock ${path}`, "none");
}
