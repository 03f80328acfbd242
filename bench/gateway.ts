/**
 * Bench 1: router and gateway, doing their full duty, against a bare node:http reverse proxy, an undici
 * proxy and nginx, in one run, interleaved. The server is a stub everywhere. See docs/PERFORMANCE.md.
 *
 *   json     closed loop, `connections` at once: requests/s and CPU per request
 *   burst    closed loop, streams of 200 chunks as fast as they go: streams/s, CPU per chunk
 *   paced    streams of 200 chunks, one every 10 ms: CPU per chunk
 *   latency  open loop at a low rate (Poisson): latency added at the median and the 99th percentile
 */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { Agent, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startSite } from "./site.ts";
import { cpuSeconds, has, median, quantile, start, wrk, type WrkResult } from "./support.ts";

interface Target {
  readonly name: string;
  readonly url: string;
  /** Processes whose CPU counts. */
  readonly pids: readonly number[];
}

interface Sample {
  readonly perSecond: number;
  readonly cpuMicros: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly errors: number;
}

const chunksPerStream = 200;
const filler = "lorem ipsum dolor sit amet ".repeat(66);

function body(kind: "json" | "burst" | "paced"): string {
  return JSON.stringify({
    model: "bench",
    messages: [{ role: "user", content: `${kind} ${filler}` }],
    max_tokens: 600,
    ...(kind === "json" ? {} : { stream: true }),
  });
}

function luaFile(dir: string, kind: "json" | "burst"): string {
  const path = join(dir, `${kind}.lua`);
  const text = `wrk.method = "POST"\nwrk.path = "/v1/chat/completions"\nwrk.headers["content-type"] = "application/json"\nwrk.body = [==[${body(kind)}]==]\n`;
  writeFileSync(path, text);
  return path;
}

function cpuOf(target: Target): number {
  return target.pids.reduce((sum, pid) => sum + cpuSeconds(pid), 0);
}

async function loop(
  target: Target,
  lua: string,
  connections: number,
  seconds: number,
): Promise<Sample> {
  const before = cpuOf(target);
  const result: WrkResult = await wrk(target.url, lua, connections, seconds);
  const cpu = cpuOf(target) - before;
  return { ...result, cpuMicros: (1e6 * cpu) / result.requests };
}

function post(url: string, text: string, agent: Agent): Promise<number> {
  const started = performance.now();
  return new Promise((resolve, reject) => {
    const asked = request(
      `${url}/v1/chat/completions`,
      { method: "POST", agent, headers: { "content-type": "application/json" } },
      (reply) => {
        reply.on("data", () => undefined);
        reply.on("end", () => {
          if (reply.statusCode === 200) resolve(performance.now() - started);
          else reject(new Error(`status ${String(reply.statusCode)}`));
        });
        reply.on("error", reject);
      },
    );
    asked.on("error", reject);
    asked.end(text);
  });
}

/** Open loop: arrivals do not wait for replies, so a tick cannot synchronise them. */
async function latency(target: Target, perSecond: number, seconds: number): Promise<number[]> {
  const agent = new Agent({ keepAlive: true, maxSockets: 64 });
  const text = body("json");
  await Promise.all(Array.from({ length: 8 }, () => post(target.url, text, agent)));
  const pending: Promise<number>[] = [];
  const end = performance.now() + 1000 * seconds;
  let next = performance.now();
  while (next < end) {
    next += (-1000 * Math.log(1 - Math.random())) / perSecond;
    const wait = next - performance.now();
    if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
    pending.push(post(target.url, text, agent));
  }
  const all = await Promise.all(pending);
  agent.destroy();
  return all;
}

async function paced(target: Target, streams: number): Promise<number> {
  const agent = new Agent({ keepAlive: true, maxSockets: streams });
  const text = body("paced");
  await post(target.url, body("json"), agent);
  const before = cpuOf(target);
  await Promise.all(Array.from({ length: streams }, () => post(target.url, text, agent)));
  const cpu = cpuOf(target) - before;
  agent.destroy();
  return (1e6 * cpu) / (streams * chunksPerStream);
}

interface Nginx {
  readonly target: Target;
  stop(): void;
}

