/** The `weir` command end to end: a real site on a small model, from its first start to its end. */
import assert from "node:assert/strict";
import { spawn, type ChildProcessWithoutNullStreams } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { test, type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { processIdentity } from "../../src/bin/site/lock.ts";
import type { SiteFile } from "../../src/bin/site/site-file.ts";
import { parseTag, tagEpoch } from "../../src/format/tag.ts";
import { freePorts } from "../ports.ts";

const script = fileURLToPath(new URL("../../src/bin/weir.ts", import.meta.url));
const model = fileURLToPath(new URL("../../models/weir-tiny.gguf", import.meta.url));
const node = [process.execPath, "--disable-warning=ExperimentalWarning", script] as const;

interface Done {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

async function weir(...argv: string[]): Promise<Done> {
  const [program, ...args] = node;
  const child = spawn(program, [...args, ...argv], { stdio: ["ignore", "pipe", "pipe"] });
  let out = "";
  let err = "";
  child.stdout.on("data", (bytes: Buffer) => (out += bytes.toString()));
  child.stderr.on("data", (bytes: Buffer) => (err += bytes.toString()));
  await once(child, "close");
  return { code: child.exitCode, out, err };
}

/** A temporary folder that goes when the test ends. */
function folder(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), "weir-cli-"));
  t.after(() => {
    rmSync(path, { recursive: true, force: true });
  });
  return path;
}

interface UpEvent {
  readonly event: string;
  readonly endpoint: string;
  readonly servers: readonly { gateway: string; state: string; isolation: { kind: string } }[];
  readonly simulated: readonly string[];
}

class Up {
  readonly child: ChildProcessWithoutNullStreams;
  readonly events: UpEvent[] = [];
  readonly up: Promise<UpEvent>;
  err = "";

  constructor(data: string, ...argv: string[]) {
    const [program, ...args] = node;
    const options = ["--data", data, "--model", model, "--json", "--die-with-stdin", ...argv];
    this.child = spawn(program, [...args, "up", ...options], { stdio: "pipe" });
    this.child.stderr.on("data", (bytes: Buffer) => (this.err += bytes.toString()));
    this.up = new Promise((resolve, reject) => {
      createInterface({ input: this.child.stdout }).on("line", (line) => {
        const event = JSON.parse(line) as UpEvent;
        this.events.push(event);
        if (event.event === "up") resolve(event);
      });
      this.child.once("close", () => {
        reject(new Error(`weir up ended: ${this.err}`));
      });
    });
    this.up.catch(() => undefined);
  }

  async ended(): Promise<number | null> {
    if (this.child.exitCode === null && this.child.signalCode === null) {
      await once(this.child, "close");
    }
    return this.child.exitCode;
  }
}

function siteFile(data: string): SiteFile {
  return JSON.parse(readFileSync(join(data, "site.json"), "utf8")) as SiteFile;
}

/** Asks again until `found` gives something; for states that only another process knows. */
async function eventually<T>(what: string, found: () => Promise<T | null> | T | null): Promise<T> {
  const deadline = performance.now() + 60_000;
  for (;;) {
    const value = await found();
    if (value !== null) return value;
    assert.ok(performance.now() < deadline, `never happened: ${what}`);
    await sleep(100);
  }
}

