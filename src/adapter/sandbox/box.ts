/**
 * Starts an untrusted program boxed in, with one link out, and ends it for certain.
 *
 * Trust: the kernel's namespaces, and bubblewrap or util-linux, keep the program from everything but
 * the link. docs/operating/sandbox.md says what they cannot stop.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { accessSync, constants, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { Duplex, type Readable } from "node:stream";
import { assert, UnavailableError } from "../../base/assert.ts";
import { bubblewrapCommand, type Sizes } from "./bubblewrap.ts";
import { findTool, inside, insidePath, layoutOf, type Bind } from "./layout.ts";
import {
  groupEnded,
  hasEnded,
  markProcess,
  processExists,
  signalKill,
  strayDescriptors,
  untilEnded,
  type ProcessMark,
} from "./process.ts";
import { seccompFilter } from "./seccomp.ts";
import { unshareCommand } from "./unshare.ts";

export type SandboxKind = "bubblewrap" | "unshare" | "off";

/** Paths as the program will see them. */
export interface BoxPaths {
  readonly node: string;
  readonly weights: string;
  /** A file of this package. */
  readonly own: (hostPath: string) => string;
}

export interface BoxSpec extends Partial<Sizes> {
  /** The command line of the program. Its link is descriptor 3. */
  readonly argv: (paths: BoxPaths) => readonly string[];
  /** More files or directories to show read-only. */
  readonly show?: readonly Bind[];
  /** Runs everything, bubblewrap included, as this user. Needs root. */
  readonly user?: { readonly uid: number; readonly gid: number };
  /** The Node binary; by default the one that runs us. */
  readonly nodePath?: string;
}

export interface Box {
  readonly kind: SandboxKind;
  /** Our end of the link. */
  readonly link: Duplex;
  /** What the program says on standard output and error. Untrusted. */
  readonly says: readonly Readable[];
  /** Process 1 of the box, or the program itself when `off`, as this host numbers it. */
  readonly pid: number;
  /** Resolves when no process of the box is left. `code` is null when a signal ended it. */
  readonly gone: Promise<{ readonly code: number | null; readonly reason: string }>;
  /** Ends every process. Rejects with UnavailableError when it cannot be shown that none is left. */
  kill(): Promise<void>;
}

export const defaultSizes: Sizes = { memoryBytes: 2 ** 30, scratchBytes: 2 ** 26 };

const [linkFd, infoFd, seccompFd] = [3, 4, 5];
const startLimitMs = 10_000;
const endLimitMs = 10_000;

/** A tool that must be there. Throws UnavailableError `sandbox.tool`. */
function tool(name: string): string {
  const path = findTool(name);
  if (path === null) throw new UnavailableError("sandbox.tool", `${name} is not installed`, "none");
  return path;
}

interface Command {
  readonly argv: readonly string[];
  readonly filter: Buffer | null;
  /** A directory of the host to remove afterwards, or "". */
  readonly directory: string;
}

function commandOf(kind: SandboxKind, spec: BoxSpec): Command {
  const nodePath = spec.nodePath ?? process.execPath;
  if (kind === "off") return bareCommand(spec, nodePath);
  const sizes = { ...defaultSizes, ...spec };
  const layout = layoutOf(nodePath, spec.show ?? []);
  const argv = spec.argv({ node: inside.node, weights: inside.weights, own: insidePath });
  if (kind === "bubblewrap") {
    const filter = seccompFilter(process.arch);
    const fd = filter === null ? null : seccompFd;
    const command = bubblewrapCommand(tool("bwrap"), layout, sizes, infoFd, fd, argv);
    return { argv: command, filter, directory: "" };
  }
  const tools = {
    unshare: tool("unshare"),
    setpriv: tool("setpriv"),
    setsid: tool("setsid"),
    umount: tool("umount"),
  };
  return { argv: unshareCommand(tools, layout, sizes, infoFd, argv), filter: null, directory: "" };
}