async function startNginx(dir: string, upstream: number): Promise<Nginx | null> {
  if (!has("nginx")) return null;
  const port = 20_000 + Math.floor(Math.random() * 10_000);
  const temp = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
    .map((name) => `${name}_temp_path ${dir}/${name};`)
    .join(" ");
  writeFileSync(
    join(dir, "nginx.conf"),
    `daemon off; worker_processes 1; pid ${dir}/nginx.pid; error_log ${dir}/error.log;
events { worker_connections 4096; }
http { access_log off; ${temp}
upstream u { server 127.0.0.1:${upstream}; keepalive 256; }
server { listen 127.0.0.1:${port}; location / { proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; } } }
`,
  );
  const child = spawn("nginx", ["-c", join(dir, "nginx.conf"), "-p", dir], { stdio: "inherit" });
  await new Promise((resolve) => setTimeout(resolve, 700));
  const { execFileSync } = await import("node:child_process");
  const workers = execFileSync("pgrep", ["-P", String(child.pid)])
    .toString()
    .trim()
    .split("\n");
  const pids = [child.pid ?? 0, ...workers.map(Number)];
  return {
    target: { name: "nginx", url: `http://127.0.0.1:${port}`, pids },
    stop: () => child.kill("SIGTERM"),
  };
}

interface Row {
  readonly name: string;
  readonly jsonPerSecond: number;
  readonly jsonCpuMicros: number;
  readonly burstStreamsPerSecond: number;
  readonly burstCpuPerChunk: number;
  readonly pacedCpuPerChunk: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly errors: number;
}

export interface GatewayBenchOptions {
  readonly reps: number;
  readonly seconds: number;
  readonly connections: number;
  readonly tickMs: number;
  readonly say: (text: string) => void;
}

async function measure(target: Target, dir: string, o: GatewayBenchOptions): Promise<Row> {
  // Compilers and caches first: neither is what is measured.
  await loop(target, luaFile(dir, "json"), o.connections, 2);
  const json = await loop(target, luaFile(dir, "json"), o.connections, o.seconds);
  const burst = await loop(target, luaFile(dir, "burst"), o.connections, o.seconds);
  const pacedCpu = await paced(target, 100);
  const times = await latency(target, 40, o.seconds);
  return {
    name: target.name,
    jsonPerSecond: json.perSecond,
    jsonCpuMicros: json.cpuMicros,
    burstStreamsPerSecond: burst.perSecond,
    burstCpuPerChunk: burst.cpuMicros / chunksPerStream,
    pacedCpuPerChunk: pacedCpu,
    p50Ms: median(times),
    p99Ms: quantile(times, 0.99),
    errors: json.errors + burst.errors,
  };
}

function medians(rows: readonly Row[]): Row {
  const of = (pick: (row: Row) => number): number => median(rows.map(pick));
  return {
    name: rows[0]?.name ?? "",
    jsonPerSecond: of((row) => row.jsonPerSecond),
    jsonCpuMicros: of((row) => row.jsonCpuMicros),
    burstStreamsPerSecond: of((row) => row.burstStreamsPerSecond),
    burstCpuPerChunk: of((row) => row.burstCpuPerChunk),
    pacedCpuPerChunk: of((row) => row.pacedCpuPerChunk),
    p50Ms: of((row) => row.p50Ms),
    p99Ms: of((row) => row.p99Ms),
    errors: rows.reduce((sum, row) => sum + row.errors, 0),
  };
}

/** Runs bench 1; returns one row of medians per target. */
export async function benchGateway(o: GatewayBenchOptions): Promise<Row[]> {
  if (!has("wrk")) throw new Error("this bench needs wrk: apt-get install wrk nginx-light");
  const dir = mkdtempSync(join(tmpdir(), "weir-bench-load-"));
  const stub = await start("bench/stub-upstream.ts");
  const bare = await start("bench/peers/node-proxy.ts", [String(stub.port)]);
  const undici = await start("bench/peers/undici-proxy.ts", [String(stub.port)]);
  const nginx = await startNginx(dir, stub.port);
  const site = await startSite(o.tickMs);
  const targets: Target[] = [
    { name: "direct", url: `http://127.0.0.1:${stub.port}`, pids: [] },
    { name: "node:http proxy", url: `http://127.0.0.1:${bare.port}`, pids: [bare.pid] },
    { name: "undici proxy", url: `http://127.0.0.1:${undici.port}`, pids: [undici.pid] },
    ...(nginx === null ? [] : [nginx.target]),
    { name: "weir (router+gateway)", url: site.url, pids: [site.routerPid, site.gatewayPid] },
  ];
  const rows = new Map<string, Row[]>(targets.map((target) => [target.name, []]));
  try {
    for (let rep = 0; rep < o.reps; rep++) {
      for (const target of targets) {
        const row = await measure(target, dir, o);
        rows.get(target.name)?.push(row);
        o.say(`rep ${rep + 1} ${JSON.stringify(row)}`);
      }
    }
    o.say(`${site.proofs()} proof requests were sent, each answered`);
  } finally {
    await site.stop();
    nginx?.stop();
    await bare.stop();
    await undici.stop();
    await stub.stop();
    rmSync(dir, { recursive: true, force: true });
  }
  return [...rows.values()].map(medians);
}
