/** Processes, CPU accounting and load for the benches. */
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";

export interface Started {
  readonly child: ChildProcess;
  readonly pid: number;
  readonly port: number;
  stop(): Promise<void>;
}

/** Starts a script that prints one JSON line with its port, and ends when its stdin closes. */
export function start(script: string, args: readonly string[] = []): Promise<Started> {
  const child = spawn(process.execPath, [script, ...args], { stdio: ["pipe", "pipe", "pipe"] });
  const errors: string[] = [];
  child.stderr.on("data", (text: Buffer) => {
    errors.push(text.toString());
    if (errors.length > 200) errors.shift();
  });
  return new Promise((resolve, reject) => {
    child.once("exit", (code) => {
      reject(
        new Error(`${script} ended with ${code ?? "a signal"}: ${errors.join("").slice(-2000)}`),
      );
    });
    createInterface({ input: child.stdout }).on("line", (line) => {
      const { port } = JSON.parse(line) as { port?: number };
      if (port === undefined || child.pid === undefined) return;
      const stop = (): Promise<void> =>
        new Promise((done) => {
          child.once("exit", () => done());
          if (child.exitCode !== null || child.signalCode !== null) done();
          child.kill("SIGTERM");
        });
      resolve({ child, pid: child.pid, port, stop });
    });
  });
}

/** User plus system CPU time of a process and its threads, in seconds (clock ticks of 10 ms). */
export function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

export function has(command: string): boolean {
  return spawnSync("sh", ["-c", `command -v ${command}`]).status === 0;
}

export interface WrkResult {
  readonly requests: number;
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly errors: number;
}

const units: Readonly<Record<string, number>> = { us: 0.001, ms: 1, s: 1000 };

function latency(output: string, percent: string): number {
  const match = new RegExp(`${percent}%\\s+([\\d.]+)(us|ms|s)`).exec(output);
  return Number(match?.[1] ?? NaN) * (units[match?.[2] ?? ""] ?? NaN);
}

/** Runs wrk with the given Lua script of one request. Asynchronous, so that the bench can measure. */
export function wrk(
  url: string,
  lua: string,
  connections: number,
  seconds: number,
): Promise<WrkResult> {
  const args = [
    "-t1",
    `-c${connections}`,
    `-d${seconds}s`,
    "--latency",
    "--timeout",
    "30s",
    "-s",
    lua,
    url,
  ];
  const child = spawn("wrk", args, { stdio: ["ignore", "pipe", "inherit"] });
  let output = "";
  child.stdout.on("data", (text: Buffer) => {
    output += text.toString();
  });
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", () => {
      const requests = Number(/(\d+) requests in/.exec(output)?.[1] ?? NaN);
      const perSecond = Number(/Requests\/sec:\s+([\d.]+)/.exec(output)?.[1] ?? NaN);
      const socket = /Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)/.exec(
        output,
      );
      const bad = Number(/Non-2xx or 3xx responses: (\d+)/.exec(output)?.[1] ?? 0);
      const errors = bad + (socket?.slice(1).reduce((sum, text) => sum + Number(text), 0) ?? 0);
      const p50Ms = latency(output, "50");
      resolve({ requests, perSecond, p50Ms, p99Ms: latency(output, "99"), errors });
    });
  });
}

export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? NaN;
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}
