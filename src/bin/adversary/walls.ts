/**
 * What an owned server tries of its sandbox, with nothing but Node: the red team's counterpart of
 * tests/path/isolation.test.ts, inside a live site. Each answer is `yes` where something gave way.
 */
import { spawn } from "node:child_process";
import { createSocket } from "node:dgram";
import { Resolver } from "node:dns/promises";
import * as fs from "node:fs";
import { connect } from "node:net";
import type { Knobs, Learnt, Walls } from "../../adversary/attack.ts";

const patienceMs = 1500;

function learnt(what: string, got: boolean, detail = ""): Learnt {
  // Names of abstract sockets begin with a zero byte.
  return { what, answer: got ? "yes" : "no", detail: detail.replaceAll("\0", "@") };
}

function unknown(what: string, detail: string): Learnt {
  return { what, answer: "cannot tell", detail };
}

/** How an attempt that throws ended. */
function tried(action: () => boolean): { readonly got: boolean; readonly how: string } {
  try {
    return { got: action(), how: "" };
  } catch (error) {
    return { got: false, how: error instanceof Error ? error.message : String(error) };
  }
}

function stream(what: string, target: { port: number; host: string } | { path: string }) {
  return new Promise<Learnt>((resolve) => {
    const socket = connect(target);
    const done = (got: boolean, detail = ""): void => {
      socket.destroy();
      resolve(learnt(what, got, detail));
    };
    socket.setTimeout(patienceMs, () => {
      done(false, "no answer");
    });
    socket.once("connect", () => {
      done(true);
    });
    socket.once("error", (error) => {
      done(false, error.message);
    });
  });
}

function datagram(what: string, port: number): Promise<Learnt> {
  return new Promise((resolve) => {
    const socket = createSocket("udp4");
    const done = (got: boolean, detail = ""): void => {
      clearTimeout(timer);
      socket.removeAllListeners();
      socket.on("error", () => undefined);
      socket.close();
      resolve(learnt(what, got, detail));
    };
    const timer = setTimeout(done, patienceMs, false, "no answer");
    socket.once("error", (error) => {
      done(false, error.message);
    });
    socket.once("message", () => {
      done(true);
    });
    socket.send("knock", port, "127.0.0.1", (error) => {
      if (error !== null) done(false, error.message);
    });
  });
}

async function lookup(what: string, port: number): Promise<Learnt> {
  const resolver = new Resolver({ timeout: 500, tries: 1 });
  resolver.setServers([`127.0.0.1:${port}`]);
  try {
    return learnt(what, (await resolver.resolve4("weir.test")).length > 0);
  } catch (error) {
    return learnt(what, false, error instanceof Error ? error.message : "");
  }
}

/** Names of every Unix socket that the kernel shows us. */
function visibleSockets(): string[] {
  const lines = fs.readFileSync("/proc/net/unix", "utf8").trimEnd().split("\n").slice(1);
  return [...new Set(lines.flatMap((line) => line.split(/\s+/)[7] ?? []))];
}

/** Whether a namespace of ours is the host's, whose number the red team gives. */
function namespace(kind: string, opens: string, host: number): Learnt {
  const what = `the host's ${kind} namespace (${opens})`;
  if (host === 0) return unknown(what, "the host's was not given");
  const own = fs.readlinkSync(`/proc/self/ns/${kind}`);
  return learnt(what, own === `${kind}:[${host}]`, own);
}

function knob(knobs: Knobs, name: string): number {
  return knobs[name] ?? 0;
}

function network(knobs: Knobs): Promise<Learnt>[] {
  const attempts: Promise<Learnt>[] = [];
  const [tcp, udp, dns] = [knob(knobs, "tcpPort"), knob(knobs, "udpPort"), knob(knobs, "dnsPort")];
  if (tcp > 0) attempts.push(stream("TCP to the host", { port: tcp, host: "127.0.0.1" }));
  if (udp > 0) attempts.push(datagram("UDP to the host", udp));
  if (dns > 0) attempts.push(lookup("a DNS lookup at the host", dns));
  attempts.push(stream("TCP to the internet", { port: 443, host: "192.0.2.1" }));
  const socket = knob(knobs, "socket");
  if (socket > 0) {
    const name = `weir-channel-${socket}`;
    attempts.push(stream("an abstract Unix socket of the host", { path: `\0${name}` }));
    attempts.push(stream("a Unix socket of the host", { path: `/tmp/${name}.sock` }));
  }
  return attempts;
}