/** No isolation at all. The weights still stay in memory where the host has /dev/shm. */
function bareCommand(spec: BoxSpec, nodePath: string): Command {
  const memory = memoryDirectory();
  sweep(memory);
  const directory = mkdtempSync(`${memory}/weir-server-${process.pid}-`);
  const argv = spec.argv({ node: nodePath, weights: directory, own: (path) => path });
  const setpriv = findTool("setpriv");
  const dieWithParent = setpriv === null ? [] : [setpriv, "--pdeathsig", "KILL", "--"];
  return { argv: [...dieWithParent, ...argv], filter: null, directory };
}

/** Removes what gateways that were killed outright left behind: their number is in the name. */
function sweep(memory: string): void {
  for (const name of readdirSync(memory)) {
    const owner = /^weir-server-(\d+)-/.exec(name)?.[1];
    if (owner === undefined || processExists(Number(owner))) continue;
    try {
      rmSync(`${memory}/${name}`, { recursive: true, force: true });
    } catch {
      // Another user's.
    }
  }
}

function memoryDirectory(): string {
  try {
    accessSync("/dev/shm", constants.W_OK);
    return "/dev/shm";
  } catch {
    return tmpdir();
  }
}

/**
 * Starts the program; resolves when the box stands. Throws UnavailableError `sandbox.start` with
 * what the back end said when it cannot be built.
 */
export async function startBox(kind: SandboxKind, spec: BoxSpec): Promise<Box> {
  const command = commandOf(kind, spec);
  const [file, ...args] = command.argv;
  assert(file !== undefined, "a program has a command line");
  const used = kind === "off" ? infoFd : command.filter === null ? seccompFd : seccompFd + 1;
  const child = spawn(file, args, {
    cwd: "/",
    env: {},
    // Its own session: no terminal, and no signal to its process group reaches us.
    detached: true,
    stdio: descriptors(used),
    ...spec.user,
  });
  try {
    feed(child, used, command.filter);
    const pid = await started(child, kind);
    return new RunningBox(kind, child, pid, command.directory);
  } catch (error) {
    if (child.pid !== undefined) signalKill(-child.pid);
    if (command.directory !== "") rmSync(command.directory, { recursive: true, force: true });
    throw error;
  }
}

function duplexAt(child: ChildProcess, fd: number): Duplex {
  const stream = child.stdio[fd];
  assert(stream instanceof Duplex, "every descriptor is a socket pair");
  return stream;
}

/**
 * A socket pair for each descriptor in use. None is a file of the host, not even /dev/null: its
 * metadata would outlive the box. A descriptor that we were left with, and that the program would
 * get from us in turn, is replaced by a socket pair to nowhere.
 */
function descriptors(used: number): ("pipe" | "ignore")[] {
  const stray = strayDescriptors();
  const length = Math.max(used, ...stray.map((fd) => fd + 1));
  return Array.from({ length }, (_, fd) => (fd < used || stray.includes(fd) ? "pipe" : "ignore"));
}

/** Standard input ends at once; the filter is written for the back end to read. */
function feed(child: ChildProcess, used: number, filter: Buffer | null): void {
  child.on("error", () => undefined);
  child.stdio.forEach((stream, fd) => {
    stream?.on("error", () => undefined);
    if (fd >= used) stream?.destroy();
  });
  child.stdin?.end();
  if (filter !== null) duplexAt(child, seccompFd).end(filter);
}

