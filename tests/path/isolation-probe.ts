/**
 * A red-team program for tests/path/isolation.test.ts: runs inside the sandbox, or bare for the
 * control, tries to get out, and says over descriptor 3 what worked. Each attempt answers true when
 * it succeeded. Only Node's own modules: it must run where nothing else is shown.
 */
import { spawn } from "node:child_process";
import { createSocket } from "node:dgram";
import { Resolver } from "node:dns/promises";
import * as fs from "node:fs";
import { connect, Socket } from "node:net";

export interface ProbeTask {
  readonly do: "attack" | "mark" | "find" | "settle";
  readonly tcpPort: number;
  readonly udpPort: number;
  readonly dnsPort: number;
  readonly socketPath: string;
  readonly abstractName: string;
  readonly secretFile: string;
  readonly secret: string;
  readonly hostPid: number;
  readonly hostToken: string;
  /** Where to walk for writable places. */
  readonly roots: readonly string[];
  readonly marker: string;
  /** When the test began, milliseconds since the epoch: what changed before is not its doing. */
  readonly sinceMs: number;
  readonly weights: string;
  readonly fillBytes: number;
}

export type ProbeAnswer = Readonly<Record<string, boolean | string | number | readonly string[]>>;

const patienceMs = 1500;

function reaches(target: { port: number; host: string } | { path: string }): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(target);
    const done = (worked: boolean) => (): void => {
      socket.destroy();
      resolve(worked);
    };
    socket.setTimeout(patienceMs, done(false));
    socket.once("connect", done(true));
    socket.once("error", done(false));
  });
}

/** Whether the host's UDP listener answers. */
function udpEcho(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createSocket("udp4");
    const done = (worked: boolean): void => {
      clearTimeout(timer);
      try {
        socket.close();
      } catch {
        // It never opened.
      }
      resolve(worked);
    };
    const timer = setTimeout(done, patienceMs, false);
    socket.once("error", () => {
      done(false);
    });
    socket.once("message", () => {
      done(true);
    });
    socket.send("knock", port, "127.0.0.1");
  });
}

/** The error that a TCP connection to an address of the documentation network ends with. */
function outsideError(): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ host: "192.0.2.1", port: 80 });
    const done = (how: string): void => {
      socket.destroy();
      resolve(how);
    };
    socket.setTimeout(patienceMs, () => {
      done("none");
    });
    socket.once("connect", () => {
      done("connected");
    });
    socket.once("error", (error: NodeJS.ErrnoException) => {
      done(error.code ?? error.message);
    });
  });
}

async function resolves(port: number): Promise<boolean> {
  const resolver = new Resolver({ timeout: 500, tries: 1 });
  resolver.setServers([`127.0.0.1:${port}`]);
  try {
    return (await resolver.resolve4("weir.test")).length > 0;
  } catch {
    return false;
  }
}

function works(action: () => boolean): boolean {
  try {
    return action();
  } catch {
    return false;
  }
}

function seesProcess(token: string): boolean {
  return fs.readdirSync("/proc").some((name) => {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) return false;
    return works(() => fs.readFileSync(`/proc/${name}/cmdline`, "latin1").includes(token));
  });
}

/** Every environment that can be read: ours and that of each process we see. */
function seesEnvironment(secret: string): boolean {
  if (Object.values(process.env).some((value) => value === secret)) return true;
  return fs.readdirSync("/proc").some((name) => {
    return works(() => fs.readFileSync(`/proc/${name}/environ`, "latin1").includes(secret));
  });
}

function kindOf(path: string): "file" | "device" {
  return fs.lstatSync(path).isFile() ? "file" : "device";
}

interface Place {
  readonly path: string;
  readonly kind: "directory" | "file" | "device";
}

/** What is at `path` and, so many levels deep, below it. */
function* walk(path: string, levels: number): Generator<Place> {
  if (path === "/proc") return;
  yield { path, kind: "directory" };
  if (levels === 0) return;
  let entries: fs.Dirent[];
  try {
    entries = fs.readdirSync(path, { withFileTypes: true });
  } catch {
    return;
  }
  for (const entry of entries) {
    const below = `${path === "/" ? "" : path}/${entry.name}`;
    if (entry.isDirectory()) yield* walk(below, levels - 1);
    // A directory's own list shows what a mount covers: of a device node, the plain file below it.
    else if (below.startsWith("/dev/")) yield { path: below, kind: kindOf(below) };
    else if (entry.isFile()) yield { path: below, kind: "file" };
  }
}

/**
 * The whole of each root. Of `/`: every mount, the writable ones to the bottom. Whether a mount is
 * read-only is a property of the whole mount, so of those two levels are tried.
 */
