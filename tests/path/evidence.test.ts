/** Evidence end to end: a real site, a cheat in it, a bundle of it made while it runs and after it stopped, and both verifiers. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { test, type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { attackRequest } from "../../src/adversary/agent.ts";
import { evidencePaths } from "../../src/format/evidence.ts";
import { freePorts } from "../ports.ts";

const at = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const flags = ["--disable-warning=ExperimentalWarning", at("src/bin/weir.ts")];
const model = at("models/weir-tiny.gguf");
const tool = at("tools/verify_evidence.py");
const python =
  spawnSync("python3", ["-c", "import sys; assert sys.version_info >= (3, 8)"]).status === 0;

interface Done {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

async function run(program: string, args: readonly string[]): Promise<Done> {
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"] });
  let [out, err] = ["", ""];
  child.stdout.on("data", (bytes: Buffer) => (out += bytes.toString()));
  child.stderr.on("data", (bytes: Buffer) => (err += bytes.toString()));
  await once(child, "close");
  return { code: child.exitCode, out, err };
}

const weir = (...argv: string[]): Promise<Done> => run(process.execPath, [...flags, ...argv]);

function folder(t: TestContext): (name: string) => string {
  const path = mkdtempSync(join(tmpdir(), "weir-evidence-"));
  t.after(() => {
    rmSync(path, { recursive: true, force: true });
  });
  return (name) => join(path, name);
}

interface Running {
  readonly endpoint: string;
  stop(): Promise<void>;
}

/** One server that turns into a cheat on request, and rounds of the draw of one second. */
async function up(t: TestContext, data: string, config: string): Promise<Running> {
  const options = [
    "--data",
    data,
    "--model",
    model,
    "--config",
    config,
    "--json",
    "--die-with-stdin",
  ];
  const more = ["--agent", at("src/bin/adversary-agent.ts"), ...(await freePorts())];
  const child = spawn(process.execPath, [...flags, "up", ...options, ...more], { stdio: "pipe" });
  let err = "";
  child.stderr.on("data", (bytes: Buffer) => (err += bytes.toString()));
  const stop = async (): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill("SIGTERM");
    await once(child, "close");
  };
  t.after(stop);
  const endpoint = await new Promise<string>((resolve, reject) => {
    createInterface({ input: child.stdout }).on("line", (line) => {
      const event = JSON.parse(line) as { event: string; endpoint: string };
      if (event.event === "up") resolve(event.endpoint);
    });
    child.once("close", () => {
      reject(new Error(`weir up ended: ${err}`));
    });
  });
  return { endpoint, stop };
}

async function ask(endpoint: string, content: string): Promise<number> {
  const messages = [{ role: "user", content }];
  const response = await fetch(`${endpoint}/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json", connection: "close" },
    body: JSON.stringify({ model: "weir-tiny", max_tokens: 24, messages }),
  });
  await response.text();
  return response.status;
}

interface Told {
  readonly sound: boolean;
  readonly failure: { readonly code: string } | null;
  readonly figures: { readonly pairs: number; readonly rounds: number; readonly fails: number };
}

async function audit(
  at: (name: string) => string,
  bundle: string,
  ...more: string[]
): Promise<Told> {
  const keys = ["--party-a", at("a.keys"), "--party-b", at("b.keys")];
  const { code, out, err } = await weir("audit", at(bundle), ...keys, "--json", ...more);
  const told = JSON.parse(out) as Told;
  assert.equal(code, told.sound ? 0 : 1, err);
  if (!python) return told;
  const second = await run("python3", ["-B", tool, at(bundle), ...keys, "--json"]);
  const theirs = JSON.parse(second.out) as { sound: boolean; code?: string };
  assert.equal(theirs.sound, told.failure === null);
  assert.equal(theirs.code, told.failure?.code);
  return told;
}

test("evidence: a site with a cheat, exported live and stopped -> sound, the FAIL recomputed; altered -> named", async (t) => {
  const at = folder(t);
  const data = at("data");
  writeFileSync(at("config.json"), JSON.stringify({ servers: 1, epsilon: 1, roundSeconds: 2 }));
  const site = await up(t, data, at("config.json"));
  for (const party of ["a", "b"]) {
    const { code, out, err } = await weir("evidence", "keys", party, "--data", data);
    assert.equal(code, 0, err);
    writeFileSync(at(`${party}.keys`), out);
  }
  assert.equal(await ask(site.endpoint, "an honest story"), 200);
  await ask(site.endpoint, attackRequest("g1", "wrong-seed"));
  for (let i = 0; i < 200 && (await ask(site.endpoint, `story ${i}`)) === 200; i++) await sleep(20);
  // Until the halt has come and a round with its pairs has been revealed and cosigned.
  let live: Told | null = null;
  for (let i = 0; i < 60; i++) {
    await weir("evidence", "export", at(`live-${i}`), "--data", data);
    if (!existsSync(at(`live-${i}`))) continue;
    live = await audit(at, `live-${i}`, "--epsilon-min", "1");
    if (live.figures.fails > 0 && live.figures.rounds > 0) break;
    await sleep(500);
  }
  assert.equal(live?.failure, null);
  await site.stop();

  const exported = await weir("evidence", "export", at("bundle"), "--data", data, "--json");
  assert.equal(exported.code, 0, exported.err);
  const replay = ["--model", model, "--profile", join(data, "profile.json")];
  const told = await audit(at, "bundle", ...replay);
  assert.equal(told.failure, null);
  assert.ok(told.figures.fails > 0 && told.figures.pairs > 1 && told.figures.rounds > 0);
  assert.equal((await audit(at, "bundle", "--strict", ...replay)).sound, false);

  const entries = join(at("bundle"), evidencePaths.entries);
  const bytes = readFileSync(entries);
  bytes[200] = (bytes[200] ?? 0) ^ 1;
  writeFileSync(entries, bytes);
  assert.equal((await audit(at, "bundle")).failure?.code, "manifest.digest");

  const again = await weir("evidence", "export", at("bundle"), "--data", data);
  assert.equal(again.code, 1);
  assert.match(again.err, /there already/);
  assert.deepEqual(
    readdirSync(at(".")).filter((name) => name.startsWith(".bundle")),
    [],
  );
});

test("evidence: wrong usage -> exit code 2 and a word of what is wrong; --help", async (t) => {
  const at = folder(t);
  writeFileSync(at("bad.keys"), "weir party keys/2\n");
  const bad: readonly (readonly [readonly string[], RegExp])[] = [
    [["audit"], /name the folder/],
    [["audit", at("none")], /--party-a is required/],
    [["audit", at("none"), "--party-a", at("bad.keys"), "--party-b", at("bad.keys")], /first line/],
    [["audit", at("none"), "--model", "x"], /given together/],
    [["evidence", "export"], /name the folder/],
    [["evidence", "keys", "c"], /"a" or "b"/],
    [["evidence", "frobnicate"], /there is no/],
  ];
  for (const [argv, words] of bad) {
    const { code, err } = await weir(...argv);
    assert.equal(code, 2, argv.join(" "));
    assert.match(err, words);
  }
  const none = await weir("evidence", "export", at("bundle"), "--data", at("nowhere"));
  assert.equal(none.code, 1);
  assert.ok(!existsSync(at("bundle")));
  for (const argv of [
    ["audit", "--help"],
    ["evidence", "--help"],
    ["evidence", "export", "--help"],
  ]) {
    const { code, out } = await weir(...argv);
    assert.equal(code, 0);
    assert.match(out, /^Usage: weir/);
  }
});