/** The number of the box's process 1, once the back end tells it. */
function started(child: ChildProcess, kind: SandboxKind): Promise<ProcessMark> {
  let [told, said] = ["", ""];
  return new Promise((resolve, reject) => {
    const fail = (why: string): void => {
      finish();
      reject(new UnavailableError("sandbox.start", `${kind}: ${why}`, "none"));
    };
    const timer = setTimeout(() => {
      fail("nothing started in time");
    }, startLimitMs);
    const hear = (bytes: Buffer): void => {
      if (said.length < 2000) said += bytes.toString("utf8");
    };
    const settle = (pid: number): void => {
      // A short program may be over before it is looked at: it did start, and a mark that fits no
      // process has ended. Without /proc (not Linux) there is only `off`, which looks at the group.
      finish();
      resolve(markProcess(pid) ?? { pid, started: "" });
    };
    const tell = (bytes: Buffer): void => {
      told += bytes.toString("latin1");
      const match = /"child-pid":\s*(\d+)[^\d]/.exec(told);
      if (match !== null) settle(Number(match[1]));
    };
    const onExit = (): void => {
      fail(oneLine(said) || "it ended at once");
    };
    const onError = (error: Error): void => {
      fail(error.message);
    };
    const finish = (): void => {
      clearTimeout(timer);
      child.removeListener("close", onExit);
      child.removeListener("error", onError);
      child.stderr?.removeListener("data", hear).pause();
      if (kind !== "off") duplexAt(child, infoFd).removeListener("data", tell).resume();
    };
    child.once("error", onError);
    if (child.pid === undefined) return;
    child.once("close", onExit);
    child.stderr?.on("data", hear);
    if (kind === "off") settle(child.pid);
    else duplexAt(child, infoFd).on("data", tell);
  });
}

function oneLine(text: string): string {
  return text.replaceAll(/[^\x20-\x7e]+/g, " ").trim();
}

class RunningBox implements Box {
  readonly kind: SandboxKind;
  readonly link: Duplex;
  readonly says: readonly Readable[];
  readonly gone: Promise<{ readonly code: number | null; readonly reason: string }>;
  readonly #child: ChildProcess;
  readonly #init: ProcessMark;
  readonly #directory: string;
  #killed = false;

  constructor(kind: SandboxKind, child: ChildProcess, init: ProcessMark, directory: string) {
    this.kind = kind;
    this.#child = child;
    this.#init = init;
    this.#directory = directory;
    this.link = duplexAt(child, linkFd);
    this.says = [duplexAt(child, 1), duplexAt(child, 2)];
    this.gone = this.#watch();
  }

  get pid(): number {
    return this.#init.pid;
  }

  async #watch(): Promise<{ code: number | null; reason: string }> {
    const child = this.#child;
    const [code, signal] = await new Promise<[number | null, string | null]>((resolve) => {
      if (child.exitCode !== null || child.signalCode !== null) {
        resolve([child.exitCode, child.signalCode]);
      } else {
        child.once("exit", (...how) => {
          resolve(how);
        });
      }
    });
    // The program has ended, or only the one who watches over it: whatever is left goes too.
    this.#strike();
    await untilEnded(() => this.#empty(), "the sandbox", endLimitMs).catch(() => undefined);
    if (this.#directory !== "") rmSync(this.#directory, { recursive: true, force: true });
    const how = signal === null ? `ended with code ${String(code)}` : `was ended by ${signal}`;
    return { code, reason: this.#killed ? "power was cut" : `the server's program ${how}` };
  }

  /** SIGKILL to the box's process 1, which ends its whole pid namespace; or to the group. */
  #strike(): void {
    if (this.kind === "off") signalKill(-this.#init.pid);
    else if (!hasEnded(this.#init)) signalKill(this.#init.pid);
  }

  #empty(): boolean {
    if (this.kind !== "off") return hasEnded(this.#init);
    return groupEnded(this.#init.pid);
  }

  async kill(): Promise<void> {
    this.#killed = true;
    for (const stream of this.says) stream.destroy();
    this.#strike();
    // The mounts live until the watcher outside has gone as well, and with them the memory.
    let gone = false;
    void this.gone.then(() => {
      gone = true;
    });
    await untilEnded(() => gone && this.#empty(), "the sandbox", 2 * endLimitMs);
    this.link.destroy();
  }
}
