/** Knowing for certain whether a process still runs, from /proc. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { UnavailableError } from "../../base/assert.ts";

/** A process that stays the same one even if its number is given out again. */
export interface ProcessMark {
  readonly pid: number;
  /** Field 22 of /proc/PID/stat: when it started. */
  readonly started: string;
}

interface Found {
  readonly state: string;
  readonly group: string;
  readonly started: string;
}

function stateOf(pid: number | string): Found | null {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The name, in parentheses, may hold anything; what follows its end does not.
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
    return { state: fields[0] ?? "", group: fields[2] ?? "", started: fields[19] ?? "" };
  } catch {
    return null;
  }
}

/** Marks a running process; null when there is none of that number. */
export function markProcess(pid: number): ProcessMark | null {
  const found = stateOf(pid);
  return found === null ? null : { pid, started: found.started };
}

/**
 * Whether it has ended. A zombie has: the kernel ends every process of a pid namespace before its
 * process 1 becomes one.
 */
export function hasEnded(mark: ProcessMark): boolean {
  const found = stateOf(mark.pid);
  return found?.started !== mark.started || dead(found);
}

function dead(found: Found): boolean {
  return found.state === "Z" || found.state === "X";
}

/** Whether a process group has no live member. Zombies that nobody reaps do not count. */
export function groupEnded(group: number): boolean {
  try {
    process.kill(-group, 0);
  } catch {
    return true;
  }
  if (process.platform !== "linux") return false;
  return !readdirSync("/proc").some((name) => {
    const found = /^\d+$/.test(name) ? stateOf(name) : null;
    return found?.group === String(group) && !dead(found);
  });
}

/**
 * Open descriptors that every program started from here would inherit: whoever started us left
 * them open. Node itself closes its own, and those below 16, on exec.
 */
export function strayDescriptors(): number[] {
  if (process.platform !== "linux") return [];
  return readdirSync("/proc/self/fd")
    .map(Number)
    .filter((fd) => fd > 2 && isInherited(fd));
}

function isInherited(fd: number): boolean {
  try {
    readlinkSync(`/proc/self/fd/${fd}`);
    const flags = /^flags:\s*([0-7]+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, "latin1"));
    return flags !== null && (Number.parseInt(flags[1] ?? "0", 8) & 0o2000000) === 0;
  } catch {
    return false;
  }
}

/** Whether some process has this number now, whoever owns it. */
export function processExists(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && "code" in error && error.code !== "ESRCH";
  }
}

/** SIGKILL to a process or, negative, to a group. False when there was none to signal. */
export function signalKill(pid: number): boolean {
  try {
    process.kill(pid, "SIGKILL");
    return true;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ESRCH") return false;
    throw error;
  }
}

/** Waits until `ended` holds. Throws UnavailableError `sandbox.alive` after `limitMs`. */
export async function untilEnded(
  ended: () => boolean,
  what: string,
  limitMs: number,
): Promise<void> {
  const deadline = performance.now() + limitMs;
  while (!ended()) {
    if (performance.now() > deadline) {
      throw new UnavailableError("sandbox.alive", `${what} did not end`, "unknown");
    }
    await sleep(2);
  }
}
