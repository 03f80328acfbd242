/** Tampering with a gateway of a running site: it ends for good, its neighbour serves on, and a new device is another one. */
import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { checkBootChain } from "../../src/format/boot-certificate.ts";
import type { BootStatus } from "../../src/format/status.ts";
import type { SiteFile } from "../../src/bin/site/site-file.ts";
import { freePorts } from "../ports.ts";

const script = fileURLToPath(new URL("../../src/bin/weir.ts", import.meta.url));
const model = fileURLToPath(new URL("../../models/weir-tiny.gguf", import.meta.url));
const node = ["--disable-warning=ExperimentalWarning", script];

interface Event {
  readonly event: string;
  readonly endpoint: string;
  readonly text?: string;
}

async function weir(...argv: string[]): Promise<{ code: number | null; out: string }> {
  const child = spawn(process.execPath, [...node, ...argv], { stdio: ["ignore", "pipe", "pipe"] });
  let out = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (bytes: Buffer) => (out += bytes.toString()));
  }
  await once(child, "close");
  return { code: child.exitCode, out };
}

/** Starts a site; resolves when it says that it is up. */
async function up(data: string): Promise<{ child: ChildProcess; event: Event; notes: string[] }> {
  const ports = await freePorts();
  const options = [
    "--data",
    data,
    "--model",
    model,
    "--servers",
    "2",
    "--sandbox",
    "off",
    ...ports,
  ];
  const child = spawn(process.execPath, [...node, "up", ...options, "--json", "--die-with-stdin"], {
    stdio: ["pipe", "pipe", "pipe"],
  });
  let err = "";
  child.stderr.on("data", (bytes: Buffer) => (err += bytes.toString()));
  const notes: string[] = [];
  const event = await new Promise<Event>((resolve, reject) => {
    createInterface({ input: child.stdout }).on("line", (line) => {
      const said = JSON.parse(line) as Event;
      notes.push(line);
      if (said.event === "up") resolve(said);
    });
    child.once("close", () => {
      reject(new Error(`weir up ended: ${err}`));
    });
  });
  return { child, event, notes };
}

function site(data: string): SiteFile {
  return JSON.parse(readFileSync(join(data, "site.json"), "utf8")) as SiteFile;
}

async function phaseOf(data: string, name: string, wanted: string): Promise<void> {
  const deadline = performance.now() + 60_000;
  for (;;) {
    const role = site(data).roles.find((candidate) => candidate.key === `gateway-${name}`);
    if (role?.phase === wanted) return;
    assert.ok(performance.now() < deadline, `${name} is ${role?.phase ?? "?"}, never ${wanted}`);
    await sleep(100);
  }
}

async function bootOf(data: string, name: string): Promise<BootStatus> {
  const { out } = await weir("status", "--data", data, "--json");
  const text = new RegExp(`"name": "${name}",[^]*?"boot": (\\{[^}]*\\})`).exec(out)?.[1];
  assert.ok(text !== undefined, out.slice(0, 2000));
  return JSON.parse(text) as BootStatus;
}

async function ask(endpoint: string): Promise<string> {
  const body = {
    model: "weir-tiny",
    max_tokens: 8,
    messages: [{ role: "user", content: "Hello." }],
  };
  const response = await fetch(`${endpoint}/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json", connection: "close" },
    body: JSON.stringify(body),
  });
  const text = await response.text();
  assert.equal(response.status, 200, text);
  return text;
}

async function stop(child: ChildProcess): Promise<void> {
  child.kill("SIGTERM");
  if (child.exitCode === null) await once(child, "close");
}

test("tamper: the lid of one gateway -> its server is off, its device gone for good; the other serves on", async (t) => {
  const root = mkdtempSync(join(tmpdir(), "weir-tamper-"));
  const data = join(root, "site");
  let running: ChildProcess | null = null;
  t.after(async () => {
    if (running !== null) await stop(running);
    rmSync(root, { recursive: true, force: true });
  });
  const first = await up(data);
  running = first.child;
  assert.match(first.notes.join(), /device g1: a simulated PUF, made in a ceremony/);
  assert.match(await ask(first.event.endpoint), /chatcmpl/);

  // What ran, as anybody with transcript and manifest checks it.
  const boot = await bootOf(data, "g1");
  const { result } = JSON.parse(readFileSync(join(data, "devices/g1/ceremony.json"), "utf8")) as {
    result: { identity: string };
  };
  assert.equal(boot.state, "RUNNING");
  checkBootChain("g1", { identity: result.identity, measurement: boot.measurement }, boot);
  const impostor = { ...boot, device: boot.log };
  assert.throws(
    () =>
      checkBootChain("g1", { identity: result.identity, measurement: boot.measurement }, impostor),
    { code: "boot.attestation" },
  );

  // A thief keeps everything that lies on disk but the cells, which in silicon no one can copy.
  const kept = join(root, "kept");
  cpSync(data, kept, { recursive: true });
  rmSync(join(kept, "devices/g1/cells.json"));

  assert.equal((await weir("tamper", "g1", "lid", "--data", data)).code, 0);
  await phaseOf(data, "g1", "bricked");
  assert.match(
    readFileSync(join(data, "logs/gateway-g1.log"), "utf8"),
    /BRICKED: the lid was opened/,
  );
  assert.match(await ask(first.event.endpoint), /chatcmpl-g2\./);
  assert.match((await weir("status", "--data", data)).out, /BRICKED/);
  await stop(first.child);

  // Everything is put back as it was, and the sensors say that all is well.
  for (const part of ["gateways/g1", "devices/g1"]) {
    const cells = readFileSync(join(data, "devices/g1/cells.json"));
    rmSync(join(data, part), { recursive: true });
    cpSync(join(kept, part), join(data, part), { recursive: true });
    if (part.startsWith("devices")) {
      (await import("node:fs")).writeFileSync(join(data, part, "cells.json"), cells);
    }
  }
  const second = await up(data);
  running = second.child;
  assert.match(second.notes.join(), /gateway-g1 is BRICKED/);
  await phaseOf(data, "g1", "bricked");
  assert.match(await ask(second.event.endpoint), /chatcmpl-g2\./);
  await stop(second.child);

  // A new ceremony is a new device; what the old one kept is put aside and stays shut.
  const renewed = await weir("ceremony", "renew", "g1", "--data", data);
  assert.equal(renewed.code, 0, renewed.out);
  assert.ok(readdirSync(join(data, "gateways")).some((name) => name.startsWith("g1.of-")));
  assert.ok(!existsSync(join(data, "gateways/g1")));
  const third = await up(data);
  running = third.child;
  const anew = await bootOf(data, "g1");
  assert.notEqual(anew.identity, boot.identity);
  assert.notEqual(anew.device, boot.device);
  assert.equal(anew.measurement, boot.measurement);
});
