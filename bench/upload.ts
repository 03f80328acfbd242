/**
 * Bench 2: the weights path. The real upload code (chunks sealed to a boot key, opened and hashed in the gateway's
 * worker threads, chunk proofs checked, bits counted) between a depot process and a sink process, against SHA-256 and
 * AES-256-GCM on one core in the same run. The depot is reached over a Unix socket, and over mutual TLS
 * as in a site. The sink stands for the server's end of the link. Peer: node:tls alone between two
 * processes, which is what any Node program can have of TLS.
 *
 * By the clock, all processes share the cores of the machine: `all cores` says how fast it would be if
 * they were never idle. The ratio by CPU says what a gateway with a core for each of its two threads
 * would do: it takes the busier one.
 */
import assert from "node:assert/strict";
import { createCipheriv, createSecretKey, hash } from "node:crypto";
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect, Socket } from "node:net";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { connect as connectTls } from "node:tls";
import { openChunkHasher } from "../src/adapter/chunk-hasher.ts";
import { systemClock } from "../src/adapter/clock.ts";
import { BulkReads, wireOver } from "../src/adapter/link.ts";
import { createAuthority, issue } from "../src/adapter/pki.ts";
import { dialTls, readIdentity } from "../src/adapter/tls.ts";
import { systemRandom } from "../src/adapter/random.ts";
import { limits } from "../src/base/limits.ts";
import { BootSecret } from "../src/gateway/boot-secret.ts";
import { BitCounter } from "../src/gateway/counter.ts";
import { uploadWeights } from "../src/gateway/upload.ts";
import type { Wire } from "../src/format/wire.ts";
import { cpuSeconds, median } from "./support.ts";
import { benchDeviceKey, benchEntry, benchSize } from "./upload-weights.ts";

/** MB/s by the clock, and MB per CPU second of this thread: the same on a machine with nothing else. */
interface Rate {
  readonly clock: number;
  readonly cpu: number;
}

const limitRounds = 1024;

/** The rate of `work`, which goes once over a chunk of weights. */
function rateOf(work: (chunk: Buffer, round: number) => void): Rate {
  const chunk = Buffer.alloc(limits.weightsChunk, 3);
  const [started, thread] = [performance.now(), process.threadCpuUsage()];
  for (let round = 0; round < limitRounds; round++) work(chunk, round);
  const { user, system } = process.threadCpuUsage(thread);
  const bytes = limitRounds * chunk.length;
  return { clock: bytes / 1e3 / (performance.now() - started), cpu: bytes / (user + system) };
}

const hashRate = (): Rate => rateOf((chunk) => hash("sha256", chunk, "buffer"));

function cipherRate(): Rate {
  const key = createSecretKey(Buffer.alloc(32, 1));
  return rateOf((chunk, round) => {
    const nonce = Buffer.alloc(12);
    nonce.writeUInt32BE(round);
    const cipher = createCipheriv("aes-256-gcm", key, nonce);
    cipher.update(chunk);
    cipher.final();
  });
}

interface Beside {
  readonly child: ChildProcess;
  /** Its first line says that it is up. */
  readonly port: number;
}

/** Starts a process of the bench with a socket pair on its descriptor 3, and waits until it is up. */
function beside(script: string, args: readonly string[]): Promise<Beside> {
  const child = spawn(process.execPath, [script, ...args], {
    stdio: ["ignore", "pipe", "inherit", "pipe"],
  });
  return new Promise((resolve, reject) => {
    child.once("exit", (code) => {
      reject(new Error(`${script} ended with ${code ?? "a signal"}`));
    });
    if (child.stdout === null) return;
    createInterface({ input: child.stdout }).once("line", (line) => {
      resolve({ child, port: (JSON.parse(line) as { port: number }).port });
    });
  });
}

type Link = "unix" | "tls";

/** The gateway's wire to a depot that was started with the things in `dir`. */
async function dialDepot(link: Link, dir: string, port: number): Promise<Wire> {
  if (link === "tls") {
    const identity = readIdentity(dir, "gateway-bench");
    return dialTls({ host: "127.0.0.1", port, identity, expect: "depot", bulk: true });
  }
  const reads = new BulkReads();
  const socket = connect({ path: join(dir, "depot.sock"), onread: reads.onread });
  await once(socket, "connect");
  return reads.wire(socket, { role: "depot", name: "bench" });
}

interface Run {
  /** MB/s by the clock. */
  readonly rate: number;
  /** MB per CPU second of this process: all its threads, and the busier of main and the others. */
  readonly perCpu: number;
  readonly perBusiest: number;
  /** MB/s if all cores of the machine did nothing but this, and were never idle. */
  readonly allCores: number;
}

/** Measures `work`, which moves the weights, with what `others` spend on it. */
async function measure(others: readonly Beside[], work: () => Promise<unknown>): Promise<Run> {
  const pids = others.map(({ child }) => child.pid ?? 0);
  const spent = (): number => pids.reduce((sum, pid) => sum + cpuSeconds(pid), 0);
  const started = performance.now();
  const [thread, all, beside] = [process.threadCpuUsage(), process.cpuUsage(), spent()];
  await work();
  const seconds = (performance.now() - started) / 1000;
  const main = process.threadCpuUsage(thread);
  const total = process.cpuUsage(all);
  const mainMicros = main.user + main.system;
  const micros = total.user + total.system;
  const everyone = micros / 1e6 + spent() - beside;
  return {
    rate: benchSize / 1e6 / seconds,
    perCpu: benchSize / micros,
    perBusiest: benchSize / Math.max(mainMicros, micros - mainMicros),
    allCores: (benchSize / 1e6 / everyone) * availableParallelism(),
  };
}