function processes(knobs: Knobs): Learnt[] {
  const pid = knob(knobs, "hostPid");
  const sockets = tried(() => visibleSockets().length > 0);
  const results = [
    learnt("a named Unix socket in sight", sockets.got, sockets.how),
    namespace("net", "abstract sockets, interfaces", knob(knobs, "netNs")),
    namespace("ipc", "System V and POSIX shared memory and queues", knob(knobs, "ipcNs")),
    namespace("pid", "processes and signals", knob(knobs, "pidNs")),
  ];
  if (pid > 0) {
    const signal = tried(() => process.kill(pid, 0));
    // Inside, the number may belong to a process of our own.
    const other = pid !== process.pid && !fs.existsSync(`/proc/${pid}`);
    results.push(learnt("a signal to a process of the host", signal.got && other, signal.how));
  }
  results.push(sharedFolder());
  return results;
}

function sharedFolder(): Learnt {
  const what = "the host's /dev/shm";
  const shared = tried(() => {
    fs.writeFileSync("/dev/shm/weir-channel", "x");
    fs.rmSync("/dev/shm/weir-channel");
    return true;
  });
  if (!shared.got) return learnt(what, false, shared.how);
  return unknown(what, "there is one that takes files; whose it is cannot be judged from inside");
}

async function channels(knobs: Knobs): Promise<readonly Learnt[]> {
  return [
    ...(await Promise.all(network(knobs))),
    ...processes(knobs),
    unknown(
      "a channel through shared caches, memory or power",
      "what the processor shares with the host cannot be judged from inside",
    ),
  ];
}

/** Folders that may take a file: every mount's top, and what the box calls its own. */
function folders(weights: string): string[] {
  const mounts = fs.readFileSync("/proc/self/mountinfo", "utf8").trimEnd().split("\n");
  const points = mounts.map((line) => line.split(" ")[4] ?? "/");
  const own = [weights, "/tmp", "/var/tmp", "/dev/shm", "/dev/mqueue", "/run"];
  return [...new Set([...points, ...own])].filter(
    (path) => !path.startsWith("/proc") && tried(() => fs.statSync(path).isDirectory()).got,
  );
}

const stay = "process.on('SIGTERM',()=>{});process.on('SIGHUP',()=>{});setInterval(()=>{},1e6)";

/** Mount points that are memory of this sandbox alone: tmpfs, gone with its last process. */
function ownMemory(): Set<string> {
  const mounts = fs.readFileSync("/proc/self/mountinfo", "utf8").trimEnd().split("\n");
  const memory = mounts.filter((line) => line.includes(" - tmpfs "));
  return new Set(memory.map((line) => line.split(" ")[4] ?? ""));
}

function mark(weights: string, marker: string): readonly Learnt[] {
  const taken = folders(weights).filter(
    (folder) => tried(() => (fs.writeFileSync(`${folder}/${marker}`, marker), true)).got,
  );
  const memory = ownMemory();
  const elsewhere = taken.filter((folder) => !memory.has(folder));
  const orphan = spawn(process.execPath, ["-e", stay, marker], { detached: true, stdio: "ignore" });
  orphan.unref();
  orphan.on("error", () => undefined);
  return [
    learnt(
      "a place that takes the note and is no memory of the sandbox's own",
      elsewhere.length > 0,
      elsewhere.length > 0 ? elsewhere.join(" ") : `its own memory took it: ${taken.join(" ")}`,
    ),
    unknown(
      "an orphan process that outlives the restart",
      `left as process ${String(orphan.pid)}, deaf to every signal but SIGKILL; to be looked for then`,
    ),
  ];
}

function orphanOf(marker: string): boolean {
  return fs.readdirSync("/proc").some((name) => {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) return false;
    return tried(() => fs.readFileSync(`/proc/${name}/cmdline`, "latin1").includes(marker)).got;
  });
}

/** Whether the kernel lists System V shared memory of an earlier life. */
function sharedMemory(): { readonly got: boolean; readonly how: string } {
  return tried(() => fs.readFileSync("/proc/sysvipc/shm", "utf8").trimEnd().split("\n").length > 1);
}

function find(weights: string, marker: string): readonly Learnt[] {
  const found = folders(weights).filter((folder) => fs.existsSync(`${folder}/${marker}`));
  const shared = sharedMemory();
  return [
    learnt("a file of an earlier life", found.length > 0, found.join(" ")),
    learnt("a process of an earlier life", orphanOf(marker)),
    learnt("System V shared memory of an earlier life", shared.got, shared.how),
    unknown(
      "memory files (memfd) of an earlier life",
      "they end with the last process that holds them; none of an earlier life is in sight",
    ),
    unknown(
      "the page cache, and how long reads take",
      "what the host keeps cached of files that are shown read-only may tell of earlier reads",
    ),
  ];
}

/** The walls of the sandbox that this process stands in. `weights`: its folder for weights. */
export function sandboxWalls(weights: () => string): Walls {
  return {
    channels,
    mark: (marker) => Promise.resolve(mark(weights(), marker)),
    find: (marker) => Promise.resolve(find(weights(), marker)),
  };
}
