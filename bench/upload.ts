/**
 * Bench 2: the weights path. The real upload code (chunk proofs checked, bits counted) between a depot
 * process and a sink process over Unix sockets, against SHA-256 and AES-256-GCM on one core in the
 * same run. The sink stands for the server's end of the link.
 */
import { createCipheriv, createSecretKey, hash } from "node:crypto";
import { spawn, type ChildProcess } from "node:child_process";
import { Socket } from "node:net";
import { systemClock } from "../src/adapter/clock.ts";
import { wireOver } from "../src/adapter/link.ts";
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

/** A helper process at the other end of a socket pair on its descriptor 3. */
function beside(script: string, name: "depot" | "server"): { child: ChildProcess; wire: Wire } {
  const child = spawn(process.execPath, [script], {
    stdio: ["ignore", "inherit", "inherit", "pipe"],
  });
  const socket = child.stdio[3];
  if (!(socket instanceof Socket)) throw new Error("no socket pair");
  return { child, wire: wireOver(socket, { role: name, name: "bench" }) };
}

async function uploadRate(): Promise<number> {
  const depot = beside("bench/upload-depot.ts", "depot");
  const sink = beside("bench/upload-sink.ts", "server");
  const entry = benchEntry();
  // Both processes are up when they have answered a first upload of nothing: give them their time.
  await new Promise((resolve) => setTimeout(resolve, 2500));
  const started = performance.now();
  await uploadWeights({
    gateway: "bench",
    entry,
    depot: depot.wire,
    server: sink.wire,
    counter: new BitCounter(entry.weights.sizeBytes),
    clock: systemClock,
    stallMs: 60_000,
  });
  await sink.wire.drained().catch(() => undefined);
  const rate = benchSize / 1e6 / ((performance.now() - started) / 1000);
  depot.child.kill();
  sink.child.kill();
  return rate;
}

/** MB/s of the upload and of its two limits on one core, and the ratio to the slower. */
export async function benchUpload(reps: number, say: (text: string) => void): Promise<object[]> {
  const [uploads, hashes, ciphers]: [number[], number[], number[]] = [[], [], []];
  for (let rep = 0; rep < reps; rep++) {
    hashes.push(hashRate());
    ciphers.push(cipherRate());
    uploads.push(await uploadRate());
    say(
      `rep ${rep + 1}: upload ${uploads.at(-1)}, sha256 ${hashes.at(-1)}, aes-256-gcm ${ciphers.at(-1)} MB/s`,
    );
  }
  const [upload, sha, gcm] = [median(uploads), median(hashes), median(ciphers)];
  return [
    {
      "upload MB/s": upload,
      "SHA-256 MB/s": sha,
      "AES-256-GCM MB/s": gcm,
      "upload / slower (aim >= 0.7)": upload / Math.min(sha, gcm),
      "1 TB takes, minutes": 1e6 / upload / 60,
    },
  ];
}