async function uploadRun(link: Link, dir: string): Promise<Run> {
  const at = link === "tls" ? dir : join(dir, "depot.sock");
  const depot = await beside("bench/upload-depot.ts", [link, at]);
  const sink = await beside("bench/upload-sink.ts", []);
  const socket = sink.child.stdio[3];
  if (!(socket instanceof Socket)) throw new Error("no socket pair");
  const server = wireOver(socket, { role: "server", name: "bench" });
  const entry = benchEntry();
  const boot = new BootSecret({
    ...{ gateway: "bench", epoch: 1, boot: 1, entryDigest: entry.digest },
    ...{ deviceKey: benchDeviceKey, random: systemRandom },
  });
  const wire = await dialDepot(link, dir, depot.port);
  const run = await measure([depot, sink], async () => {
    const hasher = openChunkHasher();
    await uploadWeights({
      gateway: "bench",
      entry,
      boot,
      connectDepot: () => Promise.resolve(wire),
      server,
      counter: new BitCounter(entry.weights.sizeBytes),
      clock: systemClock,
      stallMs: 60_000,
      hasher,
    });
    await server.drained().catch(() => undefined);
    hasher.close();
  });
  wire.close("the bench is over");
  depot.child.kill();
  sink.child.kill();
  rmSync(join(dir, "depot.sock"), { force: true });
  return run;
}

/** The peer: as many bytes over node:tls into one buffer, looked at by nobody. */
async function bareTlsRun(dir: string): Promise<Run> {
  const sender = await beside("bench/upload-bare.ts", [dir]);
  const all = Promise.withResolvers<undefined>();
  let left = benchSize;
  const callback = (length: number): boolean => {
    left -= length;
    if (left <= 0) all.resolve(undefined);
    return true;
  };
  // `onread` is documented for net.connect, whose options tls.connect takes too.
  const reads = { onread: { buffer: Buffer.alloc(1_048_576), callback } };
  const socket = connectTls({
    host: "127.0.0.1",
    port: sender.port,
    ...readIdentity(dir, "gateway-bench"),
    minVersion: "TLSv1.3",
    checkServerIdentity: () => undefined,
    ...reads,
  });
  await once(socket, "secureConnect");
  const run = await measure([sender], () => {
    socket.write("go");
    socket.resume();
    return all.promise;
  });
  socket.destroy();
  sender.child.kill();
  return run;
}

/** Certificates of a depot and a gateway in `dir`, as `readIdentity` wants them. */
async function writeIdentities(dir: string): Promise<void> {
  const authority = await createAuthority("bench", Date.now());
  writeFileSync(join(dir, "ca.crt"), authority.cert);
  for (const role of ["depot", "gateway"] as const) {
    const { cert, key } = await issue(authority, role, "bench", Date.now());
    writeFileSync(join(dir, `${role}-bench.crt`), cert);
    writeFileSync(join(dir, `${role}-bench.key`), key, { mode: 0o600 });
  }
}

const round = (value: number | undefined): string => (value ?? NaN).toFixed(0);

const what = { unix: "Unix socket", tls: "mutual TLS 1.3", bare: "node:tls alone (peer)" } as const;
type What = keyof typeof what;

/** MB/s of the upload and of its two limits on one core, and the ratio to the slower; by link. */
export async function benchUpload(reps: number, say: (text: string) => void): Promise<object[]> {
  const dir = mkdtempSync(join(tmpdir(), "weir-bench-"));
  const [hashes, ciphers]: [Rate[], Rate[]] = [[], []];
  const runs: Record<What, Run[]> = { unix: [], tls: [], bare: [] };
  const order: readonly What[] = ["unix", "tls", "bare"];
  try {
    await writeIdentities(dir);
    for (let rep = 0; rep < reps; rep++) {
      hashes.push(hashRate());
      ciphers.push(cipherRate());
      const shown = (rate: Rate | undefined): string =>
        `${round(rate?.clock)} (${round(rate?.cpu)})`;
      say(
        `rep ${rep + 1}: MB/s (per CPU s): sha256 ${shown(hashes.at(-1))}, aes ${shown(ciphers.at(-1))}`,
      );
      for (const name of order) {
        const run = name === "bare" ? await bareTlsRun(dir) : await uploadRun(name, dir);
        runs[name].push(run);
        const cpu = `${round(run.perCpu)} (busier thread ${round(run.perBusiest)})`;
        say(
          `  ${name}: ${round(run.rate)} MB/s of ${round(run.allCores)}; ${cpu} MB per CPU second`,
        );
      }
    }
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
  const [sha, gcm] = [hashes, ciphers].map((rates) => ({
    clock: median(rates.map(({ clock }) => clock)),
    cpu: median(rates.map(({ cpu }) => cpu)),
  }));
  assert.ok(sha !== undefined && gcm !== undefined);
  const slower = { clock: Math.min(sha.clock, gcm.clock), cpu: Math.min(sha.cpu, gcm.cpu) };
  return order.map((name) => {
    const of = (pick: (run: Run) => number): number => median(runs[name].map(pick));
    const upload = of(({ rate }) => rate);
    return {
      "depot link": what[name],
      "MB/s": upload,
      "all cores MB/s": of(({ allCores }) => allCores),
      "SHA-256 MB/s": sha.clock,
      "AES-256-GCM MB/s": gcm.clock,
      "MB/s / slower (aim >= 0.7)": upload / slower.clock,
      "CPU, busier thread / slower": of(({ perBusiest }) => perBusiest) / slower.cpu,
      "CPU, all threads / slower": of(({ perCpu }) => perCpu) / slower.cpu,
      "1 TB, minutes": 1e6 / upload / 60,
    };
  });
}
