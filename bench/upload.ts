/**
 * Bench 2: the weights path. The real upload code (chunk proofs checked, bits counted) between a depot
 * process and a sink process, against SHA-256 and AES-256-GCM on one core in the same run. The depot
 * is reached over a Unix socket, and over mutual TLS as in a site. The sink stands for the server's
 * end of the link. The ratio by CPU time says what a gateway with a core of its own would do: by the
 * clock, three processes share whatever cores the machine has.
 */
import { createCipheriv, createSecretKey, hash } from "node:crypto";
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect, Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { systemClock } from "../src/adapter/clock.ts";
import { BulkReads, wireOver } from "../src/adapter/link.ts";
import { createAuthority, issue } from "../src/adapter/pki.ts";
import { dialTls, readIdentity } from "../src/adapter/tls.ts";
import { limits } from "../src/base/limits.ts";
import { BitCounter } from "../src/gateway/counter.ts";
import { uploadWeights } from "../src/gateway/upload.ts";
import type { Wire } from "../src/format/wire.ts";
import { median } from "./support.ts";
import { benchEntry, benchSize } from "./upload-weights.ts";

function hashRate(): number {
  const chunk = Buffer.alloc(limits.weightsChunk, 3);
  const started = performance.now();
  const rounds = 1024;
  for (let i = 0; i < rounds; i++) hash("sha256", chunk, "buffer");
  return (rounds * chunk.length) / 1e6 / ((performance.now() - started) / 1000);
}

function cipherRate(): number {
  const chunk = Buffer.alloc(limits.weightsChunk, 3);
  const key = createSecretKey(Buffer.alloc(32, 1));
  const started = performance.now();
  const rounds = 1024;
  for (let i = 0; i < rounds; i++) {
    const nonce = Buffer.alloc(12);
    nonce.writeUInt32BE(i);
    const cipher = createCipheriv("aes-256-gcm", key, nonce);
    cipher.update(chunk);
    cipher.final();
  }
  return (rounds * chunk.length) / 1e6 / ((performance.now() - started) / 1000);
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
  /** MB/s by the clock, and MB per second of this process's CPU time (all its threads). */
  readonly rate: number;
  readonly perCpu: number;
}

async function uploadRate(link: Link, dir: string): Promise<Run> {
  const at = link === "tls" ? dir : join(dir, "depot.sock");
  const depot = await beside("bench/upload-depot.ts", [link, at]);
  const sink = await beside("bench/upload-sink.ts", []);
  const socket = sink.child.stdio[3];
  if (!(socket instanceof Socket)) throw new Error("no socket pair");
  const server = wireOver(socket, { role: "server", name: "bench" });
  const entry = benchEntry();
  const wire = await dialDepot(link, dir, depot.port);
  const started = performance.now();
  const before = process.cpuUsage();
  await uploadWeights({
    gateway: "bench",
    entry,
    depot: wire,
    server,
    counter: new BitCounter(entry.weights.sizeBytes),
    clock: systemClock,
    stallMs: 60_000,
  });
  await server.drained().catch(() => undefined);
  const seconds = (performance.now() - started) / 1000;
  const cpu = process.cpuUsage(before);
  wire.close("the bench is over");
  depot.child.kill();
  sink.child.kill();
  rmSync(join(dir, "depot.sock"), { force: true });
  return { rate: benchSize / 1e6 / seconds, perCpu: benchSize / (cpu.user + cpu.system) };
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

/** MB/s of the upload and of its two limits on one core, and the ratio to the slower; by link. */
export async function benchUpload(reps: number, say: (text: string) => void): Promise<object[]> {
  const dir = mkdtempSync(join(tmpdir(), "weir-bench-"));
  const [hashes, ciphers]: [number[], number[]] = [[], []];
  const runs: Record<Link, Run[]> = { unix: [], tls: [] };
  try {
    await writeIdentities(dir);
    for (let rep = 0; rep < reps; rep++) {
      hashes.push(hashRate());
      ciphers.push(cipherRate());
      say(`rep ${rep + 1}: sha256 ${round(hashes.at(-1))}, aes ${round(ciphers.at(-1))} MB/s`);
      for (const link of ["unix", "tls"] as const) {
        const run = await uploadRate(link, dir);
        runs[link].push(run);
        say(`  ${link}: ${round(run.rate)} MB/s, ${round(run.perCpu)} MB per CPU second`);
      }
    }
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
  const [sha, gcm] = [median(hashes), median(ciphers)];
  const slower = Math.min(sha, gcm);
  return (["unix", "tls"] as const).map((link) => {
    const upload = median(runs[link].map(({ rate }) => rate));
    const perCpu = median(runs[link].map((run) => run.perCpu));
    return {
      "depot link": link === "tls" ? "mutual TLS 1.3" : "Unix socket",
      "upload MB/s": upload,
      "SHA-256 MB/s": sha,
      "AES-256-GCM MB/s": gcm,
      "upload / slower (aim >= 0.7)": upload / slower,
      "MB per CPU s of the gateway / slower": perCpu / slower,
      "1 TB takes, minutes": 1e6 / upload / 60,
    };
  });
}
