/**
 * The server's sandbox (DESIGN decision 9), attacked from inside with each back end, as the user who
 * runs the tests and, for root, as an ordinary user too. The same attacks run bare first: they must
 * all succeed there, or their failure inside would mean nothing.
 */
import assert from "node:assert/strict";
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { createSocket, type Socket as UdpSocket } from "node:dgram";
import { once } from "node:events";
import * as fs from "node:fs";
import { createServer, type AddressInfo, type Server } from "node:net";
import { tmpdir } from "node:os";
import { dirname } from "node:path";
import { Duplex } from "node:stream";
import { after, before, test, type TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import { startBox, type Box, type BoxSpec } from "../../src/adapter/sandbox/box.ts";
import { chooseSandbox, detectSandbox, tryBackEnd } from "../../src/adapter/sandbox/detect.ts";
import { packageRoot } from "../../src/adapter/sandbox/layout.ts";
import { hasEnded, markProcess, untilEnded } from "../../src/adapter/sandbox/process.ts";
import type { ProbeAnswer, ProbeTask } from "./isolation-probe.ts";

type Isolating = "bubblewrap" | "unshare";
type User = NonNullable<BoxSpec["user"]>;

const probeFile = fileURLToPath(new URL("isolation-probe.ts", import.meta.url));
const isRoot = process.getuid?.() === 0;
const nobody: User = { uid: 65_534, gid: 65_534 };
const users: readonly (readonly [string, User | null])[] = isRoot
  ? [
      ["root", null],
      ["nobody", nobody],
    ]
  : [["this user", null]];
const kinds: readonly Isolating[] = ["bubblewrap", "unshare"];
const fillBytes = 96 * 2 ** 20;

const mark = `weir-marker-${process.pid}`;
const secret = `weir-secret-${process.pid}`;
let directory = "";
let task: ProbeTask;
const listeners: Server[] = [];
const udpSockets: UdpSocket[] = [];
const sleepers = new Map<string, ChildProcess>();

async function listen(where: { port: number; host: string } | { path: string }): Promise<Server> {
  const server = createServer((socket) => socket.destroy());
  server.listen(where);
  await once(server, "listening");
  listeners.push(server);
  return server;
}

async function udp(reply: (question: Buffer) => Buffer): Promise<number> {
  const socket = createSocket("udp4");
  socket.on("message", (question, from) => {
    socket.send(reply(question), from.port, from.address);
  });
  socket.bind(0, "127.0.0.1");
  await once(socket, "listening");
  udpSockets.push(socket);
  return socket.address().port;
}

/** A DNS answer (RFC 1035, section 4.1) of one A record, 192.0.2.7, to any question. */
function dnsAnswer(question: Buffer): Buffer {
  const header = Buffer.from(question.subarray(0, 12));
  header.writeUInt16BE(0x8180, 2);
  header.writeUInt16BE(1, 6);
  header.writeUInt32BE(0, 8);
  const end = question.indexOf(0, 12) + 5;
  const record = Buffer.from("c00c000100010000003c0004c0000207", "hex");
  return Buffer.concat([header, question.subarray(12, end), record]);
}

before(async () => {
  directory = fs.mkdtempSync(`${tmpdir()}/weir-isolation-`);
  fs.chmodSync(directory, 0o755);
  fs.writeFileSync(`${directory}/secret`, secret, { mode: 0o644 });
  const tcp = await listen({ port: 0, host: "127.0.0.1" });
  await listen({ path: `${directory}/server.sock` });
  fs.chmodSync(`${directory}/server.sock`, 0o777);
  await listen({ path: `\0${mark}` });
  task = {
    do: "attack",
    tcpPort: (tcp.address() as AddressInfo).port,
    udpPort: await udp((question) => question),
    dnsPort: await udp(dnsAnswer),
    socketPath: `${directory}/server.sock`,
    abstractName: mark,
    secretFile: `${directory}/secret`,
    secret,
    hostPid: 0,
    hostToken: `weir-sleeper-${process.pid}`,
    roots: ["/"],
    marker: mark,
    sinceMs: Date.now() - 1000,
    weights: "/weights",
    fillBytes,
  };
  for (const [name, user] of users) {
    // A process of the same user outside: what its name, environment and number give away is sought.
    const argv = ["-e", "setInterval(()=>{},1e6)", task.hostToken];
    const options = { env: { SECRET: secret }, stdio: "ignore", ...user } as const;
    sleepers.set(name, spawn(process.execPath, argv, options));
  }
});

after(() => {
  for (const server of listeners) server.close();
  for (const socket of udpSockets) socket.close();
  for (const sleeper of sleepers.values()) sleeper.kill("SIGKILL");
  fs.rmSync(directory, { recursive: true, force: true });
});

/** Puts one task to a probe and awaits its answer. */
async function ask(link: Duplex, question: ProbeTask): Promise<ProbeAnswer> {
  link.write(`${JSON.stringify(question)}\n`);
  let heard = "";
  return new Promise((resolve, reject) => {
    const onData = (bytes: Buffer): void => {
      heard += bytes.toString("utf8");
      if (!heard.endsWith("\n")) return;
      link.removeListener("data", onData);
      resolve(JSON.parse(heard) as ProbeAnswer);
    };
    link.on("data", onData);
    link.once("close", () => {
      reject(new Error(`the probe ended without an answer: ${heard}`));
    });
  });
}

async function boxed(
  kind: Isolating,
  user: User | null,
  more: Partial<BoxSpec> = {},
): Promise<Box> {
  const box = await startBox(kind, {
    argv: (paths) => [paths.node, "/probe.mts", "--probe"],
    show: [{ from: probeFile, to: "/probe.mts" }],
    memoryBytes: 2 * fillBytes,
    ...(user === null ? {} : { user }),
    ...more,
  });
  let said = "";
  for (const stream of box.says) stream.on("data", (bytes: Buffer) => (said += bytes.toString()));
  void box.gone.then(() => {
    if (said !== "") process.stderr.write(`the probe said: ${said}\n`);
  });
  return box;
}

/** Runs the probe bare, as `user`, for the control. */
async function bare(user: User | null, question: ProbeTask): Promise<ProbeAnswer> {
  const child = spawn(process.execPath, [probeFile, "--probe"], {
    stdio: ["ignore", "inherit", "inherit", "pipe"],
    ...user,
  });
  const link = child.stdio[3];
  assert(link instanceof Duplex);
  try {
    return await ask(link, question);
  } finally {
    child.kill("SIGKILL");
  }
}

function places(answer: ProbeAnswer): readonly string[] {
  const list = answer["places"];
  assert(typeof list === "object");
  return list;
}

const plainly: Readonly<Record<Isolating, readonly [string, ...string[]]>> = {
  bubblewrap: ["bwrap", "--unshare-user", "--unshare-pid", "--unshare-net", "--bind", "/", "/"],
  unshare: ["unshare", "--user", "--map-root-user", "--mount-proc", "--net", "--pid", "--fork"],
};

/** Whether the tool by itself, without our options, works for this user. */
function makesNamespaces(kind: Isolating, user: User | null): boolean {
  const [tool, ...args] = plainly[kind];
  return spawnSync(tool, [...args, "true"], { stdio: "ignore", ...user }).status === 0;
}

/** Why this pair cannot be tried here, or "". Never silent: the reason is printed with the skip. */
async function whyNot(kind: Isolating, user: User | null): Promise<string> {
  if (user !== null) {
    for (let at = packageRoot; at !== "/"; at = dirname(at)) {
      if ((fs.statSync(at).mode & 0o005) !== 0o005) return `${at} is not readable by other users`;
    }
  }
  const why = await tryBackEnd(kind, user === null ? {} : { user });
  // Where the tool itself can make namespaces, a box that does not stand or is not tight is our fault.
  assert.ok(why === "" || !makesNamespaces(kind, user), why);
  return why;
}

function isolated(
  name: string,
  run: (t: TestContext, kind: Isolating, user: User | null, userName: string) => Promise<void>,
): void {
  for (const kind of kinds) {
    for (const [userName, user] of users) {
      test(`sandbox (${kind}, as ${userName}): ${name}`, async (t) => {
        const why = await whyNot(kind, user);
        if (why !== "") {
          t.skip(`ISOLATION NOT TESTED: ${why}`);
          return;
        }
        await run(t, kind, user, userName);
      });
    }
  }
}

function withHost(userName: string): ProbeTask {
  const sleeper = sleepers.get(userName);
  assert(sleeper?.pid !== undefined);
  return { ...task, hostPid: sleeper.pid };
}

for (const [userName, user] of users) {
  test(`sandbox: the same attacks without it, as ${userName} -> every one succeeds`, async () => {
    const answer = await bare(user, withHost(userName));
    const attacks = Object.entries(answer).filter(([, value]) => typeof value === "boolean");
    assert.equal(attacks.length, 9);
    for (const [name, worked] of attacks) assert.equal(worked, true, name);
  });
}

isolated(
  "network, sockets, data, processes -> every attack fails",
  async (_t, kind, user, name) => {
    const box = await boxed(kind, user);
    try {
      const answer = await ask(box.link, withHost(name));
      const attacks = Object.entries(answer).filter(([, value]) => typeof value === "boolean");
      assert.equal(attacks.length, 9);
      for (const [attack, worked] of attacks) assert.equal(worked, false, attack);
      assert.match(String(answer["outside"]), /^(ENETUNREACH|EAFNOSUPPORT)$/);
      assert.deepEqual(answer["interfaces"], []);
      const status = String(answer["status"]);
      for (const set of ["Inh", "Prm", "Eff", "Bnd", "Amb"]) {
        assert.match(status, new RegExp(`^Cap${set}:\\t0+$`, "m"));
      }
      assert.match(status, /^NoNewPrivs:\t1$/m);
      if (kind === "bubblewrap") assert.match(status, /^Seccomp:\t2$/m);
    } finally {
      await box.kill();
    }
  },
);

isolated(
  "a marker left everywhere -> only memory takes it, and a restart finds none",
  async (_t, kind, user) => {
    const before = fs.statSync("/dev/null");
    const first = await boxed(kind, user);
    let taken: readonly string[];
    try {
      taken = places(await ask(first.link, { ...task, do: "mark" }));
      assert.ok(taken.includes("/weights") && taken.includes("/tmp"), "its own memory is writable");
      const elsewhere = taken.filter((path) => !/^\/(weights|tmp)(\/|$)/.test(path));
      assert.deepEqual(elsewhere, []);
      const again = places(await ask(first.link, { ...task, do: "find" }));
      assert.ok(
        again.some((path) => path.startsWith("/weights/")),
        "found while it still runs",
      );
    } finally {
      await first.kill();
    }
    const second = await boxed(kind, user);
    try {
      assert.deepEqual(places(await ask(second.link, { ...task, do: "find" })), []);
    } finally {
      await second.kill();
    }
    const now = fs.statSync("/dev/null");
    assert.deepEqual([now.mode, now.mtimeMs], [before.mode, before.mtimeMs]);
  },
);

test("sandbox: the same marker without it -> the next life finds it", async () => {
  const roots = [fs.mkdtempSync(`${directory}/life-`)];
  const taken = places(await bare(null, { ...task, do: "mark", roots }));
  assert.deepEqual(taken, roots);
  assert.ok(places(await bare(null, { ...task, do: "find", roots })).length > 0);
});

/** Processes on this host whose command line holds `token`. */
function processesWith(token: string): number {
  return fs.readdirSync("/proc").filter((name) => {
    try {
      return (
        /^\d+$/.test(name) && fs.readFileSync(`/proc/${name}/cmdline`, "latin1").includes(token)
      );
    } catch {
      return false;
    }
  }).length;
}

/** Bytes of tmpfs and other shared memory in use on this host. */
function sharedMemory(): number {
  const match = /^Shmem:\s+(\d+) kB$/m.exec(fs.readFileSync("/proc/meminfo", "utf8"));
  return 1024 * Number(match?.[1]);
}

isolated("power is cut -> no process and no memory is left", async (_t, kind, user) => {
  const marker = `${mark}-${kind}-${String(user?.uid)}`;
  const before = sharedMemory();
  const box = await boxed(kind, user);
  const answer = await ask(box.link, { ...task, do: "settle", marker });
  assert.equal(answer["filled"], fillBytes);
  const full = sharedMemory();
  assert.ok(full - before > fillBytes / 2, "the fill shows in the host's count");
  assert.ok(processesWith(marker) > 0, "its detached child runs");
  await box.kill();
  assert.equal(processesWith(marker), 0);
  assert.ok(full - sharedMemory() > fillBytes / 2, "the fill is gone from the host's count");
  assert.equal((await box.gone).reason, "power was cut");
  await box.kill();
});

// A gateway of its own process, which is then killed, or which was left an open descriptor.
const gatewayProgram = `
const { startBox } = await import(process.argv[1]);
const box = await startBox(process.argv[2], {
  argv: (paths) => [paths.node, "/probe.mts", "--probe"],
  show: [{ from: process.argv[3], to: "/probe.mts" }],
});
box.link.write(process.argv[4] + "\\n");
box.link.on("data", (bytes) => process.stdout.write(bytes));
console.log(JSON.stringify({ pid: box.pid }));
`;

async function gatewayLines(kind: Isolating, question: ProbeTask, fd: number | "ignore") {
  const boxModule = `${packageRoot}/src/adapter/sandbox/box.ts`;
  const argv = ["--input-type=module", "-e", gatewayProgram, boxModule, kind, probeFile];
  const stdio = Array.from({ length: 21 }, (_, index): number | "ignore" | "pipe" | "inherit" => {
    return { 1: "pipe" as const, 2: "inherit" as const, 20: fd }[index] ?? "ignore";
  });
  const child = spawn(process.execPath, [...argv, JSON.stringify(question)], { stdio });
  let heard = "";
  while (heard.split("\n").length < 3) {
    const [bytes] = (await once(child.stdout as Duplex, "data")) as [Buffer];
    heard += bytes.toString("utf8");
  }
  const lines = heard
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  return { child, said: Object.assign({}, ...lines) as Record<string, unknown> };
}

for (const kind of kinds) {
  test(`sandbox (${kind}): the gateway is killed -> the server goes with it`, async (t) => {
    const why = await whyNot(kind, null);
    if (why !== "") {
      t.skip(`ISOLATION NOT TESTED: ${why}`);
      return;
    }
    const question = { ...task, do: "settle", fillBytes: 1 } as const;
    const { child, said } = await gatewayLines(kind, question, "ignore");
    const init = markProcess(Number(said["pid"]));
    assert.ok(init !== null && !hasEnded(init), "it runs");
    child.kill("SIGKILL");
    await untilEnded(() => hasEnded(init), "the sandbox", 10_000);
  });

  test(`sandbox (${kind}): a descriptor that the gateway was left with -> not passed on`, async (t) => {
    const why = await whyNot(kind, null);
    if (why !== "") {
      t.skip(`ISOLATION NOT TESTED: ${why}`);
      return;
    }
    const open = fs.openSync(task.secretFile, "r");
    const { child, said } = await gatewayLines(kind, withHost(users[0]?.[0] ?? ""), open);
    fs.closeSync(open);
    try {
      const handed = fs.readlinkSync(`/proc/${String(child.pid)}/fd/20`);
      assert.equal(handed, fs.realpathSync(task.secretFile), "the gateway has it");
      assert.deepEqual(said["descriptors"], []);
    } finally {
      child.kill("SIGKILL");
    }
  });
}

test("sandbox: a program that ends by itself -> gone tells its code", async (t) => {
  const { kind } = await detectSandbox();
  if (kind === "off") t.diagnostic("ISOLATION NOT TESTED: no back end works here");
  const box = await startBox(kind, { argv: (paths) => [paths.node, "-e", "process.exit(7)"] });
  assert.equal((await box.gone).code, 7);
  await box.kill();
});

test("sandbox: off -> works, says so, and kill ends the process group", async () => {
  const chosen = await chooseSandbox("off");
  assert.equal(chosen.kind, "off");
  assert.match(chosen.detail, /NO ISOLATION/);
  const marker = `${mark}-off`;
  let weights = "";
  // What a gateway that was killed left behind is swept away; number 2^22 + 1 is never given out.
  const memory = fs.existsSync("/dev/shm") ? "/dev/shm" : tmpdir();
  const left = fs.mkdtempSync(`${memory}/weir-server-${2 ** 22 + 1}-`);
  const box = await startBox("off", {
    argv: (paths) => {
      weights = paths.weights;
      return [paths.node, probeFile, "--probe"];
    },
  });
  const answer = await ask(box.link, { ...task, do: "mark", marker, roots: [weights] });
  assert.deepEqual(places(answer), [weights]);
  await box.kill();
  assert.equal(fs.existsSync(weights), false);
  assert.equal(fs.existsSync(left), false);
});

test("sandbox: a file to show that does not exist -> an error that names it", async () => {
  const spec = { argv: () => ["x"], show: [{ from: "/nonexistent-file", to: "/x" }] };
  await assert.rejects(startBox("bubblewrap", spec), /no such file.*\/nonexistent-file/);
});
