/** A site for the gateway bench: real router and gateway processes, a stub server, a stub recomputer. */
import { spawn, type ChildProcess } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { createAuthority, issue } from "../src/adapter/pki.ts";
import { listenTls, readIdentity, type Listener } from "../src/adapter/tls.ts";
import { openWeightsFile } from "../src/adapter/weights-file.ts";
import { limits } from "../src/base/limits.ts";
import { frameType } from "../src/format/link.ts";
import { encodeHeartbeat } from "../src/format/proof-request.ts";
import type { PeerRole, Wire } from "../src/format/wire.ts";
import { testDepot } from "../tests/sealing.ts";
import { partyKeys, rootAnchor, rootFile, whitelisted } from "../tests/support.ts";

export interface BenchSite {
  readonly url: string;
  readonly routerPid: number;
  readonly gatewayPid: number;
  readonly tickMs: number;
  proofs(): number;
  stop(): Promise<void>;
}

const epsilon = 0.01;

async function makeKeys(dir: string): Promise<void> {
  mkdirSync(dir);
  const authority = await createAuthority("bench", Date.now());
  writeFileSync(join(dir, "ca.crt"), authority.cert);
  const peers: readonly [PeerRole, string][] = [
    ["gateway", "g1"],
    ["router", "r1"],
    ["depot", "d1"],
    ["recomputer", "c1"],
  ];
  for (const [role, name] of peers) {
    const { cert, key } = await issue(authority, role, name, Date.now());
    writeFileSync(join(dir, `${role}-${name}.crt`), cert);
    writeFileSync(join(dir, `${role}-${name}.key`), key);
  }
  writeFileSync(join(dir, "ring.key"), "42".repeat(32));
}

/** Starts a role in a process of its own; resolves with its pid and port. */
function role(
  module: string,
  run: string,
  config: Record<string, unknown>,
  file: string,
): Promise<{ child: ChildProcess; pid: number; port: number }> {
  writeFileSync(file, JSON.stringify(config));
  const code = `import("./src/bin/${module}.ts").then(async (m) => process.exit(await m.${run}(process.argv.slice(1))))`;
  const args = ["--input-type=module", "-e", code, "--", "--config", file];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  return new Promise((resolve, reject) => {
    child.once("exit", (status) => reject(new Error(`${module} ended with ${String(status)}`)));
    createInterface({ input: child.stdout }).once("line", (line) => {
      const { port } = JSON.parse(line) as { port: number };
      resolve({ child, pid: child.pid ?? 0, port });
    });
  });
}

function passAll(wire: Wire, count: () => void): void {
  wire.onFrame((frame) => {
    if (frame.type !== frameType.proofRequest) return;
    count();
    wire.send(frameType.verdict, frame.id, Buffer.from("pass"));
  });
  const beat = setInterval(() => {
    wire.send(frameType.heartbeat, 0n, encodeHeartbeat({ queued: 0, judged: 0n }));
  }, 1000);
  wire.onClose(() => clearInterval(beat));
}

async function untilHealthy(url: string): Promise<void> {
  for (let i = 0; i < 600; i++) {
    const reply = await fetch(`${url}/health`).catch(() => null);
    await reply?.arrayBuffer();
    if (reply?.ok === true) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error("the bench site did not come up");
}

/** Builds and starts the site; it serves the model id "bench". */
export async function startSite(tickMs: number): Promise<BenchSite> {
  const dir = mkdtempSync(join(tmpdir(), "weir-bench-"));
  const keys = join(dir, "keys");
  await makeKeys(keys);
  const weights = Buffer.alloc(100_000, 1);
  writeFileSync(join(dir, "weights"), weights);
  writeFileSync(join(dir, "root.jsonl"), rootFile);
  writeFileSync(
    join(dir, "whitelist.json"),
    whitelisted("bench", weights, limits.weightsChunk).file,
  );
  const model = await openWeightsFile(join(dir, "weights"), "bench");
  const depot = testDepot([model]);
  let proofs = 0;
  const listen = (peer: "depot" | "recomputer", name: string, onWire: (w: Wire) => void) =>
    listenTls({
      host: "127.0.0.1",
      port: 0,
      identity: readIdentity(keys, `${peer}-${name}`),
      accept: ["gateway"],
      onWire,
    });
  const depotPort: Listener = await listen("depot", "d1", (wire) => depot.attachGateway(wire));
  const judge: Listener = await listen("recomputer", "c1", (wire) => passAll(wire, () => proofs++));
  const trusted = {
    identity: keys,
    whitelist: join(dir, "whitelist.json"),
    trustRoot: join(dir, "root.jsonl"),
    rootAnchor,
    logLevel: "error",
  };
  const gateway = await role(
    "gateway",
    "runGateway",
    {
      ...trusted,
      name: "g1",
      listen: "127.0.0.1:0",
      data: join(dir, "data"),
      ringKey: join(keys, "ring.key"),
      model: "bench",
      depot: `127.0.0.1:${depotPort.port}`,
      recomputer: `127.0.0.1:${judge.port}`,
      shutdownKeys: [partyKeys.a],
      releaseKeys: [partyKeys.b],
      epsilon,
      tickMs,
      capacity: 4096,
      ringBytes: 256 * 1_048_576,
      outboxPairs: 1_000_000,
      flickerSeconds: 0,
      power: { kind: "sandbox", sandbox: "off", agent: `${process.cwd()}/bench/stub-agent.ts` },
    },
    join(dir, "gateway.json"),
  );
  const router = await role(
    "router",
    "runRouter",
    { ...trusted, name: "r1", listen: "127.0.0.1:0", gateway: [`g1=127.0.0.1:${gateway.port}`] },
    join(dir, "router.json"),
  );
  const url = `http://127.0.0.1:${router.port}`;
  await untilHealthy(url);
  const end = (child: ChildProcess): Promise<void> =>
    new Promise((resolve) => {
      child.removeAllListeners("exit");
      child.once("exit", () => resolve());
      child.kill("SIGTERM");
    });
  return {
    url,
    tickMs,
    routerPid: router.pid,
    gatewayPid: gateway.pid,
    proofs: () => proofs,
    stop: async () => {
      await end(router.child);
      await end(gateway.child);
      await depotPort.close();
      await judge.close();
      await model.close();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}