function everywhere(roots: readonly string[]): Place[] {
  const mounts = fs.readFileSync("/proc/self/mountinfo", "utf8").trimEnd().split("\n");
  const found: Place[] = [];
  for (const root of roots.filter((path) => path !== "/")) found.push(...walk(root, Infinity));
  for (const mount of roots.includes("/") ? mounts : []) {
    const [, , , , point = "/", options = ""] = mount.split(" ");
    if (!fs.statSync(point).isDirectory()) continue;
    found.push(...walk(point, options.split(",").includes("ro") ? 2 : Infinity));
  }
  return found;
}

/** Leaves the marker in every place that takes it: contents, names, and times of inodes. */
function mark(task: ProbeTask): string[] {
  const taken = new Set<string>();
  const leave = (path: string, action: () => void): void => {
    if (works(() => (action(), true))) taken.add(path);
  };
  for (const { path, kind } of everywhere(task.roots)) {
    if (kind === "file") leave(path, () => fs.appendFileSync(path, task.marker));
    if (kind === "directory") {
      leave(path, () => fs.writeFileSync(`${path}/${task.marker}`, task.marker));
    }
    leave(path, () => fs.utimesSync(path, 1e9, 1e9));
    leave(path, () => fs.chmodSync(path, kind === "device" ? 0o666 : 0o777));
  }
  for (const file of ["/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/proc/1/comm"]) {
    if (task.roots.includes("/")) leave(file, () => fs.closeSync(fs.openSync(file, "r+")));
  }
  return [...taken];
}

/** Where the marker of an earlier life is found: as a name, a time, or contents changed since. */
function find(task: ProbeTask): string[] {
  const found: string[] = [];
  for (const { path, kind } of everywhere(task.roots)) {
    if (path.endsWith(task.marker)) found.push(path);
    const stat = fs.lstatSync(path);
    if (stat.mtimeMs === 1e12) found.push(`${path} (time)`);
    const changed = stat.ctimeMs >= task.sinceMs && kind === "file";
    if (changed && works(() => fs.readFileSync(path, "latin1").includes(task.marker))) {
      found.push(path);
    }
  }
  return found;
}

async function attack(task: ProbeTask): Promise<ProbeAnswer> {
  return {
    "TCP to the host's loopback": await reaches({ port: task.tcpPort, host: "127.0.0.1" }),
    "UDP to the host's loopback": await udpEcho(task.udpPort),
    "DNS lookup": await resolves(task.dnsPort),
    "another server's socket": await reaches({ path: task.socketPath }),
    "another server's abstract socket": await reaches({ path: `\0${task.abstractName}` }),
    "the host's data": works(() => fs.readFileSync(task.secretFile, "utf8") === task.secret),
    "the host's environment": seesEnvironment(task.secret),
    "the host's processes": seesProcess(task.hostToken),
    "a signal to a host process": works(() => process.kill(task.hostPid, 0)),
    outside: await outsideError(),
    status: fs.readFileSync("/proc/self/status", "utf8"),
    interfaces: fs
      .readFileSync("/proc/self/net/dev", "utf8")
      .split("\n")
      .slice(2)
      .map((line) => line.split(":")[0]?.trim() ?? "")
      .filter((name) => name !== "" && name !== "lo"),
    descriptors: fs.readdirSync("/proc/self/fd").filter((fd) => {
      // Reading a pipe would wait for ever.
      const path = `/proc/self/fd/${fd}`;
      return works(
        () => fs.statSync(path).isFile() && fs.readFileSync(path, "utf8") === task.secret,
      );
    }),
  };
}

/** Fills memory and leaves a process behind that no signal but SIGKILL ends. */
async function settle(task: ProbeTask): Promise<ProbeAnswer> {
  const stay = "process.on('SIGTERM',()=>{});process.on('SIGHUP',()=>{});setInterval(()=>{},1e6);";
  const child = spawn(process.execPath, ["-e", `${stay}console.log(1)`, task.marker], {
    detached: true,
    stdio: ["ignore", "pipe", "ignore"],
  });
  await new Promise((resolve) => child.stdout.once("data", resolve));
  fs.writeFileSync(`${task.weights}/fill`, Buffer.alloc(task.fillBytes, 7));
  return { filled: fs.statSync(`${task.weights}/fill`).size };
}

async function answer(task: ProbeTask): Promise<ProbeAnswer> {
  if (task.do === "attack") return attack(task);
  if (task.do === "mark") return { places: mark(task) };
  if (task.do === "find") return { places: find(task) };
  return settle(task);
}

// Imported by the test for its types alone; run as a program with --probe.
if (process.argv.includes("--probe")) {
  const link = new Socket({ fd: 3 });
  let heard = "";
  link.on("end", () => {
    process.exit(0);
  });
  link.on("data", (bytes: Buffer) => {
    heard += bytes.toString("utf8");
    if (!heard.endsWith("\n")) return;
    const task = JSON.parse(heard) as ProbeTask;
    heard = "";
    void answer(task).then((found) => link.write(`${JSON.stringify(found)}\n`));
  });
}