async function complete(endpoint: string): Promise<string> {
  const response = await fetch(`${endpoint}/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json", connection: "close" },
    body: JSON.stringify({
      model: "weir-tiny",
      max_tokens: 24,
      messages: [{ role: "user", content: "Tell me a story." }],
    }),
  });
  const body = (await response.json()) as { id: string };
  assert.equal(response.status, 200, JSON.stringify(body));
  return body.id;
}

async function assertNothingLeft(pids: readonly number[]): Promise<void> {
  for (const pid of pids) {
    await eventually(`process ${pid} ends`, () => (processIdentity(pid) === null ? true : null));
  }
}

interface StatusJson {
  readonly simulated: readonly string[];
  readonly roles: readonly { key: string; status: { role: string } | null }[];
}

interface ReceiptJson {
  readonly receipt: { state: string };
  readonly inclusionVerified: boolean;
  readonly verdict: { verdict: { kind: string } | null } | null;
}

test("cli: up, ask, receipt, logs, crash, stop, up again, kill -> as the manual says", async (t) => {
  const data = join(folder(t), "site");
  const ports = await freePorts();
  const options = ["--servers", "2", "--epsilon", "1", "--flicker-seconds", "0", ...ports];
  const first = new Up(data, ...options);
  t.after(() => first.child.kill("SIGKILL"));
  const up = await first.up;

  // Two servers serve; what is simulated is said.
  assert.deepEqual(
    up.servers.map(({ gateway, state }) => [gateway, state]),
    [
      ["g1", "SERVING"],
      ["g2", "SERVING"],
    ],
  );
  assert.match(up.simulated.join("\n"), /party A and party B/);

  // Nobody else may run on the same data.
  const second = await weir("up", "--data", data, "--model", model);
  assert.equal(second.code, 1);
  assert.match(second.err, /a site already runs on .* \(process \d+\)/);

  // A reply's receipt: in the log, recomputed because epsilon is 1, and passed.
  const id = await complete(up.endpoint);
  const receipt = await eventually("a verdict", async () => {
    const asked = await weir("receipt", id, "--data", data, "--json");
    assert.equal(asked.code, 0, asked.err);
    const answer = JSON.parse(asked.out) as ReceiptJson;
    return answer.receipt.state === "judged" ? answer : null;
  });
  assert.equal(receipt.inclusionVerified, true);
  assert.equal(receipt.verdict?.verdict?.kind, "pass");

  // Status: every role answers, in JSON and for people.
  const status = await weir("status", "--data", data, "--json");
  assert.equal(status.code, 0, status.err);
  const { roles, simulated } = JSON.parse(status.out) as StatusJson;
  assert.deepEqual(
    roles.map(({ key, status: one }) => [key, one?.role]),
    [
      ["depot", "depot"],
      ["recomputer", "recomputer"],
      ["gateway-g1", "gateway"],
      ["gateway-g2", "gateway"],
      ["router", "router"],
    ],
  );
  assert.deepEqual(simulated, up.simulated);
  const shown = await weir("status", "--data", data);
  assert.match(shown.out, /g1 +SERVING/);
  assert.match(shown.out, /Simulated here:/);
  const off = up.servers.some(({ isolation }) => isolation.kind === "off");
  assert.equal(shown.out.includes("ISOLATION IS OFF"), off);

  // A gateway that is not halted cannot be released.
  const release = await weir("release", "g1", "--data", data);
  assert.equal(release.code, 1);
  assert.match(release.err, /g1 is not halted/);

  // A crashed role is started again on its port.
  const depot = siteFile(data).roles.find(({ key }) => key === "depot");
  assert.ok(depot?.pid != null);
  process.kill(depot.pid, "SIGKILL");
  const back = await eventually("the depot comes back", () => {
    const now = siteFile(data).roles.find(({ key }) => key === "depot");
    return now?.phase === "ready" && now.restarts === 1 ? now : null;
  });
  assert.equal(back.port, depot.port);

  // Logs of one role, as they were written, and of all, for people.
  const logs = await weir("logs", "--data", data, "--role", "gateway-g1", "--json");
  assert.equal(logs.code, 0, logs.err);
  const lines = logs.out.trim().split("\n");
  assert.ok(lines.some((line) => (JSON.parse(line) as { role?: string }).role === "gateway"));
  assert.match((await weir("logs", "--data", data)).out, /site .*site\.role-ended key=depot/);

  // Orderly stop: nothing is left, and the second start goes on where the first ended.
  const pids = siteFile(data).roles.map(({ pid }) => pid ?? 0);
  const stop = await weir("stop", "--data", data);
  assert.equal(stop.code, 0, stop.err);
  assert.equal(await first.ended(), 0, first.err);
  assert.equal(first.events.at(-1)?.event, "stopped");
  await assertNothingLeft(pids);
  assert.equal((await weir("status", "--data", data)).code, 1);

  const again = new Up(data, ...options);
  t.after(() => again.child.kill("SIGKILL"));
  const { endpoint } = await again.up;
  const later = parseTag(await complete(endpoint));
  assert.ok(tagEpoch(later.tag) > tagEpoch(parseTag(id).tag), "tags rise across restarts");
  const old = await weir("receipt", id, "--data", data, "--json");
  assert.equal((JSON.parse(old.out) as ReceiptJson).receipt.state, "judged");

  // Even a killed supervisor leaves no process behind, and its lock does not stand in the way.
  const running = siteFile(data).roles.map(({ pid }) => pid ?? 0);
  again.child.kill("SIGKILL");
  await assertNothingLeft(running);
  const down = await weir("status", "--data", data);
  assert.equal(down.code, 1);
  assert.match(down.err, /is not running/);
  assert.equal((await weir("stop", "--data", data)).code, 0);
});

test("cli: SIGINT during the start -> everything stops, exit 0", async (t) => {
  const data = join(folder(t), "site");
  const up = new Up(data, "--servers", "1", "--flicker-seconds", "0", ...(await freePorts()));
  t.after(() => up.child.kill("SIGKILL"));
  await eventually("the first role starts", () =>
    up.events.some(({ event }) => event === "role") ? true : null,
  );
  up.child.kill("SIGINT");
  assert.equal(await up.ended(), 0, up.err);
  const { roles } = siteFile(data);
  assert.deepEqual(
    roles.map(({ phase, pid }) => [phase, pid]),
    roles.map(() => ["stopped", null]),
  );
});

test("cli: wrong configuration -> exit 1 before anything is made, the field is named", async (t) => {
  const root = folder(t);
  const config = join(root, "weir.json");
  writeFileSync(config, JSON.stringify({ servers: 3, epsilon: 7 }));
  const up = await weir("up", "--config", config, "--data", join(root, "site"));
  assert.equal(up.code, 1);
  assert.match(up.err, /weir\.json: epsilon: must be <= 1, not 7/);
  const flag = await weir("up", "--servers", "99", "--data", join(root, "site"));
  assert.equal(flag.code, 1);
  assert.match(flag.err, /command line: servers: must be <= 16, not 99/);
  const none = await weir("up", "--model", join(root, "no.gguf"), "--data", join(root, "site"));
  assert.equal(none.code, 1);
  assert.match(none.err, /there is no model file/);
  const other = await weir("up", "--model", config, "--data", join(root, "site"));
  assert.equal(other.code, 1);
  assert.match(other.err, /weir\.json: gguf: the file does not begin with GGUF/);
  assert.equal((await weir("status", "--data", join(root, "site"))).code, 1);
});

test("cli: a port that was asked for and is taken -> refused, nothing is left running", async (t) => {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close());
  const { port } = server.address() as AddressInfo;
  const data = join(folder(t), "site");
  const up = await weir("up", "--data", data, "--model", model, "--port", String(port));
  assert.equal(up.code, 1);
  assert.match(up.err, new RegExp(`port ${port} for the API is taken`));
});

test("cli: help, unknown words, wrong options -> help is exit 0, wrong usage exit 2", async () => {
  const help = await weir("--help");
  assert.equal(help.code, 0);
  for (const word of ["up", "status", "logs", "stop", "receipt", "release", "whitelist", "demo"]) {
    assert.match(help.out, new RegExp(`^  ${word} `, "m"));
    const own = await weir(word, "--help");
    assert.equal(own.code, 0, `${word}: ${own.err}`);
    assert.match(own.out, new RegExp(`^Usage: weir ${word}`));
  }
  const typo = await weir("statsu");
  assert.equal(typo.code, 2);
  assert.match(typo.err, /did you mean "weir status"/);
  const option = await weir("status", "--loud");
  assert.equal(option.code, 2);
  assert.equal(option.err, `weir: Unknown option '--loud'\nTry "weir status --help".\n`);
  const number = await weir("up", "--servers", "many");
  assert.equal(number.code, 2);
  assert.match(number.err, /--servers must be a number, not "many"/);
  const tag = await weir("receipt");
  assert.equal(tag.code, 2);
});
