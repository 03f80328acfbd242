import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { after, test } from "node:test";
import { UnavailableError } from "../../base/assert.ts";
import type { Logger } from "../../base/report.ts";
import { encodeFrame, frameType } from "../../format/link.ts";
import type { Wire } from "../../format/wire.ts";
import { createAuthority, issue } from "../pki.ts";
import { packageRoot } from "../sandbox/layout.ts";
import { dialTls, readIdentity, type TlsIdentity } from "../tls.ts";
import { bridgeWires } from "./bridge.ts";
import { remotePower, type RemotePower, type RemotePowerOptions } from "./remote.ts";

const directory = mkdtempSync(`${tmpdir()}/weir-remote-`);
const authority = await createAuthority("test", Date.now());
writeFileSync(`${directory}/ca.crt`, authority.cert);
const quiet: Logger = { log: () => undefined };

async function identity(role: "gateway" | "server", name: string): Promise<TlsIdentity> {
  const pair = await issue(authority, role, name, Date.now());
  writeFileSync(`${directory}/${role}-${name}.crt`, pair.cert);
  writeFileSync(`${directory}/${role}-${name}.key`, pair.key);
  return readIdentity(directory, `${role}-${name}`);
}

const gateway = await identity("gateway", "g1");
const server = await identity("server", "s1");
const stranger = await identity("server", "s2");

after(() => {
  rmSync(directory, { recursive: true, force: true });
});

async function listening(more: Partial<RemotePowerOptions> = {}): Promise<RemotePower> {
  return remotePower({
    name: "s1",
    host: "127.0.0.1",
    port: 0,
    identity: gateway,
    logger: quiet,
    onTimeoutMs: 10_000,
    commandTimeoutMs: 10_000,
    ...more,
  });
}

function dial(power: RemotePower, as: TlsIdentity): Promise<Wire> {
  return dialTls({ host: "127.0.0.1", port: power.port, identity: as, expect: "gateway" });
}

function closed(wire: Wire): Promise<string> {
  return new Promise((resolve) => {
    wire.onClose(resolve);
    wire.onFrame(() => undefined);
  });
}

test("remote power: on, frames both ways, kill -> the link drops and gone tells", async () => {
  const power = await listening();
  try {
    const [powered, far] = await Promise.all([power.on(), dial(power, server)]);
    const heard = new Promise<number>((resolve) => {
      powered.wire.onFrame((frame) => {
        resolve(frame.type);
      });
    });
    far.send(frameType.ping, 1n);
    assert.equal(await heard, frameType.ping);
    const dropped = closed(far);
    await powered.kill();
    assert.equal(await powered.gone, "power was cut");
    await dropped;
    await powered.kill();
    assert.equal(powered.isolation.kind, "remote");
    assert.match(power.simulated, /trusts the server's host/);
  } finally {
    await power.close();
  }
});

test("remote power: another server, or a second one -> refused", async () => {
  const power = await listening();
  try {
    await closed(await dial(power, stranger));
    const [powered, first] = await Promise.all([power.on(), dial(power, server)]);
    await closed(await dial(power, server));
    assert.equal(powered.wire.closed, false);
    assert.equal(first.closed, false);
  } finally {
    await power.close();
  }
});

test("remote power: nobody connects -> on rejects as unavailable", async () => {
  const power = await listening({ onTimeoutMs: 20 });
  try {
    await assert.rejects(power.on(), (error) => {
      return error instanceof UnavailableError && error.code === "power.on";
    });
  } finally {
    await power.close();
  }
});

test("remote power: commands -> run at on and at kill; a failing one rejects with unknown effect", async () => {
  const touch = (name: string): string[] => {
    const write = `require("node:fs").writeFileSync(${JSON.stringify(`${directory}/${name}`)}, "")`;
    return [process.execPath, "-e", write];
  };
  const power = await listening({ powerOn: touch("on"), powerOff: touch("off") });
  const broken = await listening({ powerOff: [process.execPath, "-e", "process.exit(3)"] });
  try {
    assert.equal(power.simulated, "");
    await power.off?.();
    assert.ok(existsSync(`${directory}/off`)); // whatever an earlier run left on
    rmSync(`${directory}/off`);
    const [powered] = await Promise.all([power.on(), dial(power, server)]);
    assert.ok(existsSync(`${directory}/on`) && !existsSync(`${directory}/off`));
    await powered.kill();
    assert.ok(existsSync(`${directory}/off`));
    const [other] = await Promise.all([broken.on(), dial(broken, server)]);
    await assert.rejects(other.kill(), (error) => {
      return error instanceof UnavailableError && error.effect === "unknown";
    });
  } finally {
    await power.close();
    await broken.close();
  }
});

test("bridge: a slow side -> reading stops, nothing is lost or reordered", async () => {
  const [left, right] = [await listening(), await listening()];
  try {
    const [a, aFar] = await Promise.all([left.on(), dial(left, server)]);
    const [b, bFar] = await Promise.all([right.on(), dial(right, server)]);
    bridgeWires(a.wire, b.wire);
    const [count, payload] = [64, Buffer.alloc(1_000_000, 1)];
    let next = 0n;
    const all = new Promise<void>((resolve) => {
      bFar.onFrame((frame) => {
        assert.equal(frame.id, next++);
        assert.equal(frame.payload.length, payload.length);
        if (next === BigInt(count)) resolve();
      });
    });
    // The far end does not read yet: what is sent must not pile up between the two.
    bFar.pause();
    for (let id = 0; id < count; id++)
      aFar.sendRaw(encodeFrame(frameType.loadChunk, BigInt(id), payload));
    while (b.wire.backlog === 0) await new Promise(setImmediate);
    for (let turn = 0; turn < 1000; turn++) await new Promise(setImmediate);
    assert.ok(b.wire.backlog < 4 * payload.length, `backlog is ${b.wire.backlog}`);
    bFar.resume();
    await all;
    const dropped = closed(bFar);
    aFar.close("done");
    await dropped;
  } finally {
    await left.close();
    await right.close();
  }
});

test("weir server: dials its gateway, boxes the agent in, starts anew after a kill, stops cleanly", async () => {
  const power = await listening();
  const program = `${packageRoot}/src/bin/weir.ts`;
  const flags = ["--gateway", `127.0.0.1:${power.port}`, "--identity", directory, "--name", "s1"];
  // Where nothing isolates, the bridge is still tested; the isolation has tests of its own.
  const { detectSandbox } = await import("../sandbox/detect.ts");
  const without = (await detectSandbox()).kind === "off" ? ["--no-sandbox"] : [];
  const args = [program, "server", ...flags, ...without, "--json"];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"] });
  child.stderr.resume();
  try {
    const [line] = (await once(child.stdout, "data")) as [Buffer];
    assert.match(line.toString(), /"event":"ready","isolation":"(bubblewrap|unshare|off)"/);
    for (let life = 0; life < 2; life++) {
      const powered = await power.on();
      const answered = new Promise<void>((resolve) => {
        powered.wire.onFrame((frame) => {
          if (frame.type === frameType.pong) resolve();
        });
      });
      powered.wire.send(frameType.ping, 5n);
      await answered;
      await powered.kill();
    }
    child.kill("SIGTERM");
    const [code] = (await once(child, "exit")) as [number];
    assert.equal(code, 0);
  } finally {
    child.kill("SIGKILL");
    await power.close();
  }
});
